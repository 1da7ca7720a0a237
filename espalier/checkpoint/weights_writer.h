// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "espalier/base/hash.h"
#include "espalier/base/safetensors.h"
#include "espalier/checkpoint/folder.h"

namespace espalier {

/// How weights are laid out, and what is found out about them on the way.
struct WeightsWriterOptions {
  std::uint64_t max_file_bytes = 5'000'000'000;  ///< of tensors in one file
  bool checksums = false;                        ///< take the files' SHA-256 while they are written
};

/// Writes a checkpoint's weights as a stream: `model.safetensors`, or where that would be larger
/// than `max_file_bytes`, shards `model-00001-of-0000N.safetensors` with their index. A tensor is
/// never split, so that one larger than the limit makes a file of its own.
class WeightsWriter {
 public:
  /// \param folder       exists; other weights in it are refused, not replaced
  /// \param tensors      what will be written, in this order
  /// \throws InputError  if a file cannot be written
  WeightsWriter(std::filesystem::path folder, std::vector<TensorSpec> tensors,
                const WeightsWriterOptions& options = {});

  /// The next bytes, in the order of the list; pieces may end anywhere.
  void write(std::span<const std::byte> bytes);
  /// \throws std::logic_error unless exactly the promised bytes were written
  void finish();
  /// Of every file written, the index too. Call after `finish`, with the option `checksums`.
  [[nodiscard]] const Checksums& checksums() const { return checksums_; }

 private:
  /// A file: tensors [first, last) of the list.
  struct Shard {
    std::size_t first = 0;
    std::size_t last = 0;
    std::uint64_t bytes = 0;
  };
  [[nodiscard]] std::filesystem::path name_of_shard(std::size_t shard) const;
  void next_shard();
  void finish_shard();
  void write_index();

  std::filesystem::path folder_;
  std::vector<TensorSpec> tensors_;
  std::vector<Shard> shards_;
  std::size_t opened_ = 0;           ///< shards that were begun
  std::uint64_t left_in_shard_ = 0;  ///< bytes that the current one still wants
  std::unique_ptr<SafetensorsWriter> file_;
  bool with_checksums_;
  std::unique_ptr<Sha256> hash_;  ///< of the current file
  Checksums checksums_;
};

}  // namespace espalier
