// SPDX-License-Identifier: Apache-2.0
#include "espalier/prune/choose.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support.h"

namespace espalier {
namespace {

using Layers = std::vector<std::int64_t>;
using test::input_error;
using ::testing::AllOf;
using ::testing::HasSubstr;

/// Eight layers, 1 to 6 prunable. By `mixed` they go in the order 6 1 3 5 2 4, by `math` 2 first.
Ranking ranking() {
  const auto none = std::nullopt;
  return {.probe_fingerprint = "p",
          .model = {.fingerprint = "m", .architecture = "a", .num_layers = 8, .hidden_size = 4},
          .prunable = {1, 2, 3, 4, 5, 6},
          .protected_layers = {0, 7},
          .criteria = {{.name = "math",
                        .parameters = "{}",
                        .scores = {none, 0.1, 0.9, 0.2, 0.3, 0.4, 0.5, none},
                        .order = {2, 6, 5, 4, 3, 1}},
                       {.name = "mixed",
                        .parameters = "{}",
                        .scores = {none, 0.8, 0.4, 0.7, 0.1, 0.5, 0.9, none},
                        .order = {6, 1, 3, 5, 2, 4}},
                       {.name = "window",
                        .parameters = "{}",
                        .scores = {none, 0.8, 0.4, 0.7, 0.1, 0.5, 0.9, none},
                        .order = {6, 1, 3, 5, 2, 4}}},
          // As if the ranking's own search had come to another set than the scores alone would.
          .selections = {{.criterion = "window",
                          .rule = "contiguous",
                          .budget = layer_budget(2),
                          .k = 2,
                          .removed = {4, 5},
                          .stages = {"block"}}},
          .options = R"({"min_gap": 2})"};
}

TEST(ChooseLayers, TakesTheMixedCriterionAndTheHighestScores) {
  const Plan plan = choose_layers(ranking(), {.budget = parse_budget("50%")});
  EXPECT_EQ(plan.removed, Layers({1, 3, 6}));  // floor(6 / 2) = 3 of 6 1 3 5 2 4
  EXPECT_EQ(plan.criterion, "mixed");
  EXPECT_EQ(plan.rule, "topk");
  EXPECT_EQ(plan.protected_layers, Layers({0, 7}));
  EXPECT_EQ(plan.ranking_fingerprint, fingerprint(ranking()));
}

TEST(ChooseLayers, TakesAnotherCriterionBudgetAndProtection) {
  EXPECT_EQ(choose_layers(ranking(), {.criterion = "math", .budget = layer_budget(1)}).removed,
            Layers({2}));
  const Plan plan = choose_layers(ranking(), {.budget = layer_budget(2), .protect = {1, 6}});
  EXPECT_EQ(plan.removed, Layers({3, 5}));
  EXPECT_EQ(plan.protected_layers, Layers({0, 1, 6, 7}));
}

// Gap 2 as the ranking was made with: two kept layers between removed ones. Of the pairs 1 4, 1 5,
// 1 6, 2 5, 2 6, 3 6 the sums are 0.9, 1.3, 1.7, 0.9, 1.3, 1.6.
TEST(ChooseLayers, TakesARuleWithTheRankingsNumbers) {
  const Plan plan = choose_layers(ranking(), {.rule = "min-gap", .budget = layer_budget(2)});
  EXPECT_EQ(plan.removed, Layers({1, 6}));
  EXPECT_THAT(
      input_error([] { choose_layers(ranking(), {.rule = "min-gap", .budget = layer_budget(3)}); }),
      HasSubstr("2"));
}

TEST(ChooseLayers, TakesWhatTheRankingChoseItself) {
  const Plan plan = choose_layers(ranking(), {.criterion = "window", .budget = layer_budget(2)});
  EXPECT_EQ(plan.removed, Layers({4, 5}));
  EXPECT_EQ(plan.rule, "contiguous");
  // Of another size there is no block's score.
  EXPECT_THAT(input_error([] {
                choose_layers(ranking(), {.criterion = "window", .budget = layer_budget(3)});
              }),
              AllOf(HasSubstr("no scores of blocks of 3 layers"), HasSubstr("--remove 3")));
  EXPECT_THAT(input_error([] {
                choose_layers(ranking(),
                              {.criterion = "window", .budget = layer_budget(2), .protect = {1}});
              }),
              HasSubstr("no scores of blocks"));
}

TEST(ChooseLayers, TakesTheOnlyCriterionOrAsks) {
  Ranking one = ranking();
  one.criteria = {one.criteria.front()};
  EXPECT_EQ(choose_layers(one, {.budget = layer_budget(1)}).criterion, "math");
  Ranking two = ranking();
  two.criteria.erase(two.criteria.begin() + 1);
  EXPECT_THAT(input_error([&] { choose_layers(two, {.budget = layer_budget(1)}); }),
              HasSubstr("--criterion: wanted one of the ranking's: math, window"));
}

TEST(ChooseLayers, RefusesWhatTheRankingDoesNotHave) {
  const auto error = [](const ChoiceOptions& options) {
    return input_error([&] { choose_layers(ranking(), options); });
  };
  EXPECT_THAT(error({.criterion = "mth", .budget = layer_budget(1)}),
              HasSubstr("unknown criterion mth (did you mean math?)"));
  EXPECT_THAT(error({.rule = "top", .budget = layer_budget(1)}), HasSubstr("did you mean topk?"));
  EXPECT_THAT(error({.budget = parse_budget("1%")}), HasSubstr("removes none of 6"));
  EXPECT_THAT(error({.budget = layer_budget(7)}), HasSubstr("only 6 layers are prunable"));
  EXPECT_THAT(error({.budget = layer_budget(1), .protect = {8}}), HasSubstr("--protect: layer 8"));
}

}  // namespace
}  // namespace espalier
