// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace espalier::test {

/// A grey PNG file without compression.
///
/// \param rows   how many rows of pixels the file really holds; the header says `height`
/// \param shade  of every pixel
std::string png_bytes(std::uint32_t width, std::uint32_t height, std::uint32_t rows,
                      char shade = '\x55');

/// A PNG chunk with its length and its checksum.
std::string png_chunk(std::string_view name, std::string_view data);

/// A PNG with a chunk in front of its first IDAT.
std::string with_png_chunk(std::string png, std::string_view name, std::string_view data);

/// A PNG whose chunks, as far as they can be walked, have the right checksums.
std::string with_valid_checksums(std::string png);

/// An unsigned number in 4 bytes, the most significant first.
std::string big_endian(std::size_t value);

}  // namespace espalier::test
