// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace espalier {

/// Width and height in pixels.
struct Size {
  int width;
  int height;
  bool operator==(const Size&) const = default;
};

/// An RGB picture, 8 bits a channel, row by row from the top: pixel (x, y) begins at
/// 3 * (y * width + x).
struct Image {
  int width = 0;
  int height = 0;
  std::vector<std::uint8_t> rgb;
  bool operator==(const Image&) const = default;
};

/// Limits on what a picture may ask of us.
struct DecodeOptions {
  /// Pictures that declare more pixels are refused before anything is allocated (a bomb). Pillow,
  /// which the reference opens pictures with, refuses at twice its MAX_IMAGE_PIXELS, this number.
  std::int64_t max_pixels = 178'956'970;
};

/// Decodes a JPEG, PNG or WebP picture as the reference does when it is handed a Pillow picture
/// whose EXIF orientation was applied: orientation applied, alpha and colour keys over white,
/// 16-bit grey clipped at 255, CMYK by Pillow's formula; equal to Pillow 13 byte for byte.
///
/// \param bytes        the whole file
/// \param source       what to call it in errors
/// \throws InputError  empty, unknown format, truncated, zero-sized, too large, animated only in
///                     parts we cannot show; the message names the source and the reason
Image decode_image(std::span<const std::byte> bytes, std::string_view source,
                   const DecodeOptions& options = {});

/// Width and height of what decode_image gives for the same file, orientation applied, from the
/// file's headers and metadata alone: no pixel is decoded, so that a broken one passes unseen.
///
/// \throws InputError as decode_image does, but for what only its pixels show
Size image_size(std::span<const std::byte> bytes, std::string_view source,
                const DecodeOptions& options = {});

/// Maps and decodes a file.
Image read_image(const std::filesystem::path& path, const DecodeOptions& options = {});

}  // namespace espalier
