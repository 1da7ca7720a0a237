// SPDX-License-Identifier: Apache-2.0
#include "espalier/synth/split.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>

#include "tests/support.h"

namespace espalier {
namespace {

using testing::AllOf;
using testing::HasSubstr;

TEST(Split, IsFoundUnderItsName) {
  for (const Split split : {Split::Train, Split::Validation, Split::Test}) {
    EXPECT_EQ(parse_split(name_of(split)), split);
  }
  EXPECT_THAT(test::input_error([] { parse_split("tset"); }),
              AllOf(HasSubstr("tset"), HasSubstr("test"), HasSubstr("val")));
}

// A content must never move to another part: what a model was trained on would become its test.
// By Python, xxhash.xxh3_128_intdigest(text) % 10 is 9 for "", 3 for "a", 8 for
// "two-digit-sum +25 +38", 1 for "two-digit-sum +10 +11" and 0 for "two-digit-sum +12 +34".
TEST(Split, IsTheHashModuloTen) {
  EXPECT_EQ(split_of(""), Split::Train);
  EXPECT_EQ(split_of("a"), Split::Train);
  EXPECT_EQ(split_of("two-digit-sum +25 +38"), Split::Train);
  EXPECT_EQ(split_of("two-digit-sum +10 +11"), Split::Validation);
  EXPECT_EQ(split_of("two-digit-sum +12 +34"), Split::Test);
}

TEST(Split, KeepsATenthEachForValidationAndTest) {
  std::array<int, 3> counts{};
  for (int i = 0; i < 10000; ++i) {
    ++counts.at(static_cast<std::size_t>(split_of(std::to_string(i))));
  }
  // The deviation of a share of 0.1 of 10,000 is 30.
  EXPECT_NEAR(counts[0], 8000, 160);
  EXPECT_NEAR(counts[1], 1000, 120);
  EXPECT_NEAR(counts[2], 1000, 120);
}

}  // namespace
}  // namespace espalier
