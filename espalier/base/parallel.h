// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace espalier {

/// How many threads share some tasks: as many as were asked for, or one a core where that is 0; no
/// more than there are tasks, and at least one.
inline std::size_t thread_count(std::size_t asked, std::size_t tasks) {
  const std::size_t cores = std::max(1U, std::thread::hardware_concurrency());
  return std::max<std::size_t>(1, std::min(asked > 0 ? asked : cores, tasks));
}

/// Calls work(worker, task) for each task below `tasks`, from several threads; each takes the next
/// one when it is free. Worker 0 is the caller's own thread.
///
/// \throws what the first call that fails throws; tasks that nobody has taken up by then are not
///         done
template <typename Work>
void in_parallel(std::size_t workers, std::size_t tasks, const Work& work) {
  std::atomic<std::size_t> next{0};
  std::mutex mutex;
  std::exception_ptr failure;
  const auto run = [&](std::size_t worker) {
    try {
      for (std::size_t task = next++; task < tasks; task = next++) work(worker, task);
    } catch (...) {
      const std::scoped_lock lock(mutex);
      if (!failure) failure = std::current_exception();
      next = tasks;
    }
  };
  std::vector<std::thread> others;
  for (std::size_t worker = 1; worker < workers; ++worker) others.emplace_back(run, worker);
  run(0);
  for (std::thread& other : others) other.join();
  if (failure) std::rethrow_exception(failure);
}

}  // namespace espalier
