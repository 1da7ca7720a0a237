// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <span>

#include "espalier/model/attention.h"

/// What `kernels.h` and `attention.h` compute, recorded by autograd: forward is the same call, so
/// that a pass gives the same bits whether a gradient is wanted or not; backward is written out, or
/// ATen's. `kernels.cpp` and `attention.cpp` alone call these.
namespace espalier::differentiable {

at::Tensor linear(const at::Tensor& x, const at::Tensor& weight,
                  const std::optional<at::Tensor>& bias);
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps);
at::Tensor norm_and_rotate(const at::Tensor& x, const at::Tensor& weight, double eps,
                           const at::Tensor& cos, const at::Tensor& sin);
at::Tensor swiglu(const at::Tensor& gate, const at::Tensor& up);
at::Tensor rotate(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin);
at::Tensor gelu_tanh(const at::Tensor& x);
/// Backward computes the probabilities again, by ATen's flash kernel, over samples of about one
/// length at a time.
at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                     std::span<const AttentionSegment> segments, const AttentionOptions& options);

}  // namespace espalier::differentiable
