// SPDX-License-Identifier: Apache-2.0
#include "espalier/probe/layer_sums.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

namespace espalier {
namespace {

// Products of vectors are sums of float32: their order, which differs between the twins, decides
// the last bits.
constexpr double kRounding = 2e-6;

const std::vector<Segment> kSegments = {{.begin = 0, .end = 7},
                                        {.begin = 7, .end = 8, .prefix_begin = 0, .prefix_end = 7},
                                        {.begin = 8, .end = 40}};

struct Case {
  at::Tensor input;
  at::Tensor after_attention;
  at::Tensor output;
  at::Tensor visual;
};

/// States of 40 tokens of 75 numbers (no multiple of a vector's length); tokens 0, 5 and 39 have a
/// norm of zero in one of their states.
Case drawn(at::ScalarType dtype) {
  const c10::InferenceMode inference;
  at::manual_seed(3);
  Case of{
      .input = at::randn({40, 75}).to(dtype), .after_attention = {}, .output = {}, .visual = {}};
  of.after_attention = (of.input + 0.3 * at::randn({40, 75})).to(dtype);
  of.output = (of.after_attention + 0.5 * at::randn({40, 75})).to(dtype);
  of.input[0].zero_();
  of.after_attention[5].zero_();
  of.output[39].zero_();
  of.visual = at::arange(40) % 3 == 0;
  return of;
}

void expect_near(const std::vector<double>& found, const std::vector<double>& expected) {
  ASSERT_EQ(found.size(), expected.size());
  for (std::size_t i = 0; i < found.size(); ++i) EXPECT_NEAR(found[i], expected[i], 1e-5) << i;
}

void expect_same_sums(const LayerSums& found, const LayerSums& expected) {
  EXPECT_EQ(found.rows, expected.rows);
  EXPECT_EQ(found.visual_rows, expected.visual_rows);
  EXPECT_EQ(found.zero_rows, expected.zero_rows);
  EXPECT_EQ(found.first_counts, expected.first_counts);
  const double tolerance = kRounding * static_cast<double>(found.rows + 1);
  EXPECT_NEAR(found.cosine, expected.cosine, tolerance);
  EXPECT_NEAR(found.cosine_visual, expected.cosine_visual, tolerance);
  EXPECT_NEAR(found.attention_cosine, expected.attention_cosine, tolerance);
  EXPECT_NEAR(found.mlp_cosine, expected.mlp_cosine, tolerance);
  EXPECT_NEAR(found.norm_ratio, expected.norm_ratio, tolerance);
  EXPECT_NEAR(found.l2, expected.l2, 10 * tolerance);
  EXPECT_EQ(std::isnan(found.last_cosine), std::isnan(expected.last_cosine));
  if (!std::isnan(found.last_cosine)) {
    EXPECT_NEAR(found.last_cosine, expected.last_cosine, kRounding);
  }
  expect_near(found.input, expected.input);
  expect_near(found.input_unit, expected.input_unit);
  expect_near(found.output, expected.output);
  expect_near(found.output_unit, expected.output_unit);
  expect_near(found.first_input, expected.first_input);
  expect_near(found.first_output, expected.first_output);
}

class LayerSumsOf : public testing::TestWithParam<at::ScalarType> {};

TEST_P(LayerSumsOf, AgreeWithTheirTwin) {
  const Case of = drawn(GetParam());
  const LayerTaps taps{
      .input = of.input, .after_attention = of.after_attention, .output = of.output};
  const auto found = layer_sums(taps, kSegments, of.visual);
  const auto expected = composed::layer_sums(taps, kSegments, of.visual);
  ASSERT_EQ(found.size(), 3U);
  for (std::size_t s = 0; s < found.size(); ++s) expect_same_sums(found[s], expected[s]);
  EXPECT_EQ(found[0].zero_rows, 2);  // tokens 0 and 5
  EXPECT_FALSE(found[0].first_counts);
  EXPECT_TRUE(std::isnan(found[2].last_cosine));
}

TEST_P(LayerSumsOf, WindowsAgreeWithTheirTwin) {
  std::vector<at::Tensor> inputs;
  for (int layer = 0; layer < 5; ++layer) inputs.push_back(drawn(GetParam()).input + 0.2 * layer);
  inputs[2][39].zero_();
  const auto found = window_sums(inputs, kSegments);
  const auto expected = composed::window_sums(inputs, kSegments);
  for (std::size_t s = 0; s < found.size(); ++s) {
    EXPECT_EQ(found[s].rows, expected[s].rows);
    for (std::size_t i = 0; i < 25; ++i) {
      EXPECT_NEAR(found[s].cosine[i], expected[s].cosine[i], 1e-4) << i;
      EXPECT_EQ(std::isnan(found[s].last_cosine[i]), std::isnan(expected[s].last_cosine[i])) << i;
      if (!std::isnan(found[s].last_cosine[i])) {
        EXPECT_NEAR(found[s].last_cosine[i], expected[s].last_cosine[i], kRounding) << i;
      }
    }
  }
  EXPECT_EQ(found[2].rows[2 * 5 + 3], 31);  // of 32 tokens, one has norm zero at place 2
}

INSTANTIATE_TEST_SUITE_P(Types, LayerSumsOf, testing::Values(at::kFloat, at::kBFloat16));

TEST(LayerSums, OfTwoTokensAreTheseByHand) {
  // Token 1: (3, 4) -> (4, 3): cosine 24 / 25, distance sqrt(2), norm 5.
  // Token 2: (1, 0) -> (0, 2): cosine 0, distance sqrt(5), norm 2.
  const auto input = at::tensor({3.0F, 4.0F, 1.0F, 0.0F}).view({2, 2});
  const auto middle = at::tensor({3.0F, 4.0F, 1.0F, 1.0F}).view({2, 2});
  const auto output = at::tensor({4.0F, 3.0F, 0.0F, 2.0F}).view({2, 2});
  const LayerTaps taps{.input = input, .after_attention = middle, .output = output};
  const std::vector<Segment> whole = {{.begin = 0, .end = 2}};
  const LayerSums sums = layer_sums(taps, whole, at::arange(2) == 0).front();
  EXPECT_NEAR(sums.cosine, 0.96, 1e-7);
  EXPECT_NEAR(sums.cosine_visual, 0.96, 1e-7);
  EXPECT_NEAR(sums.attention_cosine, 1.0 + std::sqrt(0.5), 1e-7);
  EXPECT_NEAR(sums.mlp_cosine, 0.96 + std::sqrt(0.5), 1e-7);
  EXPECT_NEAR(sums.l2, std::sqrt(2.0) + std::sqrt(5.0), 1e-6);
  EXPECT_NEAR(sums.norm_ratio, std::sqrt(2.0) / 5 + std::sqrt(5.0) / 2, 1e-6);
  EXPECT_EQ(sums.input, (std::vector<double>{4, 4}));
  EXPECT_EQ(sums.first_output, (std::vector<double>{4, 3}));
  EXPECT_NEAR(sums.input_unit[0], 0.6 + 1.0, 1e-7);
  EXPECT_NEAR(sums.output_unit[1], 0.6 + 1.0, 1e-7);
  EXPECT_NEAR(sums.last_cosine, 0.0, 1e-7);
}

}  // namespace
}  // namespace espalier
