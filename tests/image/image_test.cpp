// SPDX-License-Identifier: Apache-2.0
#include "espalier/image/image.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>

#include "espalier/base/hash.h"
#include "espalier/image/decoders.h"
#include "tests/image/pictures.h"
#include "tests/png.h"
#include "tests/support.h"

namespace espalier {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string sha256(const Image& image) {
  Sha256 hash;
  hash.update(std::as_bytes(std::span(image.rgb)));
  return hash.finish();
}

/// What Pillow 13 and convert_to_rgb of transformers 5.23 decode every fixture to
/// (tests/reference/make_image_fixtures.py).
class Fixtures : public testing::TestWithParam<const char*> {};

TEST_P(Fixtures, EqualTheReferenceByteForByte) {
  const auto expected = nlohmann::json::parse(test::read_picture("expected.json"));
  int compared = 0;
  for (const auto& [name, wanted] : expected.items()) {
    if (!name.ends_with(GetParam())) continue;
    const Image image = read_image(test::fixture("images/" + name));
    EXPECT_EQ(image.width, wanted["width"].get<int>()) << name;
    EXPECT_EQ(image.height, wanted["height"].get<int>()) << name;
    EXPECT_EQ(sha256(image), wanted["sha256"].get<std::string>()) << name;
    ++compared;
  }
  EXPECT_GT(compared, 10);
}

TEST_P(Fixtures, HaveTheSizeThatTheirHeadersSay) {
  const auto expected = nlohmann::json::parse(test::read_picture("expected.json"));
  for (const auto& [name, wanted] : expected.items()) {
    if (!name.ends_with(GetParam())) continue;
    const std::string bytes = test::read_picture(name);
    const Size size = image_size(test::as_bytes(bytes), name);
    EXPECT_EQ(size, (Size{wanted["width"].get<int>(), wanted["height"].get<int>()})) << name;
  }
}

INSTANTIATE_TEST_SUITE_P(Image, Fixtures, testing::Values(".jpg", ".png", ".webp"),
                         [](const auto& kind) { return std::string(kind.param + 1); });

// The smallest PNG by hand: a bit a pixel, filter 0, stored (not packed) in zlib's frame.
std::string two_grey_pixels(int row) {
  const char filter_and_row[] = {0, static_cast<char>(row)};
  const int adler_low = 1 + row;
  const std::string zlib =
      std::string("\x78\x01\x01\x02\x00\xfd\xff", 7) + std::string(filter_and_row, 2) +
      std::string({0, static_cast<char>(2 + row), 0, static_cast<char>(adler_low)});
  return std::string("\x89PNG\r\n\x1a\n") +
         test::png_chunk(
             "IHDR", test::big_endian(2) + test::big_endian(1) + std::string("\x01\0\0\0\0", 5)) +
         test::png_chunk("IDAT", zlib) + test::png_chunk("IEND", "");
}

TEST(Image, DecodesBitsToBlackAndWhite) {
  const Image image = test::decode(two_grey_pixels(0x40));  // bits 0 and 1
  EXPECT_EQ(image.width, 2);
  EXPECT_EQ(image.height, 1);
  EXPECT_THAT(image.rgb, ElementsAre(0, 0, 0, 255, 255, 255));
}

TEST(Image, ShowsTheTransparentColorWhite) {
  const std::string keyed =
      test::with_png_chunk(two_grey_pixels(0x40), "tRNS", std::string("\0\0", 2));
  EXPECT_THAT(test::decode(keyed).rgb, ElementsAre(255, 255, 255, 255, 255, 255));
}

TEST(Image, CompositesOverWhiteAsTheFormulaSays) {
  // floor((100 * 51 + 255 * 204) / 255 + 1/2) = floor(20 + 204 + 1/2) = 224
  EXPECT_EQ(over_white(100, 51), 224);
  for (unsigned value = 0; value < 256; ++value) {
    EXPECT_EQ(over_white(value, 255), value);
    EXPECT_EQ(over_white(value, 0), 255);
    EXPECT_EQ(over_white(255, value), 255);
  }
}

TEST(Image, NamesTheFileInErrors) {
  const test::TemporaryDirectory folder;
  const std::string error = test::input_error([&] { read_image(folder / "missing.png"); });
  EXPECT_THAT(error, HasSubstr("missing.png"));
}

TEST(Image, TurnsCameraPicturesUpright) {
  const auto data = test::test_data();
  if (!data) GTEST_SKIP() << "ESPALIER_TEST_DATA is not set";
  for (const std::string shape : {"landscape", "portrait"}) {
    const auto stored = [&](int orientation) {
      return read_image(*data / "exif" /
                        ("orientation_" + shape + "_" + std::to_string(orientation) + ".jpg"));
    };
    const Image upright = stored(1);
    for (int orientation = 2; orientation <= 8; ++orientation) {
      const Image turned = stored(orientation);
      ASSERT_EQ(turned.width, upright.width) << shape << orientation;
      ASSERT_EQ(turned.height, upright.height) << shape << orientation;
      // Each was compressed on its own, so the pixels are alike, not equal.
      double difference = 0;
      for (std::size_t i = 0; i < upright.rgb.size(); ++i) {
        difference += std::abs(int{upright.rgb[i]} - int{turned.rgb[i]});
      }
      EXPECT_LT(difference / static_cast<double>(upright.rgb.size()), 20) << shape << orientation;
    }
  }
}

}  // namespace
}  // namespace espalier
