// SPDX-License-Identifier: Apache-2.0
#include "espalier/model/vision.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

namespace espalier {
namespace {

VisionConfig config_of_side(std::int64_t side) {
  VisionConfig config{};
  config.num_position_embeddings = side * side;
  config.spatial_merge_size = 1;  // raster order: rows and columns are easy to name
  return config;
}

TEST(InterpolatePositions, OfTheTablesOwnSizeIsTheTable) {
  const auto table = at::randn({48 * 48, 3});
  const std::vector<ImageGrid> grids = {{.t = 1, .h = 48, .w = 48}};
  EXPECT_TRUE(at::equal(interpolate_positions(table, config_of_side(48), grids), table));
}

// A table whose entry at (row, column) is (row, column) itself gives back the coordinates: six rows
// over 0..47 stand at multiples of 47 / 5 = 9.4, four columns at multiples of 47 / 3.
TEST(InterpolatePositions, KeepsTheCornersAndSpacesTheRestEvenly) {
  const auto line = at::arange(48, at::kFloat);
  const auto table = at::stack({line.repeat_interleave(48), line.repeat(48)}, 1);
  const std::vector<ImageGrid> grids = {{.t = 1, .h = 6, .w = 4}};
  const auto found = interpolate_positions(table, config_of_side(48), grids);
  ASSERT_EQ(found.size(0), 24);
  for (std::int64_t row = 0; row < 6; ++row) {
    for (std::int64_t column = 0; column < 4; ++column) {
      EXPECT_NEAR(found[row * 4 + column][0].item<double>(), 9.4 * static_cast<double>(row), 1e-4);
      EXPECT_NEAR(found[row * 4 + column][1].item<double>(), 47.0 / 3 * static_cast<double>(column),
                  1e-4);
    }
  }
}

}  // namespace
}  // namespace espalier
