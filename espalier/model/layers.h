// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

/// The small parts that the vision tower and the decoder share: structs of tensors whose fields
/// are the checkpoint's keys, and what they do.
namespace espalier {

/// y = x W^T + b.
struct Linear {
  at::Tensor weight;               ///< [out, in]
  std::optional<at::Tensor> bias;  ///< [out]; the decoder's have none
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
