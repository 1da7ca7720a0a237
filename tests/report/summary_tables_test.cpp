// SPDX-License-Identifier: Apache-2.0
#include "espalier/report/summary_tables.h"

#include <gmock/gmock.h>

#include "tests/report/sample.h"

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

TEST(ScoreTable, HasARowAScoreboardAndAColumnADomain) {
  Scoreboard pruned = test::sample_scoreboard(4, 7);
  pruned.plan =
      ScoredPlan{.base_fingerprint = "b", .criterion = "mixed", .budget = {1, 4}, .removed = 6};
  std::erase_if(pruned.groups, [](const ScoreGroup& group) { return group.domain == "scenes"; });
  // Shares s have the intervals s / 2 to (1 + s) / 2 here.
  EXPECT_EQ(to_csv(score_table({{"base", test::sample_scoreboard(8, 6)}, {"pruned", pruned}})),
            "evaluation,criterion,layers removed,trained by,questions,math,scenes,all domains\n"
            "base,,0,,16,100.00 (50.0–100.0),75.00 (37.5–87.5),87.50 (43.8–93.8)\n"
            "pruned,mixed,6,,16,50.00 (25.0–75.0),,68.75 (34.4–84.4)\n");
}

TEST(ScoreTable, SaysHowAnAdapterWasTrained) {
  Scoreboard control = test::sample_scoreboard(8, 6);
  control.adapter_fingerprint = "a";
  EXPECT_THAT(to_csv(score_table({{"x", control}})), HasSubstr("x,,0,an adapter,16"));
  control.training = ScoredTraining{.loss = "kd", .control = true, .steps = 12, .batch = 4};
  EXPECT_THAT(to_csv(score_table({{"x", control}})),
              HasSubstr("x,,0,\"kd (control), 12 steps of 4\",16"));
}

TEST(ControlTable, SetsTheRecipeBesideTheUnprunedModel) {
  const Scoreboard base = test::sample_scoreboard(8, 6);
  Scoreboard control = test::sample_scoreboard(4, 6);
  control.adapter_fingerprint = "a";
  control.training = ScoredTraining{.loss = "sft", .control = true, .steps = 12, .batch = 4};
  // 50 % (25 to 75) against 100 % (50 to 100): the distance is 50 points, and may be
  // sqrt(25^2 + 0^2) more, or sqrt(25^2 + 50^2) = 55.9 less. Equal shares of 75 % (37.5 to 87.5)
  // may differ by sqrt(37.5^2 + 12.5^2) = 39.53 either way.
  EXPECT_EQ(to_csv(control_table({{"base", base}, {"control", control}})),
            "recipe,domain,unpruned (%),after the recipe (%),difference (points),from,to,verdict\n"
            "\"sft (control), 12 steps of 4\",math,100,50,-50,-75,5.901699437494745,no difference "
            "seen\n"
            "\"sft (control), 12 steps of 4\",scenes,75,75,0,-39.528470752104745,"
            "39.528470752104745,no difference seen\n");
  EXPECT_TRUE(control_table({{"control", control}}).rows.empty()) << "nothing to compare with";
  EXPECT_TRUE(control_table({{"base", base}}).rows.empty());
  Scoreboard sure = control;
  sure.groups[0].high = 0.5;
  Scoreboard before = base;
  before.groups[0].low = 1.0;
  EXPECT_THAT(to_csv(control_table({{"base", before}, {"control", sure}})),
              HasSubstr("the recipe hurts"));
}

TEST(ScoreGroupTable, HasARowAGroup) {
  EXPECT_EQ(to_csv(score_group_table({{"base", test::sample_scoreboard(8, 6)}})),
            "evaluation,domain,kind,right,asked,accuracy (%),from,to\n"
            "base,math,all,8,8,100,50,100\n"
            "base,math,sum,8,8,100,50,100\n"
            "base,scenes,all,6,8,75,37.5,87.5\n"
            "base,scenes,count,6,8,75,37.5,87.5\n"
            "base,all,all,14,16,87.5,43.75,93.75\n");
}

}  // namespace
}  // namespace espalier
