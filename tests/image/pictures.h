// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "espalier/image/image.h"

namespace espalier::test {

/// The bytes of tests/fixtures/images/`name`.
std::string read_picture(const std::string& name);

Image decode(std::string_view bytes, const DecodeOptions& options = {});

/// The message of the InputError that decoding must throw; it must name the source.
std::string decode_error(std::string_view bytes, const DecodeOptions& options = {});

/// A PNG chunk with its length and its checksum.
std::string png_chunk(std::string_view name, std::string_view data);

/// A PNG with a chunk in front of its first IDAT.
std::string with_png_chunk(std::string png, std::string_view name, std::string_view data);

/// A PNG whose chunks, as far as they can be walked, have the right checksums.
std::string with_valid_checksums(std::string png);

/// An unsigned number in 4 bytes, the most significant first.
std::string big_endian(std::size_t value);

}  // namespace espalier::test
