// SPDX-License-Identifier: Apache-2.0
#include "espalier/synth/colour.h"

#include <gtest/gtest.h>

namespace espalier {
namespace {

constexpr Colour kWhite{.red = 1.0, .green = 1.0, .blue = 1.0};
constexpr Colour kBlack{.red = 0.0, .green = 0.0, .blue = 0.0};
constexpr Colour kRed{.red = 1.0, .green = 0.0, .blue = 0.0};

TEST(Contrast, IsTheRatioOfWcag) {
  // (1 + 0.05) / (0 + 0.05) = 21; red has the luminance 0.2126: 1.05 / 0.2626 = 3.998
  EXPECT_DOUBLE_EQ(contrast(kWhite, kBlack), 21.0);
  EXPECT_NEAR(contrast(kRed, kWhite), 3.998, 0.001);
  EXPECT_DOUBLE_EQ(contrast(kRed, kRed), 1.0);
}

TEST(Contrast, DoesNotAskWhichOfTheTwoComesFirst) {
  Random random(1);
  for (int i = 0; i < 100; ++i) {
    const Colour a = draw_colour(random);
    const Colour b = draw_colour(random);
    EXPECT_EQ(contrast(a, b), contrast(b, a));
  }
}

TEST(Vary, StaysNearTheColourAndInItsRange) {
  Random random(2);
  for (int i = 0; i < 100; ++i) {
    const Colour varied = vary({.red = 1.0, .green = 0.5, .blue = 0.0}, 0.1, random);
    EXPECT_GE(varied.red, 0.9);
    EXPECT_LE(varied.red, 1.0);
    EXPECT_NEAR(varied.green, 0.5, 0.1);
    EXPECT_GE(varied.blue, 0.0);
    EXPECT_LE(varied.blue, 0.1);
  }
}

}  // namespace
}  // namespace espalier
