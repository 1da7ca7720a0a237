// SPDX-License-Identifier: Apache-2.0
#include "espalier/model/rope.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <numeric>

#include "espalier/base/error.h"
#include "tests/support.h"

namespace espalier {
namespace {

using Ids = std::vector<std::int64_t>;

constexpr std::int64_t kImage = 151655;

Ids range(std::int64_t from, std::int64_t to) {
  Ids ids(static_cast<std::size_t>(to - from + 1));
  std::iota(ids.begin(), ids.end(), from);
  return ids;
}

Ids operator+(Ids left, const Ids& right) {
  left.insert(left.end(), right.begin(), right.end());
  return left;
}

TextConfig text_config() {
  return {.vocab_size = 300,
          .hidden_size = 64,
          .intermediate_size = 64,
          .num_hidden_layers = 1,
          .num_attention_heads = 1,
          .num_key_value_heads = 1,
          .head_dim = 128,
          .max_position_embeddings = 1000,
          .rms_norm_eps = 1e-6,
          .rope_theta = 5e6,
          .mrope_section = {24, 20, 20}};
}

// Four text tokens, a picture of 2 x 3 visual tokens, ten more text tokens: the picture keeps T = 4
// and moves the counter by its longer side, 3, so that the text goes on at 7 and the sample of 20
// tokens ends at position 16: delta = 17 - 20.
TEST(RopePositions, OnePictureKeepsTAndMovesByItsLongerSide) {
  Ids ids = {151644, 872, 198, 151652};
  ids.insert(ids.end(), 6, kImage);
  ids = ids + Ids{151653, 74785, 419, 2168, 13, 151645, 198, 151644, 77091, 198};
  const std::vector<ImageGrid> grids = {{.t = 1, .h = 4, .w = 6}};
  const Positions positions = rope_positions(ids, grids, kImage, 2);
  EXPECT_EQ(positions.axes[0], (range(0, 3) + Ids{4, 4, 4, 4, 4, 4} + range(7, 16)));
  EXPECT_EQ(positions.axes[1], (range(0, 3) + Ids{4, 4, 4, 5, 5, 5} + range(7, 16)));
  EXPECT_EQ(positions.axes[2], (range(0, 3) + Ids{4, 5, 6, 4, 5, 6} + range(7, 16)));
  EXPECT_EQ(positions.delta, -3);
}

TEST(RopePositions, TwoPicturesFollowOneAnother) {
  Ids ids = {1, 2, 3, 4};
  ids.insert(ids.end(), 4, kImage);  // grid 4 x 4: 2 x 2 tokens
  ids = ids + Ids{5, 6};
  ids.insert(ids.end(), 6, kImage);  // grid 6 x 4: 3 x 2 tokens
  ids = ids + range(7, 13);
  const std::vector<ImageGrid> grids = {{.t = 1, .h = 4, .w = 4}, {.t = 1, .h = 6, .w = 4}};
  const Positions positions = rope_positions(ids, grids, kImage, 2);
  EXPECT_EQ(positions.axes[1],
            (range(0, 3) + Ids{4, 4, 5, 5, 6, 7, 8, 8, 9, 9, 10, 10} + range(11, 17)));
  EXPECT_EQ(positions.axes[2],
            (range(0, 3) + Ids{4, 5, 4, 5, 6, 7, 8, 9, 8, 9, 8, 9} + range(11, 17)));
  EXPECT_EQ(positions.delta, -5);
}

TEST(RopePositions, RefusesPlaceholdersThatDoNotMatchThePictures) {
  const std::vector<ImageGrid> grids = {{.t = 1, .h = 4, .w = 4}};
  EXPECT_THROW(rope_positions(Ids{1, kImage, kImage, kImage}, grids, kImage, 2), InputError);
  EXPECT_THROW(rope_positions(Ids{1, 2}, grids, kImage, 2), InputError);
  EXPECT_THROW(rope_positions(Ids{kImage}, {}, kImage, 2), InputError);
}

// One token at T = 1, H = 100, W = 10000 tells by its angle which axis each frequency reads.
TEST(TextRotary, InterleavesTheAxes) {
  const auto positions = at::tensor({1, 100, 10000}, at::kLong).view({3, 1});
  const TextConfig config = text_config();
  const Rotary rotary = text_rotary(config, positions, at::kFloat);
  for (std::int64_t j = 0; j < 64; ++j) {
    const double frequency = std::pow(5e6, -2.0 * static_cast<double>(j) / 128.0);
    const double position = j < 60 && j % 3 == 1 ? 100 : j < 60 && j % 3 == 2 ? 10000 : 1;
    // float32 angles near 10^4 carry 5e-4 of rounding
    EXPECT_NEAR(rotary.cos[0][j].item<double>(), std::cos(position * frequency), 2e-3) << j;
    EXPECT_NEAR(rotary.sin[0][j].item<double>(), std::sin(position * frequency), 2e-3) << j;
    EXPECT_EQ(rotary.cos[0][j].item<float>(), rotary.cos[0][j + 64].item<float>());
  }
}

TEST(TextRotary, IsOrdinaryRotaryWhereTheAxesAgree) {
  const auto line = at::arange(50, at::kLong);
  const Rotary rotary = text_rotary(text_config(), at::stack({line, line, line}), at::kFloat);
  const auto frequencies =
      1.0 / at::pow(at::Scalar(5e6), at::arange(0, 128, 2, at::kFloat).div(128.0));
  const auto angles = line.to(at::kFloat).unsqueeze(1) * frequencies;
  EXPECT_TRUE(at::equal(rotary.cos, at::cat({angles, angles}, -1).cos()));
}

TEST(PatchCoordinates, RunBlockByBlock) {
  const auto coordinates = patch_coordinates({.t = 1, .h = 4, .w = 6}, 2);
  const std::vector<std::array<std::int64_t, 2>> first = {{0, 0}, {0, 1}, {1, 0}, {1, 1}, {0, 2},
                                                          {0, 3}, {1, 2}, {1, 3}, {0, 4}, {0, 5},
                                                          {1, 4}, {1, 5}, {2, 0}};
  ASSERT_EQ(coordinates.size(), 24U);
  EXPECT_TRUE(std::equal(first.begin(), first.end(), coordinates.begin()));
}

// Rotary attention depends on differences of positions alone: moving a whole grid down by three
// rows leaves every product of a turned query and a turned key as it was.
TEST(VisionRotary, ScoresDependOnRelativePlacesOnly) {
  VisionConfig config{};
  config.hidden_size = 64;
  config.num_heads = 1;
  config.spatial_merge_size = 1;
  config.rope_theta = 10000.0;
  const std::vector<ImageGrid> grids = {{.t = 1, .h = 8, .w = 5}};
  const Rotary rotary = vision_rotary(config, grids, at::kCPU);
  at::manual_seed(1);
  const auto q = at::randn({64});
  const auto k = at::randn({64});
  const auto turn = [&](const at::Tensor& x, std::int64_t row) {
    const auto halves = x.chunk(2);
    return x * rotary.cos[row] + at::cat({-halves[1], halves[0]}) * rotary.sin[row];
  };
  const auto score = [&](std::int64_t a, std::int64_t b) {
    return (turn(q, a) * turn(k, b)).sum().item<float>();
  };
  for (std::int64_t from = 0; from < 20; ++from) {
    EXPECT_NEAR(score(from, 3), score(from + 15, 18), 1e-4);  // 15 patches: three rows of five
  }
}

}  // namespace
}  // namespace espalier
