// SPDX-License-Identifier: Apache-2.0
#include "espalier/prune/ranking.h"

#include <gmock/gmock.h>

#include <algorithm>

#include "tests/records/random_record.h"
#include "tests/support.h"

namespace espalier {
namespace {

using test::input_error;
using test::random_record;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

const std::vector<Budget> kHalf = {{1, 2}};

std::vector<std::string> names_of(const Ranking& ranking) {
  std::vector<std::string> names;
  for (const CriterionResult& criterion : ranking.criteria) names.push_back(criterion.name);
  return names;
}

TEST(Rank, ProtectsTheFirstAndTheLastLayerAndWhatIsAdded) {
  ProbeRecord record = random_record(1);
  EXPECT_THAT(prunable_layers(record, {}), ElementsAre(1, 2, 3, 4));
  EXPECT_THAT(prunable_layers(record, {0, 3}), ElementsAre(1, 2, 4));
  record.measured_layers = {0, 1, 2, 4, 5};
  EXPECT_THAT(prunable_layers(record, {}), ElementsAre(1, 2, 4));
  EXPECT_THAT(input_error([&] { (void)prunable_layers(record, {6}); }),
              HasSubstr("layer 6: the model has layers 0 to 5"));
  EXPECT_THAT(input_error([&] {
                (void)prunable_layers(record, {1, 2, 3, 4});
              }),
              HasSubstr("no layer is left"));
}

TEST(Rank, IsByThePapersCriteriaUnlessOthersAreAskedFor) {
  const ProbeRecord record = random_record(1);
  const Ranking ranking = rank(record, {.budgets = kHalf, .resamples = 10});
  EXPECT_EQ(names_of(ranking), (std::vector<std::string>{"math", "nonmath", "mixed", "cka",
                                                         "interlace-paper", "random"}));
  EXPECT_EQ(ranking.probe_fingerprint, fingerprint(record));
  ASSERT_EQ(ranking.selections.size(), 6U);
  for (const Selection& selection : ranking.selections) {
    EXPECT_EQ(selection.k, 2);
    EXPECT_EQ(selection.rule, selection.criterion == "interlace-paper" ? "triplets" : "topk");
    const bool resampled = selection.criterion == "math" || selection.criterion == "nonmath" ||
                           selection.criterion == "mixed";
    EXPECT_EQ(selection.stability.has_value(), resampled) << selection.criterion;
    EXPECT_EQ(selection.removal_share.size(), resampled ? 6U : 0U);
  }
  ASSERT_EQ(ranking.alpha.size(), 1U);
  EXPECT_EQ(ranking.alpha[0].first_domain, "math");
  EXPECT_EQ(ranking.alpha[0].intervals.front().removed, ranking.selections[0].removed);
  EXPECT_EQ(ranking.alpha[0].intervals.back().removed, ranking.selections[1].removed);
}

TEST(Rank, HasThePapersBudgetsAsFarAsTheyRemoveALayer) {
  // 10% of 4 is none; 25% and 40% are one.
  const ProbeRecord record = random_record(1);
  const Ranking ranking = rank(record, {.criteria = {"math"}, .resamples = 0});
  ASSERT_EQ(ranking.selections.size(), 2U);
  EXPECT_EQ(ranking.selections[0].budget, (Budget{1, 4}));
  EXPECT_EQ(ranking.selections[1].budget, (Budget{2, 5}));
  EXPECT_EQ(ranking.selections[1].k, 1);
  EXPECT_THAT(input_error([&] {
                (void)rank(record, {.protect = {1, 2}, .resamples = 0});
              }),
              HasSubstr("give --budget or --remove"));
}

TEST(Rank, SurvivesItsFile) {
  const test::TemporaryDirectory folder;
  const Ranking ranking =
      rank(random_record(2, 4), {.all = true, .budgets = kHalf, .resamples = 16});
  write_ranking(folder / "r.json", ranking, false);
  EXPECT_EQ(read_ranking(folder / "r.json"), ranking);
}

TEST(Rank, GivesNestedSetsForGrowingBudgetsByTopK) {
  const Ranking ranking =
      rank(random_record(1), {.criteria = {"mixed", "random", "tail"},
                              .budgets = {layer_budget(1), layer_budget(2), layer_budget(3)},
                              .resamples = 0});
  for (std::size_t i = 3; i < ranking.selections.size(); ++i) {
    EXPECT_TRUE(
        std::ranges::includes(ranking.selections[i].removed, ranking.selections[i - 3].removed));
  }
  EXPECT_EQ(ranking.selections[0].stability, std::nullopt);  // without bootstrap
}

TEST(Rank, LeavesOutWhatTheRecordDoesNotSupportAndSaysSo) {
  ProbeRecord record = random_record(1);
  record.domains[0].subtasks.insert(record.domains[0].subtasks.end(),
                                    record.domains[1].subtasks.begin(),
                                    record.domains[1].subtasks.end());
  record.domains.pop_back();
  for (ProbePicture& picture : record.pictures) picture.domain = 0;
  std::vector<std::pair<std::string, std::string>> left_out;
  const Ranking ranking = rank(record, {.budgets = kHalf, .resamples = 5}, &left_out);
  EXPECT_EQ(names_of(ranking),
            (std::vector<std::string>{"math", "cka", "interlace-paper", "random"}));
  ASSERT_EQ(left_out.size(), 1U);
  EXPECT_EQ(left_out[0].first, "mixed");
  EXPECT_TRUE(ranking.alpha.empty());
}

TEST(Rank, TakesOneRuleForEveryCriterionButInterlace) {
  const Ranking ranking =
      rank(random_record(1), {.rule = "max-run", .max_run = 1, .budgets = kHalf, .resamples = 5});
  for (const Selection& selection : ranking.selections) {
    const bool interlace = selection.criterion == "interlace-paper";
    EXPECT_EQ(selection.rule, interlace ? "triplets" : "max-run");
    EXPECT_TRUE(interlace || selection.removed[1] - selection.removed[0] > 1);
  }
}

TEST(Rank, ChoosesABlockByWindowAndAngular) {
  const Ranking ranking =
      rank(random_record(4), {.criteria = {"window", "angular"}, .budgets = kHalf, .resamples = 0});
  for (const Selection& selection : ranking.selections) {
    EXPECT_EQ(selection.rule, "contiguous");
    EXPECT_EQ(selection.removed[1], selection.removed[0] + 1);
  }
}

TEST(Rank, RefusesOptionsThatNothingUses) {
  const ProbeRecord record = random_record(1);
  const auto error = [&](RankOptions options) {
    if (options.budgets.empty()) options.budgets = kHalf;
    return input_error([&] { (void)rank(record, options); });
  };
  EXPECT_THAT(error({.criteria = {"math"}, .criterion = {.alpha = 0.5}}), HasSubstr("--alpha"));
  EXPECT_THAT(
      error({.criteria = {"math"}, .criterion = {.weights = {{"math", 1}, {"nonmath", 1}}}}),
      HasSubstr("--weights"));
  EXPECT_THAT(error({.min_gap = 2}), HasSubstr("--min-gap needs --rule min-gap"));
  EXPECT_THAT(error({.rule = "min-gap", .max_run = 2}), HasSubstr("--max-run needs"));
  EXPECT_THAT(error({.criteria = {"math"}, .overflow = Overflow::Error}), HasSubstr("--overflow"));
  EXPECT_THAT(error({.criteria = {"interlace"}, .rule = "topk"}),
              AllOf(HasSubstr("means the rule triplets"), HasSubstr("adjacent-cosine")));
  EXPECT_THAT(error({.criteria = {"math"}, .all = true}), HasSubstr("exclude each other"));
  EXPECT_THAT(error({.criteria = {"math", "math"}}), HasSubstr("given twice"));
  EXPECT_THAT(error({.rule = "topn"}), HasSubstr("did you mean topk?"));
  EXPECT_THAT(error({.budgets = {{1, 2}, {1, 2}}}), HasSubstr("budget 50%: given twice"));
  EXPECT_THAT(error({.budgets = {{1, 10}}}), HasSubstr("removes none of 4"));
  EXPECT_THAT(error({.budgets = {layer_budget(5)}}), HasSubstr("only 4 layers"));
  EXPECT_THAT(error({.rule = "min-gap", .budgets = {{3, 4}}}),
              AllOf(HasSubstr("criterion math, budget 75%"), HasSubstr("largest K is 2")));
}

}  // namespace
}  // namespace espalier
