// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

/// What decides between a loop of our own and its twin of ATen calls.
namespace espalier {

/// Whether the sources compiled for AVX512_BF16 may run on this CPU. Asked once.
bool has_avx512_bf16();

/// Whether autograd would record what is done with x: our loops know no gradient.
bool recorded(const at::Tensor& x);

/// Whether it would record what is done with any of these.
template <typename... Tensors>
bool recorded(const at::Tensor& x, const Tensors&... others) {
  return recorded(x) || recorded(others...);
}

/// A tensor that our loops may read: on the CPU, not recorded, dense in its last dimension.
bool readable(const at::Tensor& x);

}  // namespace espalier
