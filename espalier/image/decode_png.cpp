// SPDX-License-Identifier: Apache-2.0
#include <png.h>

#include <algorithm>
#include <array>
#include <csetjmp>
#include <cstring>
#include <new>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "espalier/base/error.h"
#include "espalier/image/decoders.h"

namespace espalier {

namespace {

using namespace std::string_view_literals;

using Rgb = std::array<std::uint8_t, 3>;
constexpr Rgb kWhite{255, 255, 255};

/// A PNG's pixels as libpng unpacks them, with nothing applied that Pillow would do otherwise:
/// one byte a channel (index, grey, grey + alpha, RGB or RGBA), but two for 16-bit grey.
struct RawPng {
  unsigned color_type = 0;
  unsigned bit_depth = 0;
  std::size_t row_bytes = 0;
  std::vector<std::uint8_t> pixels;
  std::vector<Rgb> palette;
  std::optional<std::string> transparency;  ///< the tRNS chunk
  PictureMetadata metadata;
};

/// An unsigned number, the most significant byte first.
std::size_t number_at(std::string_view data, std::size_t offset, std::size_t bytes) {
  std::size_t number = 0;
  for (const char byte : data.substr(offset, bytes)) {
    number = number << 8U | static_cast<std::uint8_t>(byte);
  }
  return number;
}

/// libpng over a file in memory. It reports an error by longjmp, which must not pass over a C++
/// object that has a destructor: so all calls go through `run`, and its stages own nothing.
class PngReader {
 public:
  explicit PngReader(const EncodedPicture& picture)
      : picture_(picture),
        bytes_(picture.bytes),
        png_(png_create_read_struct(PNG_LIBPNG_VER_STRING, this, on_error, on_warning)),
        info_(png_ == nullptr ? nullptr : png_create_info_struct(png_)) {
    if (info_ == nullptr) {
      png_destroy_read_struct(&png_, nullptr, nullptr);
      throw std::bad_alloc();
    }
  }
  ~PngReader() { png_destroy_read_struct(&png_, &info_, nullptr); }
  PngReader(const PngReader&) = delete;
  PngReader& operator=(const PngReader&) = delete;

  StoredSize measure() {
    const std::string file = without_pixels();
    bytes_ = std::as_bytes(std::span(file));
    run([this] { read_header(); });
    StoredSize stored{.size = declared_size(picture_, png_get_image_width(png_, info_),
                                            png_get_image_height(png_, info_)),
                      .metadata = {}};
    read_metadata(stored.metadata);
    return stored;
  }

  /// Fills in `raw`, and gives the picture to write into.
  Image read(RawPng& raw) {
    run([this] { read_header(); });
    Image image =
        new_image(picture_, png_get_image_width(png_, info_), png_get_image_height(png_, info_));
    run([&] { start_pixels(raw); });
    raw.pixels.resize(raw.row_bytes * static_cast<std::size_t>(image.height));
    std::vector<png_bytep> rows(static_cast<std::size_t>(image.height));
    for (std::size_t y = 0; y < rows.size(); ++y) rows[y] = raw.pixels.data() + y * raw.row_bytes;
    run([&] {
      png_read_image(png_, rows.data());
      png_read_end(png_, info_);
    });
    read_palette(raw);
    read_metadata(raw.metadata);
    raw.transparency = std::move(transparency_);
    return image;
  }

 private:
  template <typename Stage>
  void run(const Stage& stage) {
    if (setjmp(png_jmpbuf(png_)) == 0) {
      stage();
    } else {
      refuse(picture_, "PNG", {.truncated = truncated_, .reason = message_});
    }
  }

  static void on_error(png_structp png, png_const_charp message) {
    PngReader& reader = *static_cast<PngReader*>(png_get_error_ptr(png));
    std::strncpy(reader.message_, message, sizeof reader.message_ - 1);
    png_longjmp(png, 1);
  }

  static void on_warning(png_structp, png_const_charp) {}

  static void on_read(png_structp png, png_bytep to, std::size_t bytes) {
    PngReader& reader = *static_cast<PngReader*>(png_get_io_ptr(png));
    if (bytes > reader.bytes_.size() - reader.position_) {
      reader.truncated_ = true;
      png_error(png, "truncated");
    }
    std::memcpy(to, reader.bytes_.data() + reader.position_, bytes);
    reader.position_ += bytes;
  }

  /// Chunks that Pillow takes by its own rules. \return 1 for done, -1 for an error
  static int on_chunk(png_structp png, png_unknown_chunkp chunk) {
    PngReader& reader = *static_cast<PngReader*>(png_get_user_chunk_ptr(png));
    const std::string_view name(reinterpret_cast<const char*>(chunk->name), 4);
    try {
      const std::string_view data(reinterpret_cast<const char*>(chunk->data), chunk->size);
      if (name == "eXIf") reader.exif_ = data;
      if (name == "tRNS") reader.transparency_ = data;
    } catch (const std::bad_alloc&) {
      return -1;
    }
    return 1;
  }

  /// The file up to the beginning of its pixels, where libpng stops to read headers, with the
  /// metadata behind the pixels brought before them.
  [[nodiscard]] std::string without_pixels() const {
    constexpr std::size_t kSignatureBytes = 8;
    constexpr std::size_t kFrameBytes = 12;  // length, name, checksum
    constexpr std::array<std::string_view, 4> kMetadata = {"eXIf", "iTXt", "tEXt", "zTXt"};
    const std::string_view file(reinterpret_cast<const char*>(picture_.bytes.data()),
                                picture_.bytes.size());
    std::string result(file.substr(0, kSignatureBytes));
    bool seen_pixels = false;
    for (std::size_t at = kSignatureBytes;;) {
      const std::string_view rest = file.substr(at);
      const std::size_t length = rest.size() < kFrameBytes ? 0 : number_at(rest, 0, 4);
      if (rest.size() < kFrameBytes || length > rest.size() - kFrameBytes) {
        refuse(picture_, "PNG", {.truncated = true, .reason = {}});
      }
      const std::string_view name = rest.substr(4, 4);
      const std::string_view chunk = rest.substr(0, kFrameBytes + length);
      if (name == "IEND") return result += seen_pixels ? "\0\0\0\0IDAT"sv : chunk;
      seen_pixels = seen_pixels || name == "IDAT";
      if (!seen_pixels || std::ranges::find(kMetadata, name) != kMetadata.end()) result += chunk;
      at += chunk.size();
    }
  }

  void read_header() {
    png_set_read_fn(png_, this, on_read);
    // Our limit is on the area. libpng's others stand, beyond which it skips metadata: 8 MB a
    // chunk, packed or not, and 1000 texts.
    png_set_user_limits(png_, PNG_UINT_31_MAX, PNG_UINT_31_MAX);
    // Every checksum must be right, and the end chunk be there; Pillow looks no further than the
    // header and the last pixel.
    png_set_crc_action(png_, PNG_CRC_ERROR_QUIT, PNG_CRC_ERROR_QUIT);
    png_set_keep_unknown_chunks(png_, PNG_HANDLE_CHUNK_ALWAYS,
                                reinterpret_cast<png_const_bytep>("eXIf\0tRNS"), 2);
    png_set_read_user_chunk_fn(png_, this, on_chunk);
    png_read_info(png_, info_);
  }

  void start_pixels(RawPng& raw) {
    raw.color_type = png_get_color_type(png_, info_);
    raw.bit_depth = png_get_bit_depth(png_, info_);
    png_set_packing(png_);
    if (raw.color_type != PNG_COLOR_TYPE_GRAY) png_set_strip_16(png_);
    png_set_interlace_handling(png_);
    png_read_update_info(png_, info_);
    raw.row_bytes = png_get_rowbytes(png_, info_);
  }

  void read_palette(RawPng& raw) const {
    png_colorp colors = nullptr;
    int count = 0;
    png_get_PLTE(png_, info_, &colors, &count);
    for (int i = 0; i < count; ++i) {
      raw.palette.push_back({colors[i].red, colors[i].green, colors[i].blue});
    }
  }

  void read_metadata(PictureMetadata& metadata) {
    read_text(metadata);
    if (exif_) metadata.exif = std::move(exif_);
  }

  /// EXIF and XMP may also stand in text chunks; the last of a name counts.
  void read_text(PictureMetadata& metadata) const {
    png_textp texts = nullptr;
    const int count = png_get_text(png_, info_, &texts, nullptr);
    for (int i = 0; i < count; ++i) {
      const png_text& text = texts[i];
      const bool international = text.compression >= PNG_ITXT_COMPRESSION_NONE;
      const std::string_view key(text.key);
      const std::string_view value(text.text, international ? text.itxt_length : text.text_length);
      if (key == "Raw profile type exif") metadata.exif = decode_raw_profile(value);
      if (key == "XML:com.adobe.xmp") metadata.xmp = value;
    }
  }

  /// ImageMagick's way to store a profile: a blank line, a name, a length, then hexadecimal digits.
  static std::string decode_raw_profile(std::string_view text) {
    for (int line = 0; line < 3; ++line) {
      const std::size_t end = text.find('\n');
      text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    }
    std::string bytes;
    std::optional<unsigned> high;
    for (const char digit : text) {
      const std::size_t value = std::string_view("0123456789abcdefABCDEF").find(digit);
      if (value == std::string_view::npos) continue;
      const unsigned nibble = static_cast<unsigned>(value < 16 ? value : value - 6);
      if (high) bytes.push_back(static_cast<char>(*high << 4 | nibble));
      high = high ? std::nullopt : std::optional(nibble);
    }
    return bytes;
  }

  const EncodedPicture& picture_;
  std::span<const std::byte> bytes_;  ///< the file, or what `measure` reads of it
  std::size_t position_ = 0;
  std::optional<std::string> exif_;
  std::optional<std::string> transparency_;
  char message_[256] = {};
  bool truncated_ = false;
  png_structp png_;
  png_infop info_;
};

/// The 16-bit number that starts at a byte of the tRNS chunk.
unsigned key_at(std::string_view transparency, std::size_t offset) {
  return static_cast<unsigned>(number_at(transparency, offset, 2));
}

/// What each index of a palette shows over white. An index without an entry is black, as in Pillow.
std::array<Rgb, 256> palette_colors(const RawPng& raw) {
  std::array<Rgb, 256> colors{};
  std::ranges::copy(raw.palette, colors.begin());
  if (!raw.transparency) return colors;
  const std::size_t alphas = std::min(raw.transparency->size(), colors.size());
  for (std::size_t index = 0; index < alphas; ++index) {
    const auto alpha = static_cast<std::uint8_t>((*raw.transparency)[index]);
    for (std::uint8_t& channel : colors[index]) channel = over_white(channel, alpha);
  }
  return colors;
}

/// The grey value that is transparent. Pillow scales the key of 1 bit as it scales the pixels; it
/// compares any other key unscaled, and only its low byte.
std::uint8_t transparent_grey(std::string_view transparency, unsigned bit_depth) {
  const unsigned key = key_at(transparency, 0);
  if (bit_depth == 1) return key == 0 ? 0 : 255;
  return static_cast<std::uint8_t>(key & 255);
}

/// What each grey value shows: scaled to 8 bits, but 16 bits clipped; the transparent one white.
std::array<Rgb, 256> grey_colors(const RawPng& raw) {
  const unsigned scale = raw.bit_depth < 8 ? 255U / ((1U << raw.bit_depth) - 1) : 1;
  std::array<Rgb, 256> colors{};
  for (unsigned value = 0; value < colors.size(); ++value) {
    const auto grey = static_cast<std::uint8_t>(std::min(value * scale, 255U));
    const bool is_transparent =
        raw.transparency && grey == transparent_grey(*raw.transparency, raw.bit_depth);
    colors[value] = is_transparent ? kWhite : Rgb{grey, grey, grey};
  }
  return colors;
}

void convert_by_table(const RawPng& raw, const std::array<Rgb, 256>& colors, Image& image) {
  const bool is_wide = raw.color_type == PNG_COLOR_TYPE_GRAY && raw.bit_depth == 16;
  const std::size_t pixels = image.rgb.size() / 3;
  for (std::size_t pixel = 0; pixel < pixels; ++pixel) {
    std::size_t value = raw.pixels[is_wide ? 2 * pixel + 1 : pixel];
    if (is_wide && raw.pixels[2 * pixel] != 0) value = 255;
    std::ranges::copy(colors[value], image.rgb.begin() + static_cast<std::ptrdiff_t>(3 * pixel));
  }
}

void convert_rgb(RawPng& raw, Image& image) {
  image.rgb.swap(raw.pixels);
  if (!raw.transparency) return;
  Rgb key;  // the low bytes, as for grey
  for (std::size_t channel = 0; channel < key.size(); ++channel) {
    key[channel] = static_cast<std::uint8_t>(key_at(*raw.transparency, 2 * channel) & 255);
  }
  for (auto pixel = image.rgb.begin(); pixel != image.rgb.end(); pixel += 3) {
    if (std::equal(key.begin(), key.end(), pixel)) std::ranges::copy(kWhite, pixel);
  }
}

void convert_grey_alpha(const RawPng& raw, Image& image) {
  const std::size_t pixels = image.rgb.size() / 3;
  for (std::size_t pixel = 0; pixel < pixels; ++pixel) {
    const std::uint8_t grey = over_white(raw.pixels[2 * pixel], raw.pixels[2 * pixel + 1]);
    std::fill_n(image.rgb.begin() + static_cast<std::ptrdiff_t>(3 * pixel), 3, grey);
  }
}

/// The colour key of a grey or RGB picture is one 16-bit number a channel.
void check_transparency(const EncodedPicture& picture, const RawPng& raw) {
  const bool is_grey = raw.color_type == PNG_COLOR_TYPE_GRAY;
  if (!raw.transparency || !(is_grey || raw.color_type == PNG_COLOR_TYPE_RGB)) return;
  const std::size_t wanted = is_grey ? 2 : 6;
  require(raw.transparency->size() >= wanted,
          "{}: the PNG picture's tRNS chunk has {} bytes, wanted {}; export it again",
          picture.source, raw.transparency->size(), wanted);
}

void convert(RawPng& raw, Image& image) {
  switch (raw.color_type) {
    case PNG_COLOR_TYPE_PALETTE:
      return convert_by_table(raw, palette_colors(raw), image);
    case PNG_COLOR_TYPE_GRAY:
      return convert_by_table(raw, grey_colors(raw), image);
    case PNG_COLOR_TYPE_RGB:
      return convert_rgb(raw, image);
    case PNG_COLOR_TYPE_GRAY_ALPHA:
      return convert_grey_alpha(raw, image);
    default:
      return composite_over_white(raw.pixels.data(), image.rgb.data(), image.rgb.size() / 3);
  }
}

}  // namespace

StoredSize measure_png(const EncodedPicture& picture) { return PngReader(picture).measure(); }

StoredPicture decode_png(const EncodedPicture& picture) {
  RawPng raw;
  Image image = PngReader(picture).read(raw);
  check_transparency(picture, raw);
  convert(raw, image);
  return {.image = std::move(image), .metadata = std::move(raw.metadata)};
}

}  // namespace espalier
