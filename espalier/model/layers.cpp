// SPDX-License-Identifier: Apache-2.0
#include "espalier/model/layers.h"

#include <ATen/ATen.h>

#include "espalier/model/kernels.h"

namespace espalier {

at::Tensor apply(const Linear& linear, const at::Tensor& x) {
  return espalier::linear(x, linear.weight, linear.bias);
}

at::Tensor apply(const LayerNorm& norm, const at::Tensor& x) {
  return at::layer_norm(x, norm.weight.sizes(), norm.weight, norm.bias, kVisionNormEpsilon);
}

}  // namespace espalier
