// SPDX-License-Identifier: Apache-2.0
#include "espalier/train/optimizer.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numbers>
#include <vector>

#include "espalier/base/error.h"

namespace espalier {

namespace {

/// Parts [begin, begin + count) of all the flat buffers.
struct FlatPart {
  std::int64_t begin;
  std::int64_t count;
};

void adamw_step(const Parameters& parameters, OptimizerState& state, FlatPart part,
                const AdamWOptions& options, double learning_rate, double weight_decay) {
  if (part.count == 0) return;
  const auto of = [&](const at::Tensor& flat) { return flat.narrow(0, part.begin, part.count); };
  const at::Tensor steps =
      at::full({}, static_cast<double>(state.step), parameters.values.options());
  at::Tensor values = of(parameters.values);
  at::Tensor gradients = of(parameters.gradients);
  at::Tensor first = of(state.first);
  at::Tensor second = of(state.second);
  at::_fused_adamw_({values}, {gradients}, {first}, {second}, {}, {steps}, learning_rate,
                    options.beta1, options.beta2, weight_decay, options.epsilon,
                    /*amsgrad=*/false, /*maximize=*/false);
}

/// Matrices of one shape are orthogonalized together.
void muon_step(const Parameters& parameters, OptimizerState& state, const MuonOptions& options,
               double weight_decay, double schedule) {
  std::map<std::vector<std::int64_t>, std::vector<const ParameterSlot*>> by_shape;
  for (const ParameterSlot& slot : parameters.slots) {
    if (slot.kind == ParameterKind::Matrix) by_shape[slot.shape].push_back(&slot);
  }
  const double rate = options.learning_rate * schedule;
  for (const auto& [shape, slots] : by_shape) {
    std::vector<at::Tensor> directions;
    for (const ParameterSlot* slot : slots) {
      const at::Tensor gradient = Parameters::view(parameters.gradients, *slot);
      at::Tensor momentum = Parameters::view(state.first, *slot);
      momentum.lerp_(gradient, 1.0 - options.momentum);
      directions.push_back(gradient.lerp(momentum, options.momentum).flatten(1));
    }
    const at::Tensor updates = orthogonalize(at::stack(directions), options.iterations);
    const auto rows = static_cast<double>(updates.size(1));
    const auto columns = static_cast<double>(updates.size(2));
    const double scale = std::sqrt(std::max(1.0, rows / columns));
    for (std::size_t i = 0; i < slots.size(); ++i) {
      at::Tensor value = Parameters::view(parameters.values, *slots[i]);
      value.mul_(1.0 - rate * weight_decay);
      value.add_(updates[static_cast<std::int64_t>(i)].view(slots[i]->shape), -rate * scale);
    }
  }
}

}  // namespace

OptimizerState make_optimizer_state(const Parameters& parameters) {
  return {.first = at::zeros_like(parameters.values), .second = at::zeros_like(parameters.values)};
}

OptimizerStep optimizer_step(const Parameters& parameters, OptimizerState& state,
                             const OptimizerOptions& options, double learning_rate,
                             double schedule) {
  OptimizerStep result{.gradient_norm = parameters.gradients.norm().item<double>(),
                       .clip_coefficient = 1.0};
  if (!std::isfinite(result.gradient_norm)) return result;
  if (options.max_gradient_norm > 0.0) {
    // torch.nn.utils.clip_grad_norm_ adds 1e-6 to the norm.
    result.clip_coefficient =
        std::min(1.0, options.max_gradient_norm / (result.gradient_norm + 1e-6));
    if (result.clip_coefficient < 1.0) parameters.gradients.mul_(result.clip_coefficient);
  }
  ++state.step;
  const std::int64_t matrices = parameters.count(ParameterKind::Matrix);
  const std::int64_t tables = parameters.count(ParameterKind::Table);
  const std::int64_t vectors = parameters.count(ParameterKind::Vector);
  const double decay = options.adamw.weight_decay;
  const std::int64_t first_of_adamw = options.muon ? matrices : 0;
  if (options.muon) muon_step(parameters, state, *options.muon, decay, schedule);
  adamw_step(parameters, state,
             {.begin = first_of_adamw, .count = matrices + tables - first_of_adamw}, options.adamw,
             learning_rate, decay);
  adamw_step(parameters, state, {.begin = matrices + tables, .count = vectors}, options.adamw,
             learning_rate, 0.0);
  parameters.refresh();
  parameters.gradients.zero_();
  return result;
}

at::Tensor orthogonalize(const at::Tensor& x, int iterations) {
  constexpr double a = 3.4445;
  constexpr double b = -4.7750;
  constexpr double c = 2.0315;
  const bool tall = x.size(-2) > x.size(-1);
  at::Tensor y = (tall ? x.transpose(-2, -1) : x).to(at::kBFloat16).contiguous();
  y = y / y.norm(2, {-2, -1}, /*keepdim=*/true).clamp_min(1e-7);
  for (int i = 0; i < iterations; ++i) {
    const at::Tensor gram = at::matmul(y, y.transpose(-2, -1));
    const at::Tensor polynomial = gram * b + at::matmul(gram, gram) * c;
    y = y * a + at::matmul(polynomial, y);
  }
  return (tall ? y.transpose(-2, -1) : y).to(x.scalar_type()).contiguous();
}

double cosine_schedule(std::int64_t step, std::int64_t steps, std::int64_t warmup, double floor) {
  assume(0 <= step && step < steps, "a step of the schedule");
  if (step < warmup) return static_cast<double>(step + 1) / static_cast<double>(warmup);
  const auto done = static_cast<double>(step - warmup);
  const auto all = static_cast<double>(steps - warmup);
  return floor + (1.0 - floor) * 0.5 * (1.0 + std::cos(std::numbers::pi * done / all));
}

}  // namespace espalier
