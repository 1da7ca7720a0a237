// SPDX-License-Identifier: Apache-2.0
#include "espalier/image/image.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>

#include "espalier/base/error.h"
#include "espalier/base/file_bytes.h"
#include "espalier/image/decoders.h"
#include "espalier/image/orientation.h"

namespace espalier {

namespace {

using namespace std::string_view_literals;

/// The first bytes of a file for an error message: 47 49 46 38 "GIF8".
std::string describe_beginning(std::string_view text) {
  std::string hexadecimal;
  std::string readable;
  for (const char byte : text.substr(0, 8)) {
    hexadecimal += fmt::format("{:02x} ", static_cast<std::uint8_t>(byte));
    readable += byte >= ' ' && byte <= '~' ? byte : '.';
  }
  return hexadecimal + "\"" + readable + "\"";
}

/// The functions of one format.
struct Format {
  StoredPicture (*decode)(const EncodedPicture& picture);
  StoredSize (*measure)(const EncodedPicture& picture);
};

Format format_of(const EncodedPicture& picture) {
  const std::string_view text(reinterpret_cast<const char*>(picture.bytes.data()),
                              picture.bytes.size());
  require(!text.empty(), "{}: the file is empty; wanted a JPEG, PNG or WebP picture",
          picture.source);
  if (text.starts_with("\xff\xd8\xff"sv)) return {decode_jpeg, measure_jpeg};
  if (text.starts_with("\x89PNG\r\n\x1a\n"sv)) return {decode_png, measure_png};
  if (text.starts_with("RIFF"sv) &&
      text.substr(std::min<std::size_t>(8, text.size())).starts_with("WEBP"sv)) {
    return {decode_webp, measure_webp};
  }
  throw InputError(fmt::format(
      "{}: not a picture of a known format: wanted JPEG, PNG or WebP, found a file that begins "
      "with {}; convert it to one of them",
      picture.source, describe_beginning(text)));
}

}  // namespace

Image decode_image(std::span<const std::byte> bytes, std::string_view source,
                   const DecodeOptions& options) {
  const EncodedPicture picture{.bytes = bytes, .source = source, .max_pixels = options.max_pixels};
  StoredPicture stored = format_of(picture).decode(picture);
  const int orientation = find_orientation(stored.metadata);
  return orient(std::move(stored.image), orientation);
}

Size image_size(std::span<const std::byte> bytes, std::string_view source,
                const DecodeOptions& options) {
  const EncodedPicture picture{.bytes = bytes, .source = source, .max_pixels = options.max_pixels};
  const StoredSize stored = format_of(picture).measure(picture);
  const Size& size = stored.size;
  if (!swaps_sides(find_orientation(stored.metadata))) return size;
  return {.width = size.height, .height = size.width};
}

Image read_image(const std::filesystem::path& path, const DecodeOptions& options) {
  const FileBytes file(path);
  return decode_image(file.bytes(), path.string(), options);
}

}  // namespace espalier
