// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cstdint>

#include "espalier/model/fused_loops.h"

/// How tensors come to the loops of `fused_loops.h`.
namespace espalier {

template <typename Number>
const Number* numbers(const at::Tensor& x) {
  return static_cast<const Number*>(x.const_data_ptr());
}

template <typename Number>
Number* mutable_numbers(const at::Tensor& x) {
  return static_cast<Number*>(x.mutable_data_ptr());
}

/// Calls action with a value of the type that x's numbers, float32 or bfloat16, have in our loops.
template <typename Action>
void with_number(const at::Tensor& x, const Action& action) {
  x.scalar_type() == at::kFloat ? action(float{}) : action(loops::Bfloat16{});
}

/// Runs a loop over `count` rows of `size` numbers on all threads; less than 16k numbers stay
/// where they are, since to wake a thread takes as long.
template <typename Loop>
void run_parallel(const Loop& loop, std::int64_t count, std::int64_t size) {
  const std::int64_t grain = std::max<std::int64_t>(1, 16384 / size);
  at::parallel_for(0, count, grain, [&](std::int64_t begin, std::int64_t end) {
    loops::run(loop, {.begin = begin, .end = end});
  });
}

}  // namespace espalier
