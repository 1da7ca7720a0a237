// SPDX-License-Identifier: Apache-2.0
#include "espalier/model/pixels.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "tests/model/fixture.h"

namespace espalier {
namespace {

using test::kReleasedPreprocessor;

// Row ((by * bw + bx) * 2 + iy) * 2 + ix, column ((c * 2 + frame) * 16 + py) * 16 + px holds pixel
// ((2 by + iy) * 16 + py, (2 bx + ix) * 16 + px) of channel c.
TEST(ToPatches, PutsEachPixelInItsPlace) {
  const std::int64_t height = 64;
  const std::int64_t width = 96;
  at::manual_seed(3);
  const auto pixels = at::randint(256, {3, height, width}, at::kByte);
  const auto patches = to_patches(pixels, kReleasedPreprocessor);
  ASSERT_EQ(patches.sizes(), (std::vector<std::int64_t>{24, 1536}));
  for (std::int64_t row = 0; row < 24; ++row) {
    const std::int64_t block = row / 4;
    const std::int64_t patch_y = block / 3 * 2 + row % 4 / 2;
    const std::int64_t patch_x = block % 3 * 2 + row % 2;
    for (std::int64_t column = 0; column < 1536; column += 37) {
      const std::int64_t channel = column / 512;
      const std::int64_t y = patch_y * 16 + column % 256 / 16;
      const std::int64_t x = patch_x * 16 + column % 16;
      const float value = static_cast<float>(pixels[channel][y][x].item<int>());
      EXPECT_EQ(patches[row][column].item<float>(), (value - 127.5F) / 127.5F);
    }
  }
}

TEST(Resize, LeavesAPictureOfTheTargetsSizeAlone) {
  Image image{.width = 2, .height = 1, .rgb = {1, 2, 3, 4, 5, 6}};
  const auto planar = resize(image, {.width = 2, .height = 1});
  EXPECT_TRUE(at::equal(planar, at::tensor({1, 4, 2, 5, 3, 6}, at::kByte).view({3, 1, 2})));
}

TEST(Resize, OfAnEvenPictureIsEven) {
  Image image{.width = 7, .height = 5, .rgb = std::vector<std::uint8_t>(7 * 5 * 3, 77)};
  const auto planar = resize(image, {.width = 32, .height = 96});
  EXPECT_EQ(planar.sizes(), (std::vector<std::int64_t>{3, 96, 32}));
  EXPECT_TRUE(planar.eq(77).all().item<bool>());
}

}  // namespace
}  // namespace espalier
