// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "espalier/base/error.h"
#include "tests/image/pictures.h"
#include "tests/png.h"
#include "tests/support.h"

namespace espalier {
namespace {

using namespace std::string_literals;
using test::decode;
using test::decode_error;
using test::read_picture;
using ::testing::AllOf;
using ::testing::HasSubstr;

TEST(HostileImage, RefusesAnEmptyFile) { EXPECT_THAT(decode_error(""), HasSubstr("empty")); }

TEST(HostileImage, NamesTheFirstBytesOfAnUnknownFormat) {
  EXPECT_THAT(decode_error("GIF89a\x01\x00"s),
              AllOf(HasSubstr("47 49 46 38 39 61 01 00"), HasSubstr("\"GIF89a..\""),
                    HasSubstr("JPEG, PNG or WebP")));
  EXPECT_THAT(decode_error("RIFF\0\0\0\0WAVE"s), HasSubstr("52 49 46 46"));
  EXPECT_THAT(decode_error("\xff"), HasSubstr("ff"));
}

class HostilePicture : public testing::TestWithParam<const char*> {};

TEST_P(HostilePicture, IsRefusedWhereverItIsCut) {
  const std::string whole = read_picture(GetParam());
  for (std::size_t bytes = 0; bytes < whole.size(); ++bytes) {
    const std::string error = decode_error(std::string_view(whole).substr(0, bytes));
    if (bytes >= 12) {
      EXPECT_THAT(error, HasSubstr("is truncated"));
    }
  }
}

TEST_P(HostilePicture, IsMeasuredOrRefusedWhereverItIsCut) {
  const std::string whole = read_picture(GetParam());
  const Image image = decode(whole);
  for (std::size_t bytes = 0; bytes < whole.size(); ++bytes) {
    try {
      EXPECT_EQ(image_size(test::as_bytes(std::string_view(whole).substr(0, bytes)), "x"),
                (Size{image.width, image.height}));
    } catch (const InputError& error) {
      EXPECT_THAT(error.what(), testing::StartsWith("x: "));
    }
  }
}

TEST_P(HostilePicture, IsRefusedAboveTheLimitOfPixels) {
  const std::string whole = read_picture(GetParam());
  const Image image = decode(whole);
  const std::int64_t pixels = std::int64_t{image.width} * image.height;
  EXPECT_EQ(decode(whole, {.max_pixels = pixels}), image);
  EXPECT_THAT(decode_error(whole, {.max_pixels = pixels - 1}),
              HasSubstr("limit is " + std::to_string(pixels - 1)));
  EXPECT_THAT(test::input_error([&] {
                (void)image_size(test::as_bytes(whole), "x", {.max_pixels = pixels - 1});
              }),
              HasSubstr("limit is " + std::to_string(pixels - 1)));
}

/// Measures, which may only fail with an InputError that names the source.
void expect_measurable(std::string_view bytes) {
  try {
    const Size size = image_size(test::as_bytes(bytes), "the picture", {.max_pixels = 1 << 18});
    EXPECT_LE(std::int64_t{size.width} * size.height, 1 << 18);
  } catch (const InputError& error) {
    EXPECT_THAT(error.what(), testing::StartsWith("the picture: "));
  }
}

// Whatever is flipped, inserted, removed or cut, the picture decodes, and then has the size that
// its headers say, or an InputError says why not.
TEST_P(HostilePicture, NeverCrashesWhenMutated) {
  const std::string whole = read_picture(GetParam());
  const bool is_png = whole.starts_with("\x89PNG");
  std::mt19937 random(20260320);
  const auto below = [&](std::size_t bound) { return random() % bound; };
  for (int round = 0; round < 300; ++round) {
    std::string mutated = whole;
    for (std::size_t change = below(6) + 1; change > 0 && !mutated.empty(); --change) {
      const std::size_t at = below(mutated.size());
      switch (below(8)) {
        case 0:
          mutated.resize(at);
          break;
        case 1:
          mutated.erase(at, below(16));
          break;
        case 2:
          mutated.insert(at, mutated.substr(below(mutated.size()), below(64)));
          break;
        case 3:
          mutated[at] = static_cast<char>(below(2) == 0 ? 0xFF : 0);
          break;
        default:
          mutated[at] = static_cast<char>(mutated[at] ^ (1 << below(8)));
      }
    }
    // Else nearly every mutated PNG would end at its first checksum.
    if (is_png && below(4) != 0) mutated = test::with_valid_checksums(mutated);
    try {
      const Image image = decode(mutated, {.max_pixels = 1 << 18});
      EXPECT_EQ(static_cast<std::int64_t>(image.rgb.size()),
                std::int64_t{3} * image.width * image.height);
      EXPECT_EQ(image_size(test::as_bytes(mutated), "the picture"),
                (Size{image.width, image.height}));
    } catch (const InputError& error) {
      EXPECT_THAT(error.what(), testing::StartsWith("the picture: "));
      expect_measurable(mutated);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Image, HostilePicture,
                         testing::Values("rgb420.jpg", "rgb420_progressive.jpg", "cmyk.jpg",
                                         "exif6.jpg", "exif_two_segments.jpg", "restarts.jpg",
                                         "filtered.png", "palette4_alphas.png",
                                         "rgba16_interlaced.png", "raw_profile.png",
                                         "xmp_packed.png", "lossy_alpha.webp",
                                         "lossless_alpha.webp", "animated_part_alpha.webp",
                                         "exif.webp"));

std::string png_of_size(std::size_t width, std::size_t height) {
  std::string png = read_picture("one_pixel.png");
  png.replace(16, 8, test::big_endian(width) + test::big_endian(height));
  return test::with_valid_checksums(png);
}

/// A JPEG whose frame header declares another size.
std::string jpeg_of_size(std::size_t width, std::size_t height) {
  std::string jpeg = read_picture("one_pixel.jpg");
  const std::size_t frame = jpeg.find("\xff\xc0\x00\x11"s);
  return jpeg.replace(frame + 5, 4,
                      test::big_endian(height).substr(2) + test::big_endian(width).substr(2));
}

TEST(HostileImage, RefusesABombBeforeItAllocates) {
  EXPECT_THAT(decode_error(png_of_size(100'000, 100'000)), HasSubstr("100000 x 100000"));
  EXPECT_THAT(decode_error(png_of_size(0x7FFFFFFF, 0x7FFFFFFF)), HasSubstr("limit is 178956970"));
  EXPECT_THAT(decode_error(jpeg_of_size(65'000, 65'000)), HasSubstr("65000 x 65000"));
  std::string webp = read_picture("animated_part.webp");
  webp.replace(24, 6, "\x3f\x9c\x00\x3f\x9c\x00"s);
  EXPECT_THAT(decode_error(webp), HasSubstr("40000 x 40000"));
}

TEST(HostileImage, RefusesAPictureWithoutPixels) {
  decode_error(png_of_size(0, 5));
  decode_error(png_of_size(5, 0));
  decode_error(jpeg_of_size(0, 5));
  decode_error(jpeg_of_size(5, 0));
}

TEST(HostileImage, RefusesPixelsFewerThanDeclared) { decode_error(png_of_size(50, 50)); }

TEST(HostileImage, RefusesAWrongChecksum) {
  const std::string whole = read_picture("exif6.png");
  for (const std::string name : {"IHDR", "eXIf", "IDAT", "IEND"}) {
    std::string broken = whole;
    const std::size_t at = broken.find(name);
    ASSERT_NE(at, std::string::npos);
    const std::size_t bytes = static_cast<std::uint8_t>(broken[at - 2]) * 256U +
                              static_cast<std::uint8_t>(broken[at - 1]);
    broken[at + 4 + bytes] ^= 1;
    EXPECT_THAT(decode_error(broken), HasSubstr("CRC error")) << name;
  }
}

TEST(HostileImage, RefusesAColorKeyThatIsTooShort) {
  const std::string keyed = test::with_png_chunk(read_picture("rgb8.png"), "tRNS", "12345");
  EXPECT_THAT(decode_error(keyed), HasSubstr("tRNS chunk has 5 bytes, wanted 6"));
}

TEST(HostileImage, SkipsTextThatIsTooLarge) {
  const std::string whole = read_picture("rgb8.png");
  std::string text = "Comment\0"s;
  text.resize(9'000'000, 'x');
  EXPECT_EQ(decode(test::with_png_chunk(whole, "tEXt", text)), decode(whole));
}

TEST(HostileImage, RefusesGarbageAfterTheStart) {
  decode_error("\xff\xd8\xff"s + std::string(500, 'x'));
  decode_error("\xff\xd8\xff\xd8\xff\xd9"s);
  decode_error("\x89PNG\r\n\x1a\n"s + std::string(500, 'x'));
  decode_error("RIFF\x10\0\0\0WEBPVP8 \0\0\0\0"s);
}

TEST(HostileImage, RefusesAProgressivePictureOfTooManyScans) {
  std::string jpeg = read_picture("grey_progressive.jpg");
  const std::size_t last_scan = jpeg.rfind("\xff\xda");
  const std::string scan = jpeg.substr(last_scan, jpeg.size() - 2 - last_scan);
  for (int i = 0; i < 600; ++i) jpeg.insert(last_scan, scan);
  EXPECT_THAT(decode_error(jpeg), HasSubstr("more than 500 scans"));
}

}  // namespace
}  // namespace espalier
