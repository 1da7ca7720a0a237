// SPDX-License-Identifier: Apache-2.0
#include "espalier/report/ranking_chart.h"

#include <gmock/gmock.h>

namespace espalier {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

Ranking small_ranking() {
  Ranking ranking{.model = {.num_layers = 5},
                  .prunable = {1, 2, 3},
                  .protected_layers = {0, 4},
                  .bootstrap = {.resamples = 10}};
  ranking.criteria = {{.name = "math",
                       .scores = {std::nullopt, 0.5, 0.75, -1.0, std::nullopt},
                       .order = {2, 1, 3},
                       .rank_interval = {{0, 0}, {1, 2}, {1, 2}, {3, 3}, {0, 0}}},
                      {.name = "random", .scores = LayerScores(5), .order = {3, 2, 1}}};
  // Budgets in no order, of which the second is the smallest.
  ranking.selections = {
      {.criterion = "math", .rule = "topk", .budget = {2, 3}, .k = 2, .removed = {1, 3}},
      {.criterion = "math", .rule = "topk", .budget = {1, 3}, .k = 1, .removed = {1}},
      {.criterion = "math",
       .rule = "topk",
       .budget = layer_budget(3),
       .k = 3,
       .removed = {1, 2, 3}},
      {.criterion = "math", .rule = "min-gap", .budget = {1, 3}, .k = 1, .removed = {2}}};
  return ranking;
}

TEST(FirstBudget, IsTheSmallestAtWhichALayerGoesUnderTheFirstRule) {
  const Ranking ranking = small_ranking();
  EXPECT_THAT(first_budget(ranking, ranking.criteria[0]), ElementsAre(-1, 0, 2, 1, -1));
  EXPECT_THAT(first_budget(ranking, ranking.criteria[1]), ElementsAre(-1, -1, -1, -1, -1));
}

TEST(RankChart, ListsLayersInOrderWithTheirIntervals) {
  // panel, criterion, layer, score, rank, from, to, budget
  EXPECT_EQ(to_csv(rank_chart(small_ranking()).data.front()),
            "panel,criterion,layer,score,rank,rank_low,rank_high,budget\n"
            "0,math,2,0.75,1,1,2,2\n"
            "0,math,1,0.5,2,1,2,0\n"
            "0,math,3,-1,3,3,3,1\n"
            "1,random,3,,1,,,-1\n"
            "1,random,2,,2,,,-1\n"
            "1,random,1,,3,,,-1\n");
}

TEST(ScoreChart, ReadsTheSameNumbers) {
  EXPECT_EQ(score_chart(small_ranking()).data.front().rows,
            rank_chart(small_ranking()).data.front().rows);
}

TEST(ScoreChart, ShowsScoresThatAreAlmostEqualByTheirDistanceFromTheBest) {
  Ranking ranking = small_ranking();
  EXPECT_THAT(score_chart(ranking).commands, HasSubstr("(($4 - 0.000000000) / 1)"));
  // From 0.999994 to 0.999998: 4e-6 apart.
  ranking.criteria[0].scores = {std::nullopt, 0.999996, 0.999998, 0.999994, std::nullopt};
  const std::string commands = score_chart(ranking).commands;
  EXPECT_THAT(commands, HasSubstr("(($4 - 0.999998000) / 1e-06)"));
  EXPECT_THAT(commands, HasSubstr("below 0.999998, in 1e-06"));
}

TEST(RankChart, SaysWhereNoBootstrapWasMade) {
  Ranking ranking = small_ranking();
  EXPECT_THAT(rank_chart(ranking).caption, HasSubstr("95% of the ranks in 10 bootstrap"));
  ranking.bootstrap.resamples = 0;
  EXPECT_THAT(rank_chart(ranking).caption, HasSubstr("No bootstrap was made"));
}

}  // namespace
}  // namespace espalier
