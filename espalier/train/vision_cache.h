// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <string>

#include "espalier/model/qwen3_vl.h"

namespace espalier {

/// Features of pictures that a frozen vision tower has made, on disk, for all runs over the same
/// pictures: what a pruned model and its parent see is the same. A picture is known by its pixels,
/// a tower by its weights; a file is written whole or not at all, so that several runs may share a
/// folder. Calls may come from several threads.
class VisionCache {
 public:
  /// \param folder       made where it is not there; the tower's files lie in a folder of their own
  /// \param most_bytes   the folder's bound: beyond it, features are made and not kept
  /// \throws InputError  if the folder cannot be made
  VisionCache(const std::filesystem::path& folder, std::uint64_t most_bytes, const Qwen3VL& model);

  /// The features of a pack's pictures: those that are kept are read, the others are made and kept.
  /// The same bits as without a cache. A file that cannot be read is made again; one that cannot be
  /// written is not kept.
  ///
  /// \pre the input has pictures
  VisionFeatures features(const Qwen3VL& model, const ModelInput& input);

  /// What was found and what was not, since the beginning.
  struct Counts {
    std::int64_t read = 0;
    std::int64_t made = 0;
    std::int64_t not_kept = 0;  ///< of those that were made
  };
  [[nodiscard]] Counts counts() const;

 private:
  void keep(const std::filesystem::path& file, const VisionFeatures& features);

  std::filesystem::path folder_;  ///< the tower's
  std::uint64_t most_bytes_;
  std::atomic<std::uint64_t> bytes_ = 0;
  std::atomic<std::int64_t> read_ = 0;
  std::atomic<std::int64_t> made_ = 0;
  std::atomic<std::int64_t> not_kept_ = 0;
};

}  // namespace espalier
