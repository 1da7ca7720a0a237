// SPDX-License-Identifier: Apache-2.0
#include "espalier/train/loss.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <vector>

#include "espalier/base/error.h"
#include "espalier/model/kernels.h"

namespace espalier {

namespace {

constexpr std::int64_t kLogitsBytes = 64 << 20;

std::int64_t rows_of_chunk(const HeadLossOptions& options, std::int64_t vocabulary) {
  if (options.chunk_rows > 0) return options.chunk_rows;
  return std::max<std::int64_t>(1, kLogitsBytes / (4 * vocabulary));
}

/// A distribution of the teacher and what the student makes of it.
struct Divergence {
  at::Tensor value;     ///< [n], KL
  at::Tensor gradient;  ///< [n, V], of KL by the student's logits / T: q - p
};

/// Every token a class of its own. A token that the teacher gives nothing counts nothing.
Divergence full_divergence(const at::Tensor& student_log, const at::Tensor& teacher_log) {
  const at::Tensor p = teacher_log.exp();
  return {.value = (p * (teacher_log - student_log)).sum(-1),
          .gradient = student_log.exp().sub_(p)};
}

/// The teacher's K likeliest tokens, and all others as one class. With r what is left, the gradient
/// is q - p for a token of the K, and q * (1 - p_r / q_r) for another.
Divergence top_k_divergence(const at::Tensor& student_log, const at::Tensor& teacher_log,
                            std::int64_t k) {
  constexpr double kTiny = 1e-30;
  const at::Tensor top = std::get<1>(teacher_log.topk(k, -1));
  const at::Tensor q = student_log.exp();
  const at::Tensor p = teacher_log.exp();
  // Summed without the K, not taken from 1: what is left may be far below a rounding of 1.
  const auto rest = [&](const at::Tensor& x) {
    return x.scatter(-1, top, 0.0).sum(-1).clamp_min(kTiny);
  };
  const at::Tensor p_rest = rest(p);
  const at::Tensor q_rest = rest(q);
  const at::Tensor p_top = p.gather(-1, top);
  const at::Tensor of_top =
      (p_top * (teacher_log.gather(-1, top) - student_log.gather(-1, top))).sum(-1);
  const at::Tensor of_rest = p_rest * (p_rest.log() - q_rest.log());
  at::Tensor gradient = q * (1.0 - p_rest / q_rest).unsqueeze(-1);
  gradient.scatter_(-1, top, q.gather(-1, top) - p_top);
  return {.value = of_top + of_rest, .gradient = std::move(gradient)};
}

/// One chunk of rows: appends its values to `to`.
class ChunkLoss {
 public:
  ChunkLoss(const HeadRows& rows, const at::Tensor& weight, const at::Tensor& teacher_weight,
            const HeadLossOptions& options)
      : rows_(rows), weight_(weight), teacher_weight_(teacher_weight), options_(options) {}

  void run(std::int64_t begin, std::int64_t count, HeadLoss& to) const {
    const at::Tensor hidden = rows_.normalized.narrow(0, begin, count);
    const at::Tensor targets = rows_.targets.narrow(0, begin, count).unsqueeze(-1);
    const at::Tensor logits = espalier::linear(hidden, weight_).to(at::kFloat);
    const at::Tensor log_probabilities = at::log_softmax(logits, -1);
    to.cross_entropy.narrow(0, begin, count)
        .copy_(log_probabilities.gather(-1, targets).squeeze(-1).neg());
    to.correct.narrow(0, begin, count).copy_(logits.argmax(-1) == targets.squeeze(-1));

    at::Tensor gradient;
    if (wants_gradient()) {
      gradient = log_probabilities.exp();
      gradient.scatter_add_(-1, targets, at::full_like(targets, -1.0, gradient.options()));
      gradient.mul_(1.0 - options_.teacher_share);
    }
    if (rows_.teacher.defined()) add_divergence(begin, count, logits, gradient, to);
    if (wants_gradient()) add_gradients(begin, count, hidden, gradient, to);
  }

 private:
  [[nodiscard]] bool wants_gradient() const {
    return options_.hidden_gradient || options_.weight_gradient;
  }

  void add_divergence(std::int64_t begin, std::int64_t count, const at::Tensor& logits,
                      at::Tensor& gradient, HeadLoss& to) const {
    const double t = options_.temperature;
    const at::Tensor teacher_logits =
        espalier::linear(rows_.teacher.narrow(0, begin, count), teacher_weight_).to(at::kFloat);
    const at::Tensor student_log = at::log_softmax(logits / t, -1);
    const at::Tensor teacher_log = at::log_softmax(teacher_logits / t, -1);
    const Divergence divergence = options_.top_k > 0 && options_.top_k < logits.size(1)
                                      ? top_k_divergence(student_log, teacher_log, options_.top_k)
                                      : full_divergence(student_log, teacher_log);
    to.divergence.narrow(0, begin, count).copy_(divergence.value * (t * t));
    if (gradient.defined()) gradient.add_(divergence.gradient, options_.teacher_share * t);
  }

  void add_gradients(std::int64_t begin, std::int64_t count, const at::Tensor& hidden,
                     at::Tensor& gradient, HeadLoss& to) const {
    gradient.mul_(rows_.weights.narrow(0, begin, count).unsqueeze(-1));
    const at::Tensor rounded = gradient.to(hidden.scalar_type());
    if (options_.hidden_gradient) {
      to.d_normalized.narrow(0, begin, count).copy_(at::matmul(rounded, weight_));
    }
    if (options_.weight_gradient) to.d_weight.add_(at::matmul(rounded.t(), hidden));
  }

  const HeadRows& rows_;
  const at::Tensor& weight_;
  const at::Tensor& teacher_weight_;
  const HeadLossOptions& options_;
};

}  // namespace

HeadLoss head_loss(const HeadRows& rows, const at::Tensor& weight, const at::Tensor& teacher_weight,
                   const HeadLossOptions& options) {
  assume(rows.teacher.defined() || options.teacher_share == 0.0, "a divergence needs a teacher");
  const std::int64_t n = rows.normalized.size(0);
  const auto wide = rows.normalized.options().dtype(at::kFloat);
  HeadLoss loss{
      .cross_entropy = at::empty({n}, wide),
      .divergence = rows.teacher.defined() ? at::empty({n}, wide) : at::Tensor(),
      .correct = at::empty({n}, wide.dtype(at::kBool)),
      .d_normalized = options.hidden_gradient ? at::empty_like(rows.normalized) : at::Tensor(),
      .d_weight = options.weight_gradient ? at::zeros(weight.sizes(), wide) : at::Tensor()};
  const ChunkLoss chunk(rows, weight, teacher_weight, options);
  const std::int64_t size = rows_of_chunk(options, weight.size(0));
  for (std::int64_t begin = 0; begin < n; begin += size) {
    chunk.run(begin, std::min(size, n - begin), loss);
  }
  return loss;
}

HiddenLoss hidden_loss(const at::Tensor& student, const at::Tensor& teacher, double scale) {
  constexpr double kEpsilon = 1e-6;
  const at::Tensor wide = teacher.to(at::kFloat);
  const at::Tensor difference = student.to(at::kFloat) - wide;
  const at::Tensor size = wide.square().sum(-1, /*keepdim=*/true).add_(kEpsilon);
  return {.sum = (difference.square().sum(-1, /*keepdim=*/true) / size).sum().item<double>(),
          .gradient = (difference * (2.0 * scale) / size).to(student.scalar_type())};
}

}  // namespace espalier
