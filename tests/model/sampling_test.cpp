// SPDX-License-Identifier: Apache-2.0
#include "espalier/model/sampling.h"

#include <gtest/gtest.h>

#include <cmath>

#include "espalier/base/error.h"

namespace espalier {
namespace {

std::vector<double> probabilities(std::vector<float> logits, const SamplingOptions& options,
                                  const std::vector<std::int64_t>& seen = {}) {
  return sampling_probabilities(logits, seen, options);
}

TEST(Sampling, GreedyTakesTheFirstOfEquals) {
  std::vector<float> logits = {1.0F, 3.0F, 3.0F, 2.0F};
  Random random(1);
  EXPECT_EQ(next_token(logits, {}, {}, random), 1);
}

// log 1, log 2, log 4 at temperature 1 are 1/7, 2/7, 4/7; at temperature 0.5 they are 1, 4, 16
// of 21.
TEST(Sampling, TemperatureSharpens) {
  const std::vector<float> logits = {0.0F, std::log(2.0F), std::log(4.0F)};
  EXPECT_NEAR(probabilities(logits, {.do_sample = true})[2], 4.0 / 7, 1e-6);
  EXPECT_NEAR(probabilities(logits, {.do_sample = true, .temperature = 0.5})[2], 16.0 / 21, 1e-6);
}

TEST(Sampling, TopKKeepsAllTiesOfTheKth) {
  const auto p = probabilities({5.0F, 1.0F, 1.0F, 0.0F}, {.do_sample = true, .top_k = 2});
  EXPECT_GT(p[1], 0.0);
  EXPECT_DOUBLE_EQ(p[1], p[2]);
  EXPECT_EQ(p[3], 0.0);
}

// Probabilities 0.5, 0.3, 0.2. At p = 0.75 the least likely (0.2 <= 0.25) goes, the next stays.
TEST(Sampling, TopPDropsTheTailThatFitsIntoTheRest) {
  const std::vector<float> logits = {std::log(0.5F), std::log(0.3F), std::log(0.2F)};
  const auto p = probabilities(logits, {.do_sample = true, .top_p = 0.75});
  EXPECT_NEAR(p[0], 0.5 / 0.8, 1e-6);
  EXPECT_EQ(p[2], 0.0);
  EXPECT_EQ(probabilities(logits, {.do_sample = true, .top_p = 1e-9})[0], 1.0);
}

// A logit of 2 becomes 1, one of -2 becomes -4: both less likely than before.
TEST(Sampling, RepetitionPenaltyLowersWhatWasSeen) {
  std::vector<float> logits = {2.0F, -2.0F, 1.5F};
  Random random(1);
  const std::vector<std::int64_t> seen = {0, 1, 0};
  EXPECT_EQ(next_token(logits, seen, {.repetition_penalty = 2.0}, random), 2);
  EXPECT_FLOAT_EQ(logits[0], 1.0F);
  EXPECT_FLOAT_EQ(logits[1], -4.0F);
}

// 20,000 draws: the standard error of a share of 0.57 is 0.0035; four of them are allowed.
TEST(Sampling, DrawsByProbability) {
  Random random(7);
  std::vector<int> counts(3);
  for (int draw = 0; draw < 20000; ++draw) {
    std::vector<float> logits = {0.0F, std::log(2.0F), std::log(4.0F)};
    ++counts[static_cast<std::size_t>(next_token(logits, {}, {.do_sample = true}, random))];
  }
  EXPECT_NEAR(counts[2] / 20000.0, 4.0 / 7, 0.014);
  EXPECT_NEAR(counts[0] / 20000.0, 1.0 / 7, 0.010);
}

TEST(Sampling, RefusesOptionsOutOfRange) {
  EXPECT_THROW(check({.temperature = 0.0}), InputError);
  EXPECT_THROW(check({.top_k = -1}), InputError);
  EXPECT_THROW(check({.top_p = 0.0}), InputError);
  EXPECT_THROW(check({.top_p = 1.5}), InputError);
  EXPECT_THROW(check({.repetition_penalty = 0.0}), InputError);
}

}  // namespace
}  // namespace espalier
