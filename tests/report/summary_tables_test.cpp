// SPDX-License-Identifier: Apache-2.0
#include "espalier/report/summary_tables.h"

#include <gmock/gmock.h>

namespace espalier {
namespace {

using testing::HasSubstr;

TEST(SelectionTable, SaysWhatGoesAndHowSurely) {
  Ranking ranking;
  ranking.selections = {
      {.criterion = "mixed",
       .rule = "triplets",
       .budget = {1, 4},
       .k = 2,
       .removed = {3, 5},
       .stages = {"triplets: 1", "pairs: 1"},
       .stability = 0.5,
       .price = 0.25},
      {.criterion = "cka", .rule = "topk", .budget = {1, 4}, .k = 1, .removed = {2}}};
  EXPECT_EQ(to_csv(selection_table(ranking)),
            "budget,criterion,rule,K,layers removed,same set in % of resamples,price,stages\n"
            "25%,mixed,triplets,2,\"3, 5\",50,0.25,\"triplets: 1, pairs: 1\"\n"
            "25%,cka,topk,1,2,,0,\n");
}

TEST(OrderTable, HasALineARankAndIntervalsWhereThereAreSome) {
  Ranking ranking;
  ranking.prunable = {1, 2};
  ranking.criteria = {{.name = "math", .order = {2, 1}, .rank_interval = {{0, 0}, {1, 2}, {1, 1}}},
                      {.name = "cka", .order = {1, 2}}};
  EXPECT_EQ(to_csv(order_table(ranking)),
            "rank,math,cka\n"
            "1,2 (1–1),1\n"
            "2,1 (1–2),2\n");
}

TEST(PlanTable, GivesWhatWasSavedAndNamesAnotherBase) {
  const Plan plan{.base_name = "base",
                  .base_fingerprint = "f",
                  .removed = {1},
                  .kept = {0, 2, 3},
                  .criterion = "mixed",
                  .budget = {1, 2},
                  .parameters = {4'000'000, 3'000'000},
                  .bytes = {8'000'000'000, 6'000'000'000}};
  // 2 GB of 8 GB are a quarter.
  EXPECT_EQ(to_csv(plan_table({{"pruned", plan}}, "f")),
            "plan,base,criterion,budget,layers removed,layers left,parameters before (M),after "
            "(M),weights before (GB),after (GB),saved (%)\n"
            "pruned,base,mixed,50%,1,3,4,3,8,6,25\n");
  EXPECT_THAT(to_csv(plan_table({{"pruned", plan}}, "g")),
              HasSubstr("base (not the model that was measured)"));
}

TEST(OptionTable, ShowsEachValueAsItWasGiven) {
  EXPECT_EQ(to_csv(option_table("rank", R"({"alpha":0.7,"budgets":["10%"],"rule":"topk"})")),
            "option,value\nalpha,0.7\nbudgets,\"[\"\"10%\"\"]\"\nrule,topk\n");
}

}  // namespace
}  // namespace espalier
