// SPDX-License-Identifier: Apache-2.0
#include "espalier/model/layers.h"

#include <ATen/ATen.h>

#include "espalier/model/kernels.h"

namespace espalier {

namespace {

/// Sets each number to zero with the adapter's probability and scales the others up.
at::Tensor drop(const LoraAdapter& adapter, const at::Tensor& x) {
  if (adapter.dropout == 0.0) return x;
  return x * dropout_mask(x.sizes(), x.scalar_type(), adapter.dropout, adapter.dropout_seed)
                 .to(x.device());
}

}  // namespace

at::Tensor apply(const Linear& linear, const at::Tensor& x) {
  const auto bias = linear.bias.defined() ? std::optional(linear.bias) : std::nullopt;
  at::Tensor product = espalier::linear(x, linear.weight, bias);
  if (!linear.adapter) return product;
  const LoraAdapter& adapter = *linear.adapter;
  // Scaled where it is narrow, added in place: passes over wide tensors cost more than they look.
  const at::Tensor low_rank = espalier::linear(drop(adapter, x), adapter.a) * adapter.scale;
  return product.add_(espalier::linear(low_rank, adapter.b));
}

at::Tensor apply(const LayerNorm& norm, const at::Tensor& x) {
  return at::layer_norm(x, norm.weight.sizes(), norm.weight, norm.bias, kVisionNormEpsilon);
}

}  // namespace espalier
