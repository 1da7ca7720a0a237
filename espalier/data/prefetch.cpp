// SPDX-License-Identifier: Apache-2.0
#include "espalier/data/prefetch.h"

#include <utility>

#include "espalier/base/error.h"

namespace espalier {

PicturePrefetcher::PicturePrefetcher(std::span<const TrainingSample> samples,
                                     const PrefetchOptions& options)
    : samples_(samples), max_bytes_(options.max_bytes) {
  require(options.threads > 0, "pictures need at least one thread to be decoded on");
  try {
    for (std::size_t i = 0; i < options.threads; ++i) workers_.emplace_back([this] { work(); });
  } catch (...) {
    stop();
    throw;
  }
}

PicturePrefetcher::~PicturePrefetcher() { stop(); }

void PicturePrefetcher::stop() {
  {
    const std::scoped_lock lock(mutex_);
    stopping_ = true;
  }
  started_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void PicturePrefetcher::ask(std::span<const std::size_t> samples) {
  {
    const std::scoped_lock lock(mutex_);
    for (const std::size_t sample : samples) {
      assume(sample < samples_.size(), "a sample that is asked for is there");
      std::size_t bytes = 0;
      for (const Size& size : samples_[sample].picture_sizes) {
        bytes += std::size_t{3} * static_cast<std::size_t>(size.width) *
                 static_cast<std::size_t>(size.height);
      }
      orders_.push_back({.sample = sample, .bytes = bytes});
    }
  }
  started_.notify_all();
}

std::vector<Image> PicturePrefetcher::next() {
  std::unique_lock lock(mutex_);
  assume(!orders_.empty(), "what is taken was asked for");
  finished_.wait(lock, [this] { return orders_.front().done; });
  Order order = std::move(orders_.front());
  orders_.pop_front();
  --begun_;
  held_bytes_ -= order.bytes;
  lock.unlock();
  started_.notify_all();
  if (order.failure) std::rethrow_exception(order.failure);
  return std::move(order.images);
}

std::size_t PicturePrefetcher::waiting() const {
  const std::scoped_lock lock(mutex_);
  return orders_.size();
}

/// Orders are begun one after another, so that the one whose turn it is never waits for room.
bool PicturePrefetcher::may_start() const {
  if (begun_ == orders_.size()) return false;
  return begun_ == 0 || held_bytes_ + orders_[begun_].bytes <= max_bytes_;
}

void PicturePrefetcher::work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    started_.wait(lock, [this] { return stopping_ || may_start(); });
    if (stopping_) return;
    Order& order = orders_[begun_++];
    held_bytes_ += order.bytes;
    lock.unlock();
    std::vector<Image> images;
    std::exception_ptr failure;
    try {
      images = read_pictures(samples_[order.sample]);
    } catch (...) {
      failure = std::current_exception();
    }
    lock.lock();
    order.images = std::move(images);
    order.failure = failure;
    order.done = true;
    finished_.notify_one();
  }
}

}  // namespace espalier
