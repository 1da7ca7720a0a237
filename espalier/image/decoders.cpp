// SPDX-License-Identifier: Apache-2.0
#include "espalier/image/decoders.h"

#include "espalier/base/error.h"

namespace espalier {

Size declared_size(const EncodedPicture& picture, std::int64_t width, std::int64_t height) {
  require(width > 0 && height > 0, "{}: the picture declares {} x {} pixels; wanted at least 1 x 1",
          picture.source, width, height);
  // Both sides fit 32 bits in every format, so the product fits 64.
  require(width * height <= picture.max_pixels,
          "{}: the picture declares {} x {} pixels, the limit is {}; make it smaller first",
          picture.source, width, height, picture.max_pixels);
  return {.width = static_cast<int>(width), .height = static_cast<int>(height)};
}

Image new_image(const EncodedPicture& picture, std::int64_t width, std::int64_t height) {
  const Size size = declared_size(picture, width, height);
  const std::size_t bytes = static_cast<std::size_t>(width * height) * 3;
  return {.width = size.width, .height = size.height, .rgb = std::vector<std::uint8_t>(bytes)};
}

void refuse(const EncodedPicture& picture, std::string_view format, const DecodeFailure& failure) {
  require(!failure.truncated,
          "{}: the {} picture is truncated: the file ends after {} bytes, before the picture does; "
          "copy or export it again",
          picture.source, format, picture.bytes.size());
  throw InputError(fmt::format("{}: the {} picture cannot be decoded: {}; export it again",
                               picture.source, format, failure.reason));
}

void composite_over_white(const std::uint8_t* rgba, std::uint8_t* rgb, std::size_t pixels) {
  for (std::size_t pixel = 0; pixel < pixels; ++pixel, rgba += 4, rgb += 3) {
    const unsigned alpha = rgba[3];
    for (int channel = 0; channel < 3; ++channel) rgb[channel] = over_white(rgba[channel], alpha);
  }
}

}  // namespace espalier
