// SPDX-License-Identifier: Apache-2.0
// The maps of layers by criterion: what is removed, and how surely.
#include <gmock/gmock.h>

#include <cmath>

#include "espalier/report/removal_map.h"
#include "espalier/report/stability.h"

namespace espalier {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

/// Four layers, the first protected; two criteria, two budgets.
Ranking small_ranking() {
  Ranking ranking{.model = {.num_layers = 4},
                  .prunable = {1, 2, 3},
                  .protected_layers = {0},
                  .bootstrap = {.resamples = 10}};
  ranking.selections = {
      {.criterion = "math",
       .rule = "topk",
       .budget = {1, 3},
       .k = 1,
       .removed = {2},
       .stability = 0.75,
       .removal_share = {0, 0.25, 0.75, 0}},
      {.criterion = "cka", .rule = "topk", .budget = {1, 3}, .k = 1, .removed = {1}},
      {.criterion = "math",
       .rule = "topk",
       .budget = {2, 3},
       .k = 2,
       .removed = {2, 3},
       .stability = 1.0,
       .removal_share = {0, 0, 1, 1}}};
  return ranking;
}

/// One column of a map's data; NaN as -1, so that it compares.
std::vector<double> column(const Figure& figure, std::size_t number) {
  std::vector<double> values;
  for (const auto& row : figure.data.front().rows) {
    const Cell& cell = row[number];
    const double value = std::holds_alternative<double>(cell)
                             ? std::get<double>(cell)
                             : static_cast<double>(std::get<std::int64_t>(cell));
    values.push_back(std::isnan(value) ? -1.0 : value);
  }
  return values;
}

TEST(RemovalMap, MarksRemovedKeptAndProtectedLayers) {
  const Figure figure = removal_map(small_ranking());
  EXPECT_THAT(column(figure, 2), ElementsAre(0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3));
  EXPECT_THAT(column(figure, 4), ElementsAre(-1, 0, 1, 0, -1, 1, 0, 0, -1, 0, 1, 1));
  EXPECT_EQ(std::get<std::string>(figure.data.front().rows[8][0]), "2/3");
}

TEST(RemovalMap, SaysHowManyOfHowManyGo) {
  EXPECT_THAT(removal_map(small_ranking()).commands, HasSubstr("'2 of 3 prunable layers'"));
}

TEST(RemovalMap, NamesTheRuleWhereACriterionHasSeveral) {
  Ranking ranking = small_ranking();
  EXPECT_EQ(row_name(ranking, ranking.selections[0]), "math");
  ranking.selections[2].rule = "min-gap";
  EXPECT_EQ(row_name(ranking, ranking.selections[0]), "math, topk");
  EXPECT_EQ(row_name(ranking, ranking.selections[1]), "cka");
}

TEST(BudgetsOf, AreDistinctAndInOrder) {
  EXPECT_THAT(budgets_of(small_ranking()), ElementsAre(Budget{1, 3}, Budget{2, 3}));
}

TEST(StabilityMap, ShowsSharesAndDotsOfSelectionsWithABootstrap) {
  const Figure figure = stability_map(small_ranking());
  EXPECT_THAT(column(figure, 4), ElementsAre(-1, 0.25, 0.75, 0, -1, 0, 1, 1));
  EXPECT_THAT(column(figure, 5), ElementsAre(0, 0, 1, 0, 0, 0, 1, 1));
  EXPECT_THAT(figure.commands, HasSubstr("'75%'"));
}

TEST(HasStability, NeedsOneSelectionWithABootstrap) {
  Ranking ranking = small_ranking();
  EXPECT_TRUE(has_stability(ranking));
  for (auto& selection : ranking.selections) selection.removal_share.clear();
  EXPECT_FALSE(has_stability(ranking));
}

}  // namespace
}  // namespace espalier
