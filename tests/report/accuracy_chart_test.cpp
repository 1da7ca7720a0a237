// SPDX-License-Identifier: Apache-2.0
#include "espalier/report/accuracy_chart.h"

#include <gmock/gmock.h>

#include "tests/report/sample.h"

namespace espalier {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

/// An evaluation with so many right answers of 8 in either of two domains.
NamedScoreboard evaluation(const std::string& name, std::int64_t math, std::int64_t scenes,
                           const std::string& criterion = "", std::int64_t removed = 0) {
  Scoreboard scoreboard = test::sample_scoreboard(math, scenes);
  if (removed > 0) {
    scoreboard.plan = ScoredPlan{.base_fingerprint = scoreboard.model.fingerprint,
                                 .criterion = criterion,
                                 .budget = {},
                                 .removed = removed};
    scoreboard.model.fingerprint = name;
  }
  return {name, scoreboard};
}

std::vector<NamedScoreboard> pruned_at_two_budgets() {
  return {evaluation("b25", 4, 6, "mixed", 4), evaluation("b10", 6, 7, "mixed", 2),
          evaluation("base", 8, 8), evaluation("r10", 2, 2, "random", 2)};
}

TEST(AccuracyChart, DrawsALineACriterionFromTheBaseOn) {
  const Figure figure = accuracy_chart(pruned_at_two_budgets());
  // 8 of 8, 6 of 8, 4 of 8; intervals as the helper makes them.
  EXPECT_EQ(to_csv(figure.data.front()),
            "domain,series,removed,accuracy,low,high\n"
            "math,mixed,0,100,50,100\n"
            "math,mixed,2,75,37.5,87.5\n"
            "math,mixed,4,50,25,75\n"
            "math,random,0,100,50,100\n"
            "math,random,2,25,12.5,62.5\n"
            "scenes,mixed,0,100,50,100\n"
            "scenes,mixed,2,87.5,43.75,93.75\n"
            "scenes,mixed,4,75,37.5,87.5\n"
            "scenes,random,0,100,50,100\n"
            "scenes,random,2,25,12.5,62.5\n");
  // Each line reads its own rows.
  EXPECT_THAT(figure.commands,
              AllOf(HasSubstr("every ::0::2"), HasSubstr("every ::3::4"), HasSubstr("every ::5::7"),
                    HasSubstr("every ::8::9"), HasSubstr("('0' 0, '2' 2, '4' 4)")));
}

TEST(AccuracyChart, KeepsAShuffledControlApart) {
  auto scoreboards = pruned_at_two_budgets();
  scoreboards.push_back(evaluation("shuffled", 1, 1, "mixed", 4));
  scoreboards.back().scoreboard.options = R"({"shuffle_pictures": true})";
  const std::string csv = to_csv(accuracy_chart(scoreboards).data.front());
  EXPECT_THAT(csv, HasSubstr("\nmath,\"mixed, pictures shuffled\",4,12.5,"));
  EXPECT_THAT(csv, Not(HasSubstr("shuffled\",0,")));  // the base was not shuffled
}

TEST(AccuracyChart, GivesManyLinesARowOfPanelsADomain) {
  // Four criteria, each not healed and healed: eight lines for six colours.
  std::vector<NamedScoreboard> scoreboards = {evaluation("base", 8, 8)};
  for (const char* criterion : {"math", "nonmath", "mixed", "random"}) {
    scoreboards.push_back(evaluation(criterion, 4, 6, criterion, 2));
    scoreboards.push_back(evaluation(std::string(criterion) + "-healed", 6, 7, criterion, 2));
    Scoreboard& healed = scoreboards.back().scoreboard;
    healed.adapter_fingerprint = "a";
    healed.training = ScoredTraining{.loss = "sft", .control = false, .steps = 40, .batch = 64};
  }
  const Figure figure = accuracy_chart(scoreboards);
  EXPECT_THAT(figure.commands, AllOf(HasSubstr("healed by sft"), Not(HasSubstr("boxxyerror"))));
  // One colour a criterion, in either panel of both domains: a line, its interval, its points.
  const std::string colour = "linecolor rgb '#cc79a7'";
  std::size_t count = 0;
  for (auto at = figure.commands.find(colour); at != std::string::npos;
       at = figure.commands.find(colour, at + 1)) {
    ++count;
  }
  EXPECT_EQ(count, 1U + 4 * 3);  // the legend's point too
  EXPECT_THAT(to_csv(figure.data.front()), HasSubstr("\nmath,\"random, healed by sft\",2,75,"));
}

TEST(AccuracyChart, DrawsABarEachWhereTheyAreNoFamily) {
  auto scoreboards = pruned_at_two_budgets();
  scoreboards[2].scoreboard.model.fingerprint = "another";
  const Figure figure = accuracy_chart(scoreboards);
  EXPECT_THAT(to_csv(figure.data.front()), HasSubstr("math,b25,0,50,25,75\nmath,b10,1,75,"));
  EXPECT_THAT(figure.commands, HasSubstr("boxxyerror"));
}

TEST(AccuracyChart, DrawsABarEachWhereTwoWouldStandInOnePlace) {
  auto scoreboards = pruned_at_two_budgets();
  scoreboards.push_back(evaluation("again", 1, 1, "mixed", 4));
  EXPECT_THAT(accuracy_chart(scoreboards).commands, HasSubstr("boxxyerror"));
  EXPECT_THAT(accuracy_chart({evaluation("one", 1, 2)}).commands, HasSubstr("boxxyerror"));
}

TEST(AccuracyChart, LeavesOutADomainThatWasNotAsked) {
  auto scoreboards = pruned_at_two_budgets();
  auto& groups = scoreboards[1].scoreboard.groups;
  std::erase_if(groups, [](const ScoreGroup& group) { return group.domain == "scenes"; });
  EXPECT_THAT(scored_domains(scoreboards), ElementsAre("math", "scenes"));
  EXPECT_EQ(domain_group(scoreboards[1].scoreboard, "scenes"), nullptr);
  EXPECT_THAT(to_csv(accuracy_chart(scoreboards).data.front()),
              AllOf(HasSubstr("scenes,mixed,0,100,50,100\nscenes,mixed,4,")));
}

}  // namespace
}  // namespace espalier
