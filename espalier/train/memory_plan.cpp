// SPDX-License-Identifier: Apache-2.0
#include "espalier/train/memory_plan.h"

#include <ATen/ATen.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>

namespace espalier {

namespace {

/// Allocators keep more than what is alive.
constexpr double kSlack = 1.25;
/// LibTorch, buffers of libraries, pictures that wait.
constexpr std::uint64_t kProgramBytes = 300'000'000;

std::uint64_t bytes(double numbers) { return static_cast<std::uint64_t>(numbers); }

/// Numbers that a layer's graph keeps for a token: the inputs of norms and products, queries and
/// keys before and after they are turned, the factors of the gated product and it.
std::int64_t kept_numbers(const TextConfig& config, const TrainedModel& trained) {
  const std::int64_t queries = config.num_attention_heads * config.head_dim;
  const std::int64_t keys = config.num_key_value_heads * config.head_dim;
  std::int64_t numbers =
      4 * config.hidden_size + 3 * queries + 3 * keys + 3 * config.intermediate_size;
  if (trained.part.lora) {
    // An adapter's dropout keeps its mask and what is left of its input; B's input is small.
    const std::int64_t targets = std::ssize(trained.lora.targets);
    const std::int64_t inputs = 5 * config.hidden_size + queries + config.intermediate_size;
    if (trained.lora.dropout > 0.0) numbers += 2 * inputs * targets / 7;
    numbers += targets * trained.lora.rank;
  }
  return numbers;
}

}  // namespace

MemoryPlan plan_memory(const TrainedModel& trained, const PackSize& pack,
                       const MemoryNeeds& needs) {
  const TextConfig& text = trained.model.config.text;
  const VisionConfig& vision = trained.model.config.vision;
  const auto size = static_cast<double>(at::elementSize(trained.model.dtype()));
  const auto workers = static_cast<double>(needs.workers);
  const double tokens = workers * static_cast<double>(pack.tokens);
  const auto numbers = static_cast<double>(trained.parameters.values.numel());
  const std::int64_t all = std::ssize(trained.model.language_model.layers);

  MemoryPlan plan{.weights = needs.weight_bytes,
                  .data = bytes(kSlack * static_cast<double>(needs.data_bytes)),
                  .program = kProgramBytes};
  plan.trained = bytes(numbers * (16.0 + (size == 4.0 ? 0.0 : size) + 4.0 * (workers - 1.0)));
  plan.trained_layers = all - std::min(all, trained.lowest_layer());
  const double rows = std::min(static_cast<double>(pack.label_tokens),
                               16.0 * (1 << 20) / static_cast<double>(text.vocab_size));
  plan.head = bytes(workers * rows * static_cast<double>(text.vocab_size) * 16.0);
  const double vision_numbers =
      static_cast<double>(8 * vision.hidden_size + 2 * vision.intermediate_size);
  const bool trains_vision = trained.part.vision || trained.part.projector;
  plan.vision = bytes(workers * static_cast<double>(pack.patches) * vision_numbers * size *
                      (trains_vision ? static_cast<double>(vision.depth) : 2.0));
  const double input = tokens * static_cast<double>(text.hidden_size) * size;
  const double graph = kSlack * tokens * size * static_cast<double>(kept_numbers(text, trained));
  // One layer's graph and its gradients stand whatever is kept.
  const double least = 2.0 * graph + input * static_cast<double>(plan.trained_layers);
  const double room = static_cast<double>(needs.budget) - static_cast<double>(plan.total()) - least;
  plan.kept_layers = std::clamp<std::int64_t>(
      static_cast<std::int64_t>(std::max(0.0, room) / graph), 0, plan.trained_layers);
  plan.layers = bytes(least + graph * static_cast<double>(plan.kept_layers));
  return plan;
}

std::int64_t peak_resident_bytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss * 1024;
}

std::uint64_t machine_bytes() {
  return static_cast<std::uint64_t>(sysconf(_SC_PHYS_PAGES)) *
         static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
}

}  // namespace espalier
