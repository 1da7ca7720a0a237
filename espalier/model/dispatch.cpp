// SPDX-License-Identifier: Apache-2.0
#include "espalier/model/dispatch.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

namespace espalier {

bool has_avx512_bf16() {
  static const bool has = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                          __builtin_cpu_supports("avx512vl") &&
                          __builtin_cpu_supports("avx512dq") &&
                          __builtin_cpu_supports("avx512bf16");
  return has;
}

bool recorded(const at::Tensor& x) {
  return c10::GradMode::is_enabled() && x.defined() && x.requires_grad();
}

bool readable(const at::Tensor& x) { return x.is_cpu() && x.stride(-1) == 1 && !recorded(x); }

}  // namespace espalier
