// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "espalier/checkpoint/model_directory.h"

namespace espalier {

/// Bytes of this process that lie in memory now.
std::uint64_t resident_bytes();

/// What a part of a probe's work costs in memory.
struct WorkSize {
  std::int64_t rows = 0;     ///< decoder rows: each shared prefix once, and the samples' own tokens
  std::int64_t patches = 0;  ///< of all pictures
  std::int64_t largest_picture = 0;  ///< patches of the largest one
};

/// Both parts together.
WorkSize operator+(const WorkSize& first, const WorkSize& second);

/// Bytes that a pass of this size takes beside the weights, at its peak. Estimated from the shapes
/// of what is alive at once, with a quarter on top for what allocators keep.
std::uint64_t pass_bytes(const Qwen3VLConfig& config, const WorkSize& size,
                         std::int64_t bytes_a_number);

/// Weights of a mapped checkpoint, given back layer by layer so that a model larger than the memory
/// runs: the pages stay in the system's cache as long as it has room.
class WeightPages {
 public:
  /// \param directory  must outlive this object
  explicit WeightPages(const ModelDirectory& directory);

  /// Bytes of all weights that a probe touches whole: vision tower and the first `layers` layers.
  [[nodiscard]] std::uint64_t touched_bytes(std::int64_t layers) const;
  /// The most that is in memory at once where each part is given back after its use.
  [[nodiscard]] std::uint64_t streamed_bytes() const;

  void release_vision() const;
  void release_layer(std::int64_t layer) const;

 private:
  const Weights& weights_;
  std::vector<std::string> vision_;
  std::vector<std::vector<std::string>> layers_;
};

}  // namespace espalier
