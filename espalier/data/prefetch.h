// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <exception>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

#include "espalier/data/training_set.h"
#include "espalier/image/image.h"

namespace espalier {

/// How much is decoded ahead.
struct PrefetchOptions {
  std::size_t threads = 2;  ///< at least 1
  /// Decoded pixels that may lie ready or be under way. A sample with more is decoded alone.
  std::size_t max_bytes = 1ULL << 30U;
};

/// Decodes the pictures of coming samples on threads of its own, and hands them out in the order in
/// which they were asked for. To be used from one thread.
class PicturePrefetcher {
 public:
  /// \param samples       must outlive this object, as it is
  /// \throws InputError   if `options.threads` is 0
  explicit PicturePrefetcher(std::span<const TrainingSample> samples,
                             const PrefetchOptions& options = {});
  /// Ends the threads; what was asked for and not taken is lost.
  ~PicturePrefetcher();
  PicturePrefetcher(const PicturePrefetcher&) = delete;
  PicturePrefetcher& operator=(const PicturePrefetcher&) = delete;

  /// Asks for the pictures of these samples, behind those asked for already; returns at once.
  ///
  /// \param samples  numbers of samples; one may come several times
  void ask(std::span<const std::size_t> samples);

  /// The pictures of the sample that was asked for longest ago; waits until they are decoded.
  ///
  /// \throws InputError        as read_pictures does; the next call goes on behind that sample
  /// \throws std::logic_error  if nothing was asked for that was not taken
  std::vector<Image> next();

  /// Samples that were asked for and not taken.
  [[nodiscard]] std::size_t waiting() const;

 private:
  struct Order {
    std::size_t sample;
    std::size_t bytes;  ///< of its pixels
    bool done = false;
    std::vector<Image> images;
    std::exception_ptr failure;
  };

  void work();
  [[nodiscard]] bool may_start() const;
  void stop();

  std::span<const TrainingSample> samples_;
  std::size_t max_bytes_;
  mutable std::mutex mutex_;
  std::condition_variable started_;   ///< a worker may find something to do
  std::condition_variable finished_;  ///< an order is done
  std::deque<Order> orders_;          ///< asked for and not taken; a deque's elements stay in place
  std::size_t begun_ = 0;             ///< how many of the orders a worker has taken up
  std::size_t held_bytes_ = 0;        ///< of those
  bool stopping_ = false;
  std::vector<std::thread> workers_;
};

}  // namespace espalier
