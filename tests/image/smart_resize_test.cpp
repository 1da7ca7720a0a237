// SPDX-License-Identifier: Apache-2.0
#include "espalier/image/smart_resize.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support.h"

namespace espalier {
namespace {

using ::testing::HasSubstr;

/// As in the released models: patches of 16 pixels, merged 2 x 2, areas from 256^2 to 4096^2.
constexpr ResizeLimits kReleased{.factor = 32, .min_pixels = 65'536, .max_pixels = 16'777'216};

struct Row {
  int height, width;
  int fitted_height, fitted_width;
};

// NOLINTNEXTLINE(readability-identifier-naming): the name that GoogleTest looks for
void PrintTo(const Row& row, std::ostream* out) { *out << row.height << " x " << row.width; }

class SmartResizeRow : public testing::TestWithParam<Row> {};

TEST_P(SmartResizeRow, EqualsTheReference) {
  const Row& row = GetParam();
  const Size fitted =
      smart_resize({.width = row.width, .height = row.height}, kReleased, "picture.png");
  EXPECT_EQ(fitted.height, row.fitted_height);
  EXPECT_EQ(fitted.width, row.fitted_width);
}

INSTANTIATE_TEST_SUITE_P(SmartResize, SmartResizeRow,
                         testing::Values(Row{480, 640, 480, 640},          // nothing to do
                                         Row{336, 336, 320, 320},          // 10.5 to even 10
                                         Row{304, 400, 320, 384},          // 9.5 to 10, 12.5 to 12
                                         Row{272, 240, 256, 256},          // 8.5 to 8, 7.5 to 8
                                         Row{224, 224, 256, 256},          // below the minimum
                                         Row{48, 80, 224, 352},            // below the minimum
                                         Row{16, 16, 256, 256},            // both sides round to 0
                                         Row{10, 1000, 32, 2560},          // one side rounds to 0
                                         Row{1080, 1920, 1088, 1920},      // 33.75 to 34
                                         Row{720, 1280, 704, 1280},        // 22.5 to 22
                                         Row{1365, 2048, 1376, 2048},      // 42.66 to 43
                                         Row{4000, 6000, 3328, 4992},      // above the maximum
                                         Row{5000, 5000, 4096, 4096},      // above the maximum
                                         Row{768, 768, 768, 768},          // nothing to do
                                         Row{1, 200, 32, 3648},            // ratio exactly 200
                                         Row{1, 1, 256, 256},              // the smallest
                                         Row{3, 500, 32, 3328},            // long and thin
                                         Row{20000, 100, 20000, 96},       // ratio exactly 200
                                         Row{30000, 40000, 3520, 4704}));  // the largest

TEST(SmartResize, KeepsASideAboveZeroWhenItShrinks) {
  // beta = sqrt(100 * 20000 / 4096) = 22.1; 100 / 22.1 / 32 = 0.14 would floor to 0.
  const ResizeLimits small{.factor = 32, .min_pixels = 1'024, .max_pixels = 4'096};
  EXPECT_EQ(smart_resize({.width = 20'000, .height = 100}, small, "picture.png"),
            (Size{.width = 896, .height = 32}));
}

TEST(SmartResize, ReachesTheMinimumAndMultiplesForEverySizeWithinTheRatio) {
  for (int height = 1; height < 400; height += 7) {
    for (int width = height; width <= std::min(200 * height, 400); width += 11) {
      const Size fitted = smart_resize({.width = width, .height = height}, kReleased, "picture");
      EXPECT_EQ(fitted.width % 32, 0);
      EXPECT_EQ(fitted.height % 32, 0);
      EXPECT_GE(fitted.width * fitted.height, kReleased.min_pixels);
      const Size turned = smart_resize({.width = height, .height = width}, kReleased, "picture");
      EXPECT_EQ(turned, (Size{.width = fitted.height, .height = fitted.width}));
    }
  }
}

TEST(SmartResize, RefusesARatioAbove200AndNamesThePicture) {
  const std::string error =
      test::input_error([] { smart_resize({.width = 401, .height = 2}, kReleased, "banner.png"); });
  EXPECT_THAT(error, HasSubstr("banner.png"));
  EXPECT_THAT(error, HasSubstr("401 x 2"));
  EXPECT_THAT(error, HasSubstr("200 times"));
}

TEST(SmartResize, RefusesAnEmptyPicture) {
  const std::string error =
      test::input_error([] { smart_resize({.width = 0, .height = 5}, kReleased, "empty.png"); });
  EXPECT_THAT(error, HasSubstr("empty.png"));
}

TEST(SmartResize, RefusesLimitsThatNoSizeMeets) {
  const ResizeLimits crossed{.factor = 32, .min_pixels = 100, .max_pixels = 99};
  const std::string error =
      test::input_error([&] { smart_resize({.width = 5, .height = 5}, crossed, "picture.png"); });
  EXPECT_THAT(error, HasSubstr("100 to 99"));
}

}  // namespace
}  // namespace espalier
