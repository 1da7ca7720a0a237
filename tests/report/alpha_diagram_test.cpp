// SPDX-License-Identifier: Apache-2.0
#include "espalier/report/alpha_diagram.h"

#include <gmock/gmock.h>

namespace espalier {
namespace {

using testing::HasSubstr;

/// Layer 1 goes below 0.25, layer 3 above; layer 2 always.
AlphaDiagram small_diagram() {
  return {.first_domain = "math",
          .second_domain = "nonmath",
          .budget = {1, 2},
          .k = 2,
          .intervals = {{0.0, 0.25, {1, 2}, 3.0, 1.0, true}, {0.25, 1.0, {2, 3}, 2.0, 1.5, true}}};
}

TEST(AlphaFigure, HasARowForEachIntervalAndLayer) {
  EXPECT_EQ(to_csv(alpha_figure(5, {small_diagram()}, 0).data.front()),
            "panel,budget,layer,alpha_low,alpha_high\n"
            "0,50%,1,0,0.25\n"
            "0,50%,2,0,0.25\n"
            "0,50%,2,0.25,1\n"
            "0,50%,3,0.25,1\n");
}

TEST(ParetoFigure, HasARowForEachSetAndRingsThePapers) {
  EXPECT_EQ(
      to_csv(pareto_figure({small_diagram()}, 0).data.front()),
      "panel,budget,alpha_low,alpha_high,score_math,score_nonmath,pareto,paper_alpha,removed\n"
      "0,50%,0,0.25,3,1,1,0,\"1, 2\"\n"
      "0,50%,0.25,1,2,1.5,1,1,\"2, 3\"\n");
}

TEST(IntervalAt, TakesTheLowerOneOnAnEdge) {
  const AlphaDiagram diagram = small_diagram();
  EXPECT_EQ(&interval_at(diagram, 0.0), &diagram.intervals[0]);
  EXPECT_EQ(&interval_at(diagram, 0.25), &diagram.intervals[0]);
  EXPECT_EQ(&interval_at(diagram, 0.7), &diagram.intervals[1]);
  EXPECT_EQ(&interval_at(diagram, 1.0), &diagram.intervals[1]);
}

TEST(ByDomains, KeepsPairsApartAndGivesThemNamesOfTheirOwn) {
  AlphaDiagram other = small_diagram();
  other.second_domain = "../charts";
  Ranking ranking;
  ranking.alpha = {small_diagram(), other, small_diagram()};
  const auto groups = by_domains(ranking);
  ASSERT_EQ(groups.size(), 2U);
  EXPECT_EQ(groups[0].size(), 2U);
  EXPECT_EQ(alpha_figure(5, groups[0], 0).name, "alpha");
  EXPECT_EQ(alpha_figure(5, groups[1], 1).name, "alpha_2");
  EXPECT_EQ(pareto_figure(groups[1], 1).name, "pareto_2");
}

TEST(AlphaFigure, NamesTheDomainsAtTheEndsOfItsAxis) {
  const Figure figure = alpha_figure(5, {small_diagram()}, 0);
  EXPECT_THAT(figure.commands, HasSubstr("'0  math' 0, '1  nonmath' 1"));
}

}  // namespace
}  // namespace espalier
