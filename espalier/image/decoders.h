// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "espalier/image/image.h"
#include "espalier/image/orientation.h"

namespace espalier {

/// A picture's file, and what the decoders need for limits and errors.
struct EncodedPicture {
  std::span<const std::byte> bytes;
  std::string_view source;  ///< what to call it in errors
  std::int64_t max_pixels;
};

/// The pixels in the order in which they are stored, and what may say how to turn them.
struct StoredPicture {
  Image image;
  PictureMetadata metadata;
};

/// The three formats. Each wants a file that begins with its format's signature.
///
/// \throws InputError  if the file is truncated, broken, of a kind the format's library cannot
///                     read, zero-sized, or declares more than `max_pixels`
StoredPicture decode_jpeg(const EncodedPicture& picture);
StoredPicture decode_png(const EncodedPicture& picture);
StoredPicture decode_webp(const EncodedPicture& picture);

/// What a picture's headers say: the size in which it is stored, checked as new_image does, and
/// what may say how to turn it.
struct StoredSize {
  Size size;
  PictureMetadata metadata;
};

/// The same three formats, without their pixels.
///
/// \throws InputError as the decoders do, but for what only the pixels show
StoredSize measure_jpeg(const EncodedPicture& picture);
StoredSize measure_png(const EncodedPicture& picture);
StoredSize measure_webp(const EncodedPicture& picture);

/// The size that a file declares.
///
/// \throws InputError if a side is 0 or the area is above the picture's limit
Size declared_size(const EncodedPicture& picture, std::int64_t width, std::int64_t height);

/// A black picture of the size that a file declares, which is checked first as declared_size does.
Image new_image(const EncodedPicture& picture, std::int64_t width, std::int64_t height);

/// Why a format's library gave up.
struct DecodeFailure {
  bool truncated = false;  ///< it wanted bytes from beyond the end of the file
  std::string_view reason;
};

/// Throws the InputError for a picture that cannot be decoded.
[[noreturn]] void refuse(const EncodedPicture& picture, std::string_view format,
                         const DecodeFailure& failure);

/// One channel composited over white: floor((value * alpha + 255 * (255 - alpha)) / 255 + 1/2),
/// which is Pillow's alpha_composite for every pair.
constexpr std::uint8_t over_white(unsigned value, unsigned alpha) {
  return static_cast<std::uint8_t>((2 * (value * alpha + 255 * (255 - alpha)) + 255) / 510);
}

/// A row of RGBA pixels composited over white. `rgb` may lie over `rgba`.
void composite_over_white(const std::uint8_t* rgba, std::uint8_t* rgb, std::size_t pixels);

}  // namespace espalier
