// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

namespace espalier::test {

/// A grey PNG file without compression.
///
/// \param rows  how many rows of pixels the file really holds; the header says `height`
std::string png_bytes(std::uint32_t width, std::uint32_t height, std::uint32_t rows);

}  // namespace espalier::test
