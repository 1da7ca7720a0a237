// SPDX-License-Identifier: Apache-2.0
#include "espalier/text/pretokenizer.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "espalier/text/unicode_classes.h"

namespace espalier {
namespace {

using Pieces = std::vector<std::string>;

Pieces split(std::string_view text) {
  static const Pretokenizer pretokenizer;
  Pieces pieces;
  pretokenizer.split(text, [&](std::string_view piece) { pieces.emplace_back(piece); });
  return pieces;
}

std::string repeat(std::string_view unit, std::size_t bytes) {
  std::string text;
  while (text.size() < bytes) text += unit;
  return text;
}

TEST(Pretokenizer, SplitsAsThePatternSays) {
  EXPECT_EQ(split(""), Pieces{});
  EXPECT_EQ(split("Hello world's 12"), (Pieces{"Hello", " world", "'s", " ", "1", "2"}));
  EXPECT_EQ(split("  \n\n  x"), (Pieces{"  \n\n", " ", " x"}));
  EXPECT_EQ(split("a  !!\n\r?"), (Pieces{"a", " ", " !!\n\r", "?"}));
  EXPECT_EQ(split("x   "), (Pieces{"x", "   "}));
}

TEST(Pretokenizer, FoldsContractionsAsTheReferenceDoes) {
  EXPECT_EQ(split("it'\u017fx"), (Pieces{"it", "'\u017f", "x"}));
  EXPECT_EQ(split("it'LLx"), (Pieces{"it", "'LL", "x"}));
  EXPECT_EQ(split("it'\u212a"), (Pieces{"it", "'\u212a"}));
}

TEST(Pretokenizer, TakesItsClassesFromTheTables) {
  EXPECT_EQ(split("a\u1c89\U000105c0"), Pieces{"a\u1c89\U000105c0"});  // letters of Unicode 16
  EXPECT_EQ(split("a\u088fb"), (Pieces{"a", "\u088fb"}));              // a letter only since 17
  EXPECT_EQ(split("\u00bd\u2167"), (Pieces{"\u00bd", "\u2167"}));
  EXPECT_EQ(split("a\u180eb"), (Pieces{"a", "\u180eb"}));  // no white space
  EXPECT_EQ(split("a\u0085\u0085b"), (Pieces{"a", "\u0085", "\u0085b"}));
}

TEST(Pretokenizer, TakesPiecesOfAMegabyte) {
  constexpr std::size_t kBytes = 1 << 20;
  for (const char* unit : {"a", "\u4f60", "\U00020000", "!", "\U0001f600", "\n", " \n", "\u3000"}) {
    const std::string text = repeat(unit, kBytes);
    EXPECT_EQ(split(text), Pieces{text}) << unit;
  }
}

TEST(Pretokenizer, StepsBackOverAMegabyteOfSpaces) {
  for (const std::string space : {" ", "\u3000"}) {
    const std::string spaces = repeat(space, 1 << 20);
    const std::string rest = spaces.substr(space.size());
    EXPECT_EQ(split(spaces + "x"), (Pieces{rest, space + "x"}));
    EXPECT_EQ(split(spaces + "1"), (Pieces{rest, space, "1"}));
    EXPECT_EQ(split(spaces + "\n" + spaces), (Pieces{spaces + "\n", spaces}));
  }
}

TEST(UnicodeClasses, AreSortedAndApart) {
  for (const auto ranges : {letters(), numbers(), white_space()}) {
    for (std::size_t i = 0; i < ranges.size(); ++i) {
      EXPECT_LE(ranges[i].first, ranges[i].last);
      if (i == 0) continue;
      EXPECT_GT(ranges[i].first, ranges[i - 1].last + 1);
    }
  }
}

}  // namespace
}  // namespace espalier
