// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>
#include <cstdint>

#ifndef INTRA_OP_PARALLEL
#error "at::parallel_for is a plain loop here: compile with LibTorch's OpenMP"
#endif

namespace espalier {

/// Calls task(i, scratch) for i in [0, tasks), each thread taking the next one when it is free:
/// tasks may differ in length, threads in speed.
///
/// \param scratch_bytes  memory of each thread's own, aligned to 64 bytes
template <typename Task>
void for_each_task(std::int64_t tasks, std::int64_t scratch_bytes, const Task& task) {
  std::atomic<std::int64_t> next = 0;
  const std::int64_t threads = std::min<std::int64_t>(tasks, at::get_num_threads());
  at::parallel_for(0, threads, 1, [&](std::int64_t begin, std::int64_t end) {
    const at::Tensor scratch = at::empty({scratch_bytes}, at::kByte);
    for (std::int64_t thread = begin; thread < end; ++thread) {
      for (std::int64_t i = next++; i < tasks; i = next++) task(i, scratch.mutable_data_ptr());
    }
  });
}

}  // namespace espalier
