// SPDX-License-Identifier: Apache-2.0
#include "espalier/prune/alpha.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>

#include "espalier/base/random.h"
#include "espalier/prune/order.h"
#include "espalier/prune/similarity.h"

namespace espalier {
namespace {

using ::testing::ElementsAre;

using Layers = std::vector<std::int64_t>;

Layers top(const Layers& layers, const LayerScores& scores, std::int64_t k) {
  Layers removed = order_layers(layers, scores);
  removed.resize(static_cast<std::size_t>(k));
  std::ranges::sort(removed);
  return removed;
}

struct TwoDomains {
  Layers prunable;
  LayerScores first;
  LayerScores second;
};

TwoDomains drawn(std::uint64_t seed, std::size_t num_layers) {
  Random random(seed);
  TwoDomains domains{.first = LayerScores(num_layers), .second = LayerScores(num_layers)};
  for (std::size_t l = 1; l + 1 < num_layers; ++l) {
    domains.prunable.push_back(static_cast<std::int64_t>(l));
    // Every third seed has scores that tie.
    const double step = seed % 3 == 0 ? 0.25 : 0.0;
    const auto draw = [&] {
      const double value = random.uniform();
      return step == 0.0 ? value : step * std::floor(value / step);
    };
    domains.first[l] = draw();
    domains.second[l] = draw();
  }
  domains.first = z_scores(domains.first, domains.prunable);
  domains.second = z_scores(domains.second, domains.prunable);
  return domains;
}

TEST(Alpha, ChangesTheSetWhereTwoLayersCross) {
  // Layer 0: 3 - 2a; layer 1: 1 + 2a; layer 2: 1.5. 0 and 1 cross at 1/2, where both have 2. The
  // top one is layer 0, then layer 1; layer 2 is never on top.
  const LayerScores first = {3.0, 1.0, 1.5};
  const LayerScores second = {1.0, 3.0, 1.5};
  const Layers prunable = {0, 1, 2};
  const auto one = alpha_intervals(first, second, prunable, 1);
  ASSERT_EQ(one.size(), 2U);
  EXPECT_EQ(one[0], (AlphaInterval{0.0, 0.5, {0}, 3.0, 1.0, true}));
  EXPECT_EQ(one[1], (AlphaInterval{0.5, 1.0, {1}, 1.0, 3.0, true}));
  // The second: layer 2 above layer 1 until 1/4, and above layer 0 from 3/4.
  const auto two = alpha_intervals(first, second, prunable, 2);
  ASSERT_EQ(two.size(), 3U);
  EXPECT_EQ(two[0], (AlphaInterval{0.0, 0.25, {0, 2}, 4.5, 2.5, true}));
  EXPECT_EQ(two[1], (AlphaInterval{0.25, 0.75, {0, 1}, 4.0, 4.0, true}));
  EXPECT_EQ(two[2], (AlphaInterval{0.75, 1.0, {1, 2}, 2.5, 4.5, true}));
}

TEST(Alpha, HasTheSetOfEveryAlpha) {
  for (std::uint64_t seed = 0; seed < 6; ++seed) {
    const TwoDomains domains = drawn(seed, 36);
    for (const std::int64_t k : {3, 8, 13}) {
      const auto intervals = alpha_intervals(domains.first, domains.second, domains.prunable, k);
      for (int i = 0; i <= 10000; ++i) {
        const double alpha = static_cast<double>(i) / 10000.0;
        LayerScores mixed(36);
        for (const std::int64_t layer : domains.prunable) {
          const auto l = static_cast<std::size_t>(layer);
          mixed[l] = alpha * *domains.second[l] + (1.0 - alpha) * *domains.first[l];
        }
        // At a breakpoint itself either side's set may be meant.
        const bool found = std::ranges::any_of(intervals, [&](const AlphaInterval& interval) {
          return interval.lo - 1e-9 <= alpha && alpha <= interval.hi + 1e-9 &&
                 interval.removed == top(domains.prunable, mixed, k);
        });
        ASSERT_TRUE(found) << "seed " << seed << ", K " << k << ", alpha " << alpha;
      }
    }
  }
}

TEST(Alpha, OfZeroAndOneIsTheOrderOfOneDomain) {
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    const TwoDomains domains = drawn(seed, 12);
    for (std::int64_t k = 1; k <= 10; ++k) {
      const auto intervals = alpha_intervals(domains.first, domains.second, domains.prunable, k);
      EXPECT_EQ(intervals.front().removed, top(domains.prunable, domains.first, k));
      EXPECT_EQ(intervals.back().removed, top(domains.prunable, domains.second, k));
      EXPECT_EQ(intervals.front().lo, 0.0);
      EXPECT_EQ(intervals.back().hi, 1.0);
      for (std::size_t i = 1; i < intervals.size(); ++i) {
        EXPECT_EQ(intervals[i].lo, intervals[i - 1].hi);
        EXPECT_NE(intervals[i].removed, intervals[i - 1].removed);
      }
    }
  }
}

TEST(Alpha, GivesTiesOfOneDomainAnIntervalOfTheirOwn) {
  // In the first domain layers 0 and 1 tie, so the shallower goes; for any alpha above 0 layer 1.
  const auto intervals = alpha_intervals({1.0, 1.0}, {0.0, 1.0}, Layers{0, 1}, 1);
  ASSERT_EQ(intervals.size(), 2U);
  EXPECT_EQ(intervals[0], (AlphaInterval{0.0, 0.0, {0}, 1.0, 0.0, false}));
  EXPECT_EQ(intervals[1], (AlphaInterval{0.0, 1.0, {1}, 1.0, 1.0, true}));
}

TEST(Alpha, PutsALayerThatOneDomainDoesNotScoreLast) {
  const auto intervals = alpha_intervals({std::nullopt, 1.0}, {9.0, 1.0}, Layers{0, 1}, 1);
  ASSERT_EQ(intervals.size(), 1U);
  EXPECT_THAT(intervals[0].removed, ElementsAre(1));
}

}  // namespace
}  // namespace espalier
