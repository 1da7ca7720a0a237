// SPDX-License-Identifier: Apache-2.0
#include "espalier/image/orientation.h"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <set>
#include <string_view>

#include "espalier/base/error.h"

namespace espalier {

namespace {

using namespace std::string_view_literals;

constexpr int kUpright = 1;
constexpr unsigned kOrientationTag = 0x0112;
constexpr std::size_t kEntryBytes = 12;

/// TIFF's types of a value, by their numbers.
enum class TiffType {
  Byte = 1,
  Ascii = 2,
  Short = 3,
  Long = 4,
  Rational = 5,
  SignedByte = 6,
  Undefined = 7,
  SignedShort = 8,
  SignedLong = 9,
  SignedRational = 10,
  Float = 11,
  Double = 12,
  Directory = 13,
  Long8 = 16,
};

/// The bytes of one value of a type; 0 for a type that Pillow does not know.
std::uint64_t unit_bytes(unsigned type) {
  switch (static_cast<TiffType>(type)) {
    case TiffType::Byte:
    case TiffType::Ascii:
    case TiffType::SignedByte:
    case TiffType::Undefined:
      return 1;
    case TiffType::Short:
    case TiffType::SignedShort:
      return 2;
    case TiffType::Long:
    case TiffType::SignedLong:
    case TiffType::Float:
    case TiffType::Directory:
      return 4;
    case TiffType::Rational:
    case TiffType::SignedRational:
    case TiffType::Double:
    case TiffType::Long8:
      return 8;
  }
  return 0;
}

/// An unsigned number of `data.size()` bytes, at most 8.
std::uint64_t number(std::string_view data, bool big_endian) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < data.size(); ++i) {
    const char byte = data[big_endian ? i : data.size() - 1 - i];
    value = value << 8 | static_cast<std::uint8_t>(byte);
  }
  return value;
}

/// The first number among a tag's bytes. Text and raw bytes have none: 0.
double first_value(TiffType type, std::string_view data, bool big_endian) {
  const auto read = [&](std::size_t from, std::size_t bytes) {
    return number(data.substr(from, bytes), big_endian);
  };
  switch (type) {
    case TiffType::Short:
      return static_cast<double>(read(0, 2));
    case TiffType::Long:
    case TiffType::Directory:
      return static_cast<double>(read(0, 4));
    case TiffType::Long8:
      return static_cast<double>(read(0, 8));
    case TiffType::SignedByte:
      return static_cast<std::int8_t>(read(0, 1));
    case TiffType::SignedShort:
      return static_cast<std::int16_t>(read(0, 2));
    case TiffType::SignedLong:
      return static_cast<std::int32_t>(read(0, 4));
    case TiffType::Rational:
      return static_cast<double>(read(0, 4)) / static_cast<double>(read(4, 4));
    case TiffType::SignedRational:
      return static_cast<double>(static_cast<std::int32_t>(read(0, 4))) /
             static_cast<double>(static_cast<std::int32_t>(read(4, 4)));
    case TiffType::Float:
      return std::bit_cast<float>(static_cast<std::uint32_t>(read(0, 4)));
    case TiffType::Double:
      return std::bit_cast<double>(read(0, 8));
    case TiffType::Byte:
    case TiffType::Ascii:
    case TiffType::Undefined:
      break;
  }
  return 0;
}

int orientation_of(double value) {
  for (int orientation = 1; orientation <= 8; ++orientation) {
    if (value == orientation) return orientation;
  }
  return kUpright;
}

/// Looks for the orientation among the entries of a TIFF directory. The order of the checks is
/// that of Pillow's ImageFileDirectory_v2.load, so that a broken directory ends where it does
/// there.
std::optional<int> find_in_directory(std::string_view tiff, std::size_t offset, bool big_endian) {
  if (offset > tiff.size() || tiff.size() - offset < 2) return std::nullopt;
  const std::uint64_t entries = number(tiff.substr(offset, 2), big_endian);
  std::set<std::uint64_t> seen;
  std::uint64_t outside_bytes = 0;
  offset += 2;
  for (std::uint64_t i = 0; i < entries; ++i, offset += kEntryBytes) {
    if (tiff.size() - offset < kEntryBytes) return std::nullopt;
    const std::string_view entry = tiff.substr(offset, kEntryBytes);
    const std::uint64_t tag = number(entry.substr(0, 2), big_endian);
    const unsigned type = static_cast<unsigned>(number(entry.substr(2, 2), big_endian));
    const std::uint64_t bytes = number(entry.substr(4, 4), big_endian) * unit_bytes(type);
    if (bytes == 0 || seen.contains(tag)) continue;
    std::string_view data = entry.substr(8);
    if (bytes > 4) {
      outside_bytes += bytes;
      if (outside_bytes > tiff.size()) continue;
      const std::uint64_t where = number(data, big_endian);
      if (where > tiff.size() || tiff.size() - where < bytes) return std::nullopt;
      data = tiff.substr(where, bytes);
    }
    seen.insert(tag);
    if (tag == kOrientationTag) {
      return orientation_of(first_value(static_cast<TiffType>(type), data, big_endian));
    }
  }
  return std::nullopt;
}

/// The orientation that EXIF names, nothing where it names none, 1 where it is not a TIFF file.
std::optional<int> find_in_exif(std::string_view exif) {
  constexpr std::string_view kPrefix = "Exif\0\0"sv;
  for (int times = 0; times < 2 && exif.starts_with(kPrefix); ++times) {
    exif.remove_prefix(kPrefix.size());
  }
  if (exif.empty()) return std::nullopt;
  // Pillow takes TIFF's number 42 in either byte order, and BigTIFF's mark with a TIFF header.
  constexpr std::string_view kMagics[] = {"MM\0*"sv, "II*\0"sv, "MM*\0"sv, "II\0*"sv, "MM\0+"sv};
  const bool is_tiff = std::ranges::any_of(
      kMagics, [exif](std::string_view magic) { return exif.starts_with(magic); });
  if (!is_tiff || exif.size() < 8) return kUpright;
  const bool big_endian = exif[0] == 'M';
  return find_in_directory(exif, number(exif.substr(4, 4), big_endian), big_endian);
}

/// `tiff:Orientation="6"` or `<tiff:Orientation>6`, the first of them.
std::optional<int> find_in_xmp(std::string_view xmp) {
  constexpr std::string_view kName = "tiff:Orientation";
  for (std::size_t at = xmp.find(kName); at != std::string_view::npos;
       at = xmp.find(kName, at + 1)) {
    std::string_view rest = xmp.substr(at + kName.size());
    const std::size_t opening = rest.starts_with("=\"") ? 2 : rest.starts_with(">") ? 1 : 0;
    if (opening == 0 || rest.size() == opening) continue;
    const char digit = rest[opening];
    if (digit >= '0' && digit <= '9') return orientation_of(digit - '0');
  }
  return std::nullopt;
}

}  // namespace

int find_orientation(const PictureMetadata& metadata) {
  std::optional<int> orientation;
  if (metadata.exif) orientation = find_in_exif(*metadata.exif);
  if (!orientation) orientation = find_in_xmp(metadata.xmp);
  return orientation.value_or(kUpright);
}

bool swaps_sides(int orientation) { return orientation >= 5; }

Image orient(Image image, int orientation) {
  assume(orientation >= 1 && orientation <= 8, "an orientation is 1 to 8");
  if (orientation == kUpright) return image;
  const bool transposed = swaps_sides(orientation);
  const bool mirrors_columns =
      orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
  const bool mirrors_rows =
      orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
  Image upright{.width = transposed ? image.height : image.width,
                .height = transposed ? image.width : image.height,
                .rgb = std::vector<std::uint8_t>(image.rgb.size())};

  // Where the upright picture's first pixel lies in the stored one, and how far its right and
  // lower neighbours lie from it, in bytes.
  const std::ptrdiff_t row = std::ptrdiff_t{3} * image.width;
  const std::ptrdiff_t right = mirrors_columns ? -3 : 3;
  const std::ptrdiff_t down = mirrors_rows ? -row : row;
  const std::ptrdiff_t first =
      (mirrors_columns ? row - 3 : 0) + (mirrors_rows ? row * (image.height - 1) : 0);
  const std::ptrdiff_t step_x = transposed ? down : right;
  const std::ptrdiff_t step_y = transposed ? right : down;

  // In squares, since a transposed row reads a column, which leaves no line of the cache for long.
  constexpr int kSquare = 64;
  for (int top = 0; top < upright.height; top += kSquare) {
    const int bottom = std::min(top + kSquare, upright.height);
    for (int left = 0; left < upright.width; left += kSquare) {
      const int columns = std::min(kSquare, upright.width - left);
      for (int y = top; y < bottom; ++y) {
        const std::uint8_t* from = image.rgb.data() + first + y * step_y + left * step_x;
        std::uint8_t* to =
            upright.rgb.data() + 3 * (static_cast<std::ptrdiff_t>(y) * upright.width + left);
        for (int x = 0; x < columns; ++x, from += step_x, to += 3) std::copy_n(from, 3, to);
      }
    }
  }
  return upright;
}

}  // namespace espalier
