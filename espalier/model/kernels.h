// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>

/// The elementwise chains and products of the model, each in two forms: on the CPU a fused loop
/// that accumulates in float32 and rounds where the reference rounds, elsewhere its twin, composed
/// of ATen calls in the reference's order. The twins (namespace `composed`) are the test oracles.
/// No other file chooses between the two. Nothing here writes to its arguments.
namespace espalier {

/// x W^T + b. On a CPU with AVX512_BF16, bfloat16 runs in a product of our own, which packs the
/// tokens instead of the weight; a token's result is then the same bit for bit whatever tokens
/// stand beside it (more than four, or up to four of them).
///
/// \param x       [..., in], float32 or bfloat16
/// \param weight  [out, in], same dtype, row-major
/// \param bias    [out] or nothing
/// \return        [..., out]
at::Tensor linear(const at::Tensor& x, const at::Tensor& weight,
                  const std::optional<at::Tensor>& bias = std::nullopt);

/// weight * round(x32 * rsqrt(mean(x32^2) + eps)): the cast to x's dtype comes before the
/// multiplication by the weight, as in the reference (at::rms_norm has one rounding less).
///
/// \param x       [..., D], float32 or bfloat16
/// \param weight  [D], same dtype
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps);

/// The heads of a projection, normalized one by one and turned by the rotary embedding:
/// y = rms_norm(x), then y * cos + rotate_half(y) * sin in x's dtype, each step rounded.
///
/// \param x         [T, heads, D]
/// \param weight    [D]
/// \param cos, sin  [T, D], x's dtype
/// \return          [T, heads, D]
at::Tensor norm_and_rotate(const at::Tensor& x, const at::Tensor& weight, double eps,
                           const at::Tensor& cos, const at::Tensor& sin);

/// silu(gate) rounded, then times up.
///
/// \param gate, up  [T, F]
at::Tensor swiglu(const at::Tensor& gate, const at::Tensor& up);

/// The vision tower's rotary embedding: x * cos + rotate_half(x) * sin in float32, rounded once.
///
/// \param x         [N, heads, D], any strides with a dense last dimension
/// \param cos, sin  [N, D] float32
/// \return          [N, heads, D], dense
at::Tensor rotate(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin);

/// The tanh form of GELU (the vision blocks'), computed in float32, rounded once. In bfloat16 ours
/// is the nearest number also where the reference's 1 + tanh(...) cancels (x < -2.9): at
/// most 1.6e-5 off.
at::Tensor gelu_tanh(const at::Tensor& x);

/// The exact, erf form of GELU (the mergers'), computed in float32, rounded once.
at::Tensor gelu_erf(const at::Tensor& x);

/// A tensor that is 0 with a probability and 1 / (1 - probability) else, each number drawn by the
/// seed and its place: the same on every device and for any number of threads.
///
/// \param dtype        float32 or bfloat16
/// \param probability  from 0 up to, but not, 1
at::Tensor dropout_mask(at::IntArrayRef shape, at::ScalarType dtype, double probability,
                        std::uint64_t seed);

namespace composed {
at::Tensor linear(const at::Tensor& x, const at::Tensor& weight,
                  const std::optional<at::Tensor>& bias = std::nullopt);
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps);
at::Tensor norm_and_rotate(const at::Tensor& x, const at::Tensor& weight, double eps,
                           const at::Tensor& cos, const at::Tensor& sin);
at::Tensor swiglu(const at::Tensor& gate, const at::Tensor& up);
at::Tensor rotate(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin);
at::Tensor gelu_tanh(const at::Tensor& x);
at::Tensor gelu_erf(const at::Tensor& x);
}  // namespace composed

}  // namespace espalier
