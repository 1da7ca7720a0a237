// SPDX-License-Identifier: Apache-2.0
#include "espalier/synth/outline.h"

#include <gtest/gtest.h>

namespace espalier {
namespace {

Outline box() {
  Outline outline;
  add_box(outline, {.left = 1.0, .top = 2.0, .right = 4.0, .bottom = 3.0});
  return outline;
}

TEST(Outline, HasTheBoundsOfItsPoints) {
  Outline outline = box();
  outline.push_back({.kind = OutlineStep::Kind::Curve, .points = {{{9, 2}, {2, 7}, {3, -1}}}});
  const Box bounds = bounds_of(outline);
  EXPECT_EQ(bounds.left, 1.0);
  EXPECT_EQ(bounds.right, 9.0);
  EXPECT_EQ(bounds.top, -1.0);
  EXPECT_EQ(bounds.bottom, 7.0);
}

// (1, 2) twice as large is (2, 4), moved by (-3, 1) it is (-1, 5).
TEST(Outline, IsScaledThenMoved) {
  EXPECT_EQ(scaled_and_moved(box(), 2.0, {.x = -3.0, .y = 1.0})[0].points[0],
            (Point{.x = -1.0, .y = 5.0}));
}

// A quarter turn clockwise takes what is to the right to what is below: (1, 2) to (-2, 1).
TEST(Outline, TurnsClockwiseOnTheScreen) {
  const Point point = rotated(box(), 90.0)[0].points[0];
  EXPECT_NEAR(point.x, -2.0, 1e-12);
  EXPECT_NEAR(point.y, 1.0, 1e-12);
}

}  // namespace
}  // namespace espalier
