// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <span>
#include <string>

#include "espalier/base/files.h"

namespace espalier {

/// The bytes of a file, for a short look at one of many. A small file is read and a large one
/// mapped: mapping and unmapping halts the other threads of a process for a moment, which costs
/// more than to copy a small picture.
class FileBytes {
 public:
  /// \throws InputError if the file is missing, not a regular file or unreadable
  explicit FileBytes(const std::filesystem::path& path);

  [[nodiscard]] std::span<const std::byte> bytes() const {
    return mapped_ ? mapped_->bytes() : std::as_bytes(std::span(read_));
  }

 private:
  std::string read_;
  std::optional<MappedFile> mapped_;
};

}  // namespace espalier
