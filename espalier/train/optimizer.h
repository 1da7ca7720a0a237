// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>

#include "espalier/train/parameters.h"

namespace espalier {

/// AdamW (Loshchilov and Hutter 2019), decay apart from the gradient. The paper states the decay of
/// 0.1; betas and epsilon are PyTorch's defaults.
struct AdamWOptions {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = 0.1;
};

/// Muon (Jordan 2024) for matrices: a momentum whose singular values are brought near 1. Constants
/// as in torch.optim.Muon.
struct MuonOptions {
  double learning_rate = 0.015;  ///< at the schedule's peak, as AdamW's is
  double momentum = 0.95;        ///< Nesterov's form
  int iterations = 5;
};

struct OptimizerOptions {
  AdamWOptions adamw;
  std::optional<MuonOptions> muon;  ///< for matrices; AdamW's are then tables and vectors
  double max_gradient_norm = 1.0;   ///< of all gradients together; 0: no clipping
};

/// What an optimizer remembers, in flat buffers beside the parameters'.
struct OptimizerState {
  at::Tensor first;   ///< [n] float32: AdamW's mean of gradients, Muon's momentum
  at::Tensor second;  ///< [n] float32: AdamW's mean of squares; Muon uses none of its part
  std::int64_t step = 0;
};

OptimizerState make_optimizer_state(const Parameters& parameters);

/// What a step did with the gradient.
struct OptimizerStep {
  double gradient_norm;     ///< before clipping
  double clip_coefficient;  ///< what gradients were multiplied with, at most 1
};

/// One step: clips, updates the masters, refreshes what passes read, and sets the gradients to
/// zero.
///
/// \param learning_rate  AdamW's, now
/// \param schedule       what of the peak rate counts now, for Muon
/// \return               if the gradient's norm is not finite, the norm; nothing was changed then
OptimizerStep optimizer_step(const Parameters& parameters, OptimizerState& state,
                             const OptimizerOptions& options, double learning_rate,
                             double schedule);

/// The matrix with the singular vectors of x [..., rows, columns] and singular values near 1, by
/// `iterations` of the quintic Newton-Schulz iteration in bfloat16 where the CPU or GPU is fast in
/// it, as torch.optim.Muon computes it.
at::Tensor orthogonalize(const at::Tensor& x, int iterations);

/// What of the peak rate counts at a step (counting from 0): up linearly over `warmup` steps, then
/// half a cosine down to `floor` at the end.
double cosine_schedule(std::int64_t step, std::int64_t steps, std::int64_t warmup, double floor);

}  // namespace espalier
