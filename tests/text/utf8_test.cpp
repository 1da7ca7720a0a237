// SPDX-License-Identifier: Apache-2.0
#include "espalier/text/utf8.h"

#include <gtest/gtest.h>

#include <string>

namespace espalier {
namespace {

using State = Utf8Sequence::State;

std::string replaced(std::string_view bytes) {
  std::string text;
  const std::size_t taken = append_valid_utf8(bytes, text);
  if (taken < bytes.size()) text += "(unfinished)";
  return text;
}

TEST(Utf8, TakesWholeCharactersOfAllLengths) {
  for (const std::string character : {"a", "\u00e9", "\u4f60", "\U0001f600", "\ud7ff", "\ue000",
                                      "\U0010ffff", "\U00010000", "\u0800", "\u0080"}) {
    const Utf8Sequence sequence = first_utf8_sequence(character + "x");
    EXPECT_EQ(sequence.state, State::Whole) << character;
    EXPECT_EQ(sequence.length, character.size()) << character;
  }
}

TEST(Utf8, FindsTheFirstBrokenByte) {
  EXPECT_EQ(valid_utf8_prefix("0123456789abcdef\xFFx"), 16U);
  EXPECT_EQ(valid_utf8_prefix("ab\xC3\xA9\xC3"), 4U);
  EXPECT_EQ(valid_utf8_prefix(""), 0U);
}

// The expected texts are Python's bytes.decode("utf-8", "replace").
TEST(Utf8, ReplacesAsPythonDoes) {
  EXPECT_EQ(replaced("a\xFF\x62"), "a\uFFFDb");
  EXPECT_EQ(replaced("\xE2\x82x"), "\uFFFDx");                  // broken off after two bytes
  EXPECT_EQ(replaced("\xF0\x9F\x98x"), "\uFFFDx");              // after three
  EXPECT_EQ(replaced("\xE0\x80\x80x"), "\uFFFD\uFFFD\uFFFDx");  // overlong
  EXPECT_EQ(replaced("\xED\xA0\x80x"), "\uFFFD\uFFFD\uFFFDx");  // a surrogate
  EXPECT_EQ(replaced("\xF4\x90\x80\x80x"), "\uFFFD\uFFFD\uFFFD\uFFFDx");  // beyond U+10FFFF
  EXPECT_EQ(replaced("\xC0\xAFx"), "\uFFFD\uFFFDx");
  EXPECT_EQ(replaced("\xC3\xC3\xA9"), "\uFFFD\u00e9");
  EXPECT_EQ(replaced("\x80\xBF"), "\uFFFD\uFFFD");
}

TEST(Utf8, LeavesAnUnfinishedCharacter) {
  EXPECT_EQ(replaced("a\xF0\x9F\x98"), "a(unfinished)");
  EXPECT_EQ(replaced("a\xC3"), "a(unfinished)");
  EXPECT_EQ(replaced("a\xE0\x80"), "a\uFFFD\uFFFD");
}

}  // namespace
}  // namespace espalier
