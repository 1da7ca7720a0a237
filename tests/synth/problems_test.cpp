// SPDX-License-Identifier: Apache-2.0
#include "espalier/synth/problems.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <map>
#include <set>

#include "tests/support.h"

namespace espalier {
namespace {

using testing::AllOf;
using testing::HasSubstr;

constexpr std::array kSplits = {Split::Train, Split::Validation, Split::Test};

std::string content(ProblemKind kind, const std::string& form, std::vector<int> numbers) {
  return content_of({.kind = kind, .form = form, .numbers = std::move(numbers)});
}

TEST(ProblemKind, IsFoundUnderItsName) {
  for (const ProblemKind kind : problem_kinds()) EXPECT_EQ(parse_problem_kind(name_of(kind)), kind);
  EXPECT_EQ(problem_kinds().size(), 9U);
  EXPECT_THAT(test::input_error([] { parse_problem_kind("two-digit-sums"); }),
              AllOf(HasSubstr("two-digit-sums"), HasSubstr("did you mean two-digit-sum")));
}

TEST(ProblemContent, IsTheSameWhereTermsMayBeSwapped) {
  using enum ProblemKind;
  EXPECT_EQ(content(TwoDigitSum, "a+b", {38, 25}), "two-digit-sum +25 +38");
  EXPECT_EQ(content(TwoDigitSum, "a+b", {38, 25}), content(TwoDigitSum, "a+b", {25, 38}));
  EXPECT_EQ(content(OneDigitProduct, "a*b", {7, 3}), content(OneDigitProduct, "a*b", {3, 7}));
  EXPECT_EQ(content(Comparison, "a?b", {52, 37}), content(Comparison, "a?b", {37, 52}));
  EXPECT_EQ(content(Unknown, "a+x=b", {7, 15}), content(Unknown, "x+a=b", {7, 15}));
  EXPECT_EQ(content(ThreeTerms, "a+b-c", {3, 9, 5}), content(ThreeTerms, "a-b+c", {9, 5, 3}));
  EXPECT_EQ(content(ThreeTerms, "a-b-c", {12, 1, 5}), content(ThreeTerms, "a-b-c", {12, 5, 1}));
}

TEST(ProblemContent, DiffersWhereTheProblemsDo) {
  using enum ProblemKind;
  const std::set<std::string> contents = {
      content(TwoDigitSum, "a+b", {38, 25}),   content(TwoDigitDifference, "a-b", {38, 25}),
      content(OneDigitSum, "a+b", {3, 2}),     content(OneDigitProduct, "a*b", {3, 2}),
      content(Comparison, "a?b", {38, 25}),    content(Unknown, "x+a=b", {7, 15}),
      content(Unknown, "x-a=b", {7, 15}),      content(Unknown, "a*x+b=c", {7, 1, 15}),
      content(ThreeTerms, "a-b+c", {9, 5, 3}), content(ThreeTerms, "a-b+c", {9, 3, 5}),
      content(ThreeTerms, "a+b+c", {9, 3, 5}), content(Table, "row 1", {1, 2, 3, 4}),
      content(Table, "col 1", {1, 2, 3, 4}),   content(Table, "row 1", {2, 1, 3, 4}),
      content(ThreeTerms, "a+b+c", {19, 3, 5})};
  EXPECT_EQ(contents.size(), 15U);
}

// All 8,100 pairs: commutative twins stay together, and each part has about its tenth.
TEST(ProblemSplit, PutsEveryPairOfTwoDigitsInOnePart) {
  std::map<Split, int> counts;
  for (int a = 10; a <= 99; ++a) {
    for (int b = 10; b <= 99; ++b) {
      const Split part = split_of(content(ProblemKind::TwoDigitSum, "a+b", {a, b}));
      EXPECT_EQ(part, split_of(content(ProblemKind::TwoDigitSum, "a+b", {b, a})));
      ++counts[part];
    }
  }
  EXPECT_NEAR(counts[Split::Test], 810, 120);
  EXPECT_NEAR(counts[Split::Validation], 810, 120);
  EXPECT_EQ(counts[Split::Train] + counts[Split::Validation] + counts[Split::Test], 8100);
}

TEST(DrawProblem, NeverDrawsAContentInTwoSplits) {
  for (const ProblemKind kind : problem_kinds()) {
    if (is_split_by_rendering(kind)) continue;
    std::map<std::string, Split> seen;
    std::map<Split, int> contents;
    for (const Split split : kSplits) {
      Random random(7, static_cast<std::uint64_t>(split));
      for (int i = 0; i < 5000; ++i) {
        const auto [place, added] =
            seen.try_emplace(content_of(draw_problem(kind, split, random)), split);
        EXPECT_EQ(place->second, split) << place->first;
        if (added) ++contents[split];
      }
    }
    EXPECT_GT(contents[Split::Test], 20) << name_of(kind);
    EXPECT_GT(contents[Split::Train], contents[Split::Test]) << name_of(kind);
  }
}

TEST(DrawProblem, DrawsAllOfOneDigitInEverySplit) {
  for (const Split split : kSplits) {
    Random random(3);
    std::set<std::vector<int>> sums;
    std::set<std::vector<int>> differences;
    for (int i = 0; i < 5000; ++i) {
      sums.insert(draw_problem(ProblemKind::OneDigitSum, split, random).numbers);
      differences.insert(draw_problem(ProblemKind::OneDigitDifference, split, random).numbers);
    }
    EXPECT_EQ(sums.size(), 100U);
    EXPECT_EQ(differences.size(), 55U);  // those that are not negative
  }
}

TEST(DrawProblem, StaysInItsRanges) {
  Random random(11);
  for (int i = 0; i < 5000; ++i) {
    const auto difference = draw_problem(ProblemKind::TwoDigitDifference, Split::Train, random);
    EXPECT_GE(difference.numbers[1], 10);
    EXPECT_LE(difference.numbers[0], 99);
    EXPECT_GE(difference.numbers[0], difference.numbers[1]);

    const auto terms = draw_problem(ProblemKind::ThreeTerms, Split::Train, random);
    const int after_two =
        terms.numbers[0] + (terms.form[1] == '+' ? terms.numbers[1] : -terms.numbers[1]);
    EXPECT_GE(after_two, 0);
    EXPECT_GE(after_two + (terms.form[3] == '+' ? terms.numbers[2] : -terms.numbers[2]), 0);

    const auto unknown = draw_problem(ProblemKind::Unknown, Split::Train, random);
    const int a = unknown.numbers[0];
    const int b = unknown.numbers[1];
    const bool multiple = unknown.form == "a*x+b=c";
    if (multiple) {
      EXPECT_EQ((unknown.numbers[2] - b) % a, 0);
    }
    const int x = multiple ? (unknown.numbers[2] - b) / a : unknown.form == "x-a=b" ? a + b : b - a;
    EXPECT_GE(x, 1);
    EXPECT_LE(x, 20);

    const auto table = draw_problem(ProblemKind::Table, Split::Train, random);
    EXPECT_EQ(table.numbers.size(), 4U);
    EXPECT_GE(std::ranges::min(table.numbers), 1);
    EXPECT_LE(std::ranges::max(table.numbers), 9);
  }
}

TEST(DrawProblem, ComparesEqualNumbersNowAndThen) {
  Random random(5);
  int equal = 0;
  int same_tens = 0;
  for (int i = 0; i < 1000; ++i) {
    const auto numbers = draw_problem(ProblemKind::Comparison, Split::Train, random).numbers;
    equal += numbers[0] == numbers[1] ? 1 : 0;
    same_tens += numbers[0] / 10 == numbers[1] / 10 ? 1 : 0;
  }
  EXPECT_NEAR(equal, 200, 50);
  EXPECT_GT(same_tens, 550);
  EXPECT_LT(same_tens, 750);
}

TEST(ProblemText, IsWhatAnswersQuote) {
  using enum ProblemKind;
  EXPECT_EQ(text_of({OneDigitProduct, "a*b", {7, 8}}), "7*8");
  EXPECT_EQ(text_of({ThreeTerms, "a+b-c", {14, 9, 5}}), "14+9-5");
  EXPECT_EQ(text_of({Unknown, "a*x+b=c", {3, 4, 19}}), "3x+4=19");
  EXPECT_EQ(text_of({Unknown, "x-a=b", {7, 8}}), "x-7=8");
  EXPECT_EQ(text_of({Comparison, "a?b", {37, 52}}), "37 ? 52");
  EXPECT_EQ(text_of({Table, "row 2", {3, 8, 5, 2}}), "3 8 / 5 2, row 2");
}

// 3 8
// 5 2
TEST(Table, AddsTheCellsOfARowOrColumn) {
  const auto summands = [](const std::string& form) {
    return summands_of_table({ProblemKind::Table, form, {3, 8, 5, 2}});
  };
  EXPECT_EQ(summands("row 1"), std::pair(3, 8));
  EXPECT_EQ(summands("row 2"), std::pair(5, 2));
  EXPECT_EQ(summands("col 1"), std::pair(3, 5));
  EXPECT_EQ(summands("col 2"), std::pair(8, 2));
}

}  // namespace
}  // namespace espalier
