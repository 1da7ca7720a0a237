// SPDX-License-Identifier: Apache-2.0
#include "espalier/prune/order.h"

#include <gmock/gmock.h>

namespace espalier {
namespace {

using ::testing::ElementsAre;

TEST(Order, PutsTheHighestScoreFirstAndBreaksTiesByDepth) {
  const LayerScores scores = {std::nullopt, 0.5, 0.9, 0.5 + 1e-13, 0.7, std::nullopt};
  const std::vector<std::int64_t> layers = {1, 2, 3, 4};
  EXPECT_THAT(order_layers(layers, scores), ElementsAre(2, 4, 1, 3));
}

TEST(Order, GroupsTiesFromTheHighestDown) {
  // 0.8e-12 is within 1e-12 of 1.6e-12, but 0 is not; so 0 is a group of its own, although it is
  // within 1e-12 of 0.8e-12.
  EXPECT_THAT(settle_ties({0.0, 0.8e-12, 1.6e-12}), ElementsAre(0.0, 1.6e-12, 1.6e-12));
  EXPECT_THAT(settle_ties({}), ElementsAre());
}

TEST(Order, PutsALayerWithoutScoreLast) {
  const LayerScores scores = {-5.0, std::nullopt, -7.0};
  const std::vector<std::int64_t> layers = {0, 1, 2};
  EXPECT_THAT(order_layers(layers, scores), ElementsAre(0, 2, 1));
  EXPECT_THAT(comparable_scores(layers, scores), ElementsAre(-5.0, -8.0, -7.0));
  EXPECT_THAT(order_layers(layers, LayerScores(3)), ElementsAre(0, 1, 2));
}

}  // namespace
}  // namespace espalier
