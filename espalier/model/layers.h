// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>

/// The small parts that the vision tower and the decoder share: structs of tensors whose fields
/// are the checkpoint's keys, and what they do.
namespace espalier {

/// A low-rank addition to a product: scale * (dropout(x) A^T) B^T (LoRA, Hu et al. 2021).
struct LoraAdapter {
  at::Tensor a;  ///< [r, in]
  at::Tensor b;  ///< [out, r]
  double scale;  ///< alpha / r
  /// Share of the numbers of x that training leaves out, 0 otherwise. The mask is a function of the
  /// seed, so that a pass that is computed twice leaves out the same ones.
  double dropout = 0.0;
  std::uint64_t dropout_seed = 0;
};

/// y = x W^T + b, and what an adapter adds.
struct Linear {
  at::Tensor weight;  ///< [out, in]
  at::Tensor bias;    ///< [out]; undefined where there is none, as in the decoder
  std::optional<LoraAdapter> adapter;
};

/// Normalization over the last dimension with a bias (the vision tower's).
struct LayerNorm {
  at::Tensor weight;  ///< [D]
  at::Tensor bias;    ///< [D]
};

/// The tower's epsilon; the reference writes it into the code, not into the configuration.
inline constexpr double kVisionNormEpsilon = 1e-6;

/// \param x  [..., in] \return [..., out]
at::Tensor apply(const Linear& linear, const at::Tensor& x);

/// Statistics in float32, one rounding at the end.
///
/// \param x  [..., D]
at::Tensor apply(const LayerNorm& norm, const at::Tensor& x);

}  // namespace espalier
