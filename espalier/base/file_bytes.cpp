// SPDX-License-Identifier: Apache-2.0
#include "espalier/base/file_bytes.h"

#include <cstdint>
#include <system_error>

namespace espalier {
namespace {

constexpr std::uintmax_t kSmall = 256U << 10U;

}  // namespace

FileBytes::FileBytes(const std::filesystem::path& path) {
  std::error_code error;
  const std::uintmax_t size = std::filesystem::file_size(path, error);
  if (!error && size <= kSmall) {
    read_ = read_file(path);
  } else {
    mapped_.emplace(path);  // which says what is wrong, if anything is
  }
}

}  // namespace espalier
