// SPDX-License-Identifier: Apache-2.0
#include <csetjmp>
#include <cstdio>  // jpeglib.h needs FILE
//
#include <jpeglib.h>

#include <string_view>
#include <vector>

#include "espalier/image/decoders.h"

namespace espalier {

namespace {

using namespace std::string_view_literals;

/// Each scan of a progressive picture passes over all of it: a small file with thousands of scans
/// would run for hours. Encoders write about ten.
constexpr int kMaxScans = 500;

/// libjpeg over a file in memory. It reports an error by longjmp, which must not pass over a C++
/// object that has a destructor: so all calls go through `run`, and its stages own nothing.
class JpegReader {
 public:
  explicit JpegReader(const EncodedPicture& picture) : picture_(picture) {
    info_.err = jpeg_std_error(&errors_);
    errors_.error_exit = [](j_common_ptr info) {
      JpegReader& reader = of(info);
      info->err->format_message(info, reader.message_);
      reader.fail();
    };
    // As in Pillow, a warning (a corrupt block, a stray byte between markers) stops nothing.
    errors_.emit_message = [](j_common_ptr, int) {};
    errors_.output_message = [](j_common_ptr) {};
    info_.client_data = this;
  }
  ~JpegReader() { jpeg_destroy_decompress(&info_); }
  JpegReader(const JpegReader&) = delete;
  JpegReader& operator=(const JpegReader&) = delete;

  StoredSize measure() {
    run([this] { read_header(); });
    return {.size = declared_size(picture_, info_.image_width, info_.image_height),
            .metadata = metadata()};
  }

  StoredPicture read() {
    run([this] { read_header(); });
    StoredPicture stored{.image = new_image(picture_, info_.image_width, info_.image_height),
                         .metadata = metadata()};
    std::vector<JSAMPLE> cmyk_row(is_cmyk() ? std::size_t{4} * info_.image_width : 0);
    run([&] { read_pixels(stored.image.rgb.data(), cmyk_row.data()); });
    return stored;
  }

 private:
  static JpegReader& of(j_common_ptr info) { return *static_cast<JpegReader*>(info->client_data); }
  static JpegReader& of(j_decompress_ptr info) { return of(reinterpret_cast<j_common_ptr>(info)); }

  template <typename Stage>
  void run(const Stage& stage) {
    if (setjmp(jump_) == 0) {
      stage();
    } else {
      refuse(picture_, "JPEG", {.truncated = truncated_, .reason = message_});
    }
  }

  [[noreturn]] void fail() { std::longjmp(jump_, 1); }

  [[noreturn]] static void fail_truncated(j_decompress_ptr info) {
    of(info).truncated_ = true;
    of(info).fail();
  }

  [[nodiscard]] bool is_cmyk() const { return info_.num_components == 4; }

  void read_header() {
    jpeg_create_decompress(&info_);
    open_source();
    watch_scans();
    jpeg_save_markers(&info_, JPEG_APP0 + 1, 0xFFFF);
    jpeg_read_header(&info_, TRUE);
  }

  /// libjpeg's own source of memory ends a truncated file with an invented end marker.
  void open_source() {
    source_.init_source = [](j_decompress_ptr) {};
    source_.term_source = [](j_decompress_ptr) {};
    source_.resync_to_restart = jpeg_resync_to_restart;
    source_.fill_input_buffer = [](j_decompress_ptr info) -> boolean { fail_truncated(info); };
    source_.skip_input_data = [](j_decompress_ptr info, long bytes) {
      if (bytes <= 0) return;
      const auto skipped = static_cast<std::size_t>(bytes);
      if (skipped > info->src->bytes_in_buffer) fail_truncated(info);
      info->src->next_input_byte += skipped;
      info->src->bytes_in_buffer -= skipped;
    };
    source_.next_input_byte = reinterpret_cast<const JOCTET*>(picture_.bytes.data());
    source_.bytes_in_buffer = picture_.bytes.size();
    info_.src = &source_;
  }

  void watch_scans() {
    progress_.progress_monitor = [](j_common_ptr info) {
      if (reinterpret_cast<j_decompress_ptr>(info)->input_scan_number <= kMaxScans) return;
      JpegReader& reader = of(info);
      std::snprintf(reader.message_, sizeof reader.message_, "it has more than %d scans",
                    kMaxScans);
      reader.fail();
    };
    info_.progress = &progress_;
  }

  /// EXIF may be spread over several segments; of XMP Pillow takes the last.
  [[nodiscard]] PictureMetadata metadata() const {
    constexpr std::string_view kExif = "Exif\0\0"sv;
    constexpr std::string_view kXmp = "http://ns.adobe.com/xap/1.0/\0"sv;
    PictureMetadata found;
    for (jpeg_saved_marker_ptr marker = info_.marker_list; marker != nullptr;
         marker = marker->next) {
      const std::string_view data(reinterpret_cast<const char*>(marker->data), marker->data_length);
      if (data.starts_with(kExif) && found.exif) {
        found.exif->append(data.substr(kExif.size()));
      } else if (data.starts_with(kExif)) {
        found.exif = data;
      } else if (data.starts_with(kXmp)) {
        found.xmp = data.substr(kXmp.size());
      }
    }
    return found;
  }

  /// \param cmyk_row  room for one row, where the picture is CMYK
  void read_pixels(JSAMPLE* rgb, JSAMPLE* cmyk_row) {
    info_.out_color_space = is_cmyk() ? JCS_CMYK : JCS_RGB;
    jpeg_start_decompress(&info_);
    for (; info_.output_scanline < info_.output_height;
         rgb += std::size_t{3} * info_.output_width) {
      JSAMPROW row = is_cmyk() ? cmyk_row : rgb;
      jpeg_read_scanlines(&info_, &row, 1);
      if (is_cmyk()) convert_row(cmyk_row, rgb, info_.output_width);
    }
    jpeg_finish_decompress(&info_);
  }

  /// Pillow's CMYK to RGB. It takes every CMYK JPEG as Adobe writes them: inverted.
  static void convert_row(const JSAMPLE* cmyk, JSAMPLE* rgb, std::size_t pixels) {
    for (std::size_t pixel = 0; pixel < pixels; ++pixel, cmyk += 4, rgb += 3) {
      const unsigned light = cmyk[3];
      for (int channel = 0; channel < 3; ++channel) {
        const unsigned product = (255U - cmyk[channel]) * light + 128;
        rgb[channel] = static_cast<JSAMPLE>(light - ((product + (product >> 8)) >> 8));
      }
    }
  }

  const EncodedPicture& picture_;
  jpeg_decompress_struct info_{};
  jpeg_error_mgr errors_{};
  jpeg_source_mgr source_{};
  jpeg_progress_mgr progress_{};
  std::jmp_buf jump_{};
  char message_[JMSG_LENGTH_MAX] = {};
  bool truncated_ = false;
};

}  // namespace

StoredPicture decode_jpeg(const EncodedPicture& picture) { return JpegReader(picture).read(); }

StoredSize measure_jpeg(const EncodedPicture& picture) { return JpegReader(picture).measure(); }

}  // namespace espalier
