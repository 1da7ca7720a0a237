// SPDX-License-Identifier: Apache-2.0
#include "espalier/image/encode_png.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "espalier/base/random.h"
#include "tests/image/pictures.h"
#include "tests/support.h"

namespace espalier {
namespace {

Image random_picture(int width, int height) {
  Image image{.width = width, .height = height};
  Random random(1);
  for (int i = 0; i < 3 * width * height; ++i) {
    image.rgb.push_back(static_cast<std::uint8_t>(random.next()));
  }
  return image;
}

TEST(EncodePng, GivesWhatTheDecoderReadsBack) {
  for (const auto& [width, height] : {std::pair(1, 1), {7, 3}, {128, 32}, {1, 300}, {513, 129}}) {
    const Image image = random_picture(width, height);
    EXPECT_EQ(test::decode(encode_png(image)), image) << width << " x " << height;
  }
}

TEST(EncodePng, RefusesAPictureWithoutPixels) {
  EXPECT_THAT(test::input_error([] { encode_png(Image{}); }),
              testing::AllOf(testing::HasSubstr("0 x 0 pixels"), testing::HasSubstr("IHDR")));
}

}  // namespace
}  // namespace espalier
