// SPDX-License-Identifier: Apache-2.0
#include "espalier/image/encode_png.h"

#include <png.h>
#include <zlib.h>

#include <csetjmp>
#include <cstring>
#include <new>

#include "espalier/base/error.h"

namespace espalier {

namespace {

/// libpng into memory. It reports an error by longjmp, which must not pass over a C++ object that
/// has a destructor: `write_all` owns nothing.
class PngWriter {
 public:
  PngWriter()
      : png_(png_create_write_struct(PNG_LIBPNG_VER_STRING, this, on_error, on_warning)),
        info_(png_ == nullptr ? nullptr : png_create_info_struct(png_)) {
    if (info_ == nullptr) {
      png_destroy_write_struct(&png_, nullptr);
      throw std::bad_alloc();
    }
  }
  ~PngWriter() { png_destroy_write_struct(&png_, &info_); }
  PngWriter(const PngWriter&) = delete;
  PngWriter& operator=(const PngWriter&) = delete;

  std::string write(const Image& image) {
    if (setjmp(png_jmpbuf(png_)) != 0) {
      throw InputError(fmt::format("a picture of {} x {} pixels cannot be written as PNG: {}",
                                   image.width, image.height, message_));
    }
    write_all(image);
    return std::move(bytes_);
  }

 private:
  static void on_error(png_structp png, png_const_charp message) {
    PngWriter& writer = *static_cast<PngWriter*>(png_get_error_ptr(png));
    std::strncpy(writer.message_, message, sizeof writer.message_ - 1);
    png_longjmp(png, 1);
  }

  static void on_warning(png_structp, png_const_charp) {}

  static void on_bytes(png_structp png, png_bytep bytes, std::size_t count) {
    PngWriter& writer = *static_cast<PngWriter*>(png_get_io_ptr(png));
    bool enough_memory = true;
    try {
      writer.bytes_.append(reinterpret_cast<const char*>(bytes), count);
    } catch (const std::bad_alloc&) {
      enough_memory = false;
    }
    if (!enough_memory) png_error(png, "out of memory");
  }

  static void on_flush(png_structp) {}

  void write_all(const Image& image) {
    png_set_write_fn(png_, this, on_bytes, on_flush);
    png_set_IHDR(png_, info_, static_cast<png_uint_32>(image.width),
                 static_cast<png_uint_32>(image.height), 8, PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE,
                 PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    png_set_compression_level(png_, 1);
    // A search for repetitions takes half of the time and finds none in noise.
    png_set_compression_strategy(png_, Z_HUFFMAN_ONLY);
    png_set_filter(png_, PNG_FILTER_TYPE_BASE, PNG_FILTER_NONE);
    png_write_info(png_, info_);
    const std::size_t row_bytes = 3 * static_cast<std::size_t>(image.width);
    for (std::size_t y = 0; y < static_cast<std::size_t>(image.height); ++y) {
      png_write_row(png_, image.rgb.data() + y * row_bytes);
    }
    png_write_end(png_, info_);
  }

  png_structp png_;
  png_infop info_;
  std::string bytes_;
  char message_[160] = {};
};

}  // namespace

std::string encode_png(const Image& image) {
  assume(image.rgb.size() ==
             3 * static_cast<std::size_t>(image.width) * static_cast<std::size_t>(image.height),
         "a picture has three bytes a pixel");
  return PngWriter().write(image);
}

}  // namespace espalier
