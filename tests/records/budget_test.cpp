// SPDX-License-Identifier: Apache-2.0
#include "espalier/records/budget.h"

#include <gmock/gmock.h>

#include "tests/support.h"

namespace espalier {
namespace {

using test::input_error;
using ::testing::AllOf;
using ::testing::HasSubstr;

TEST(Budget, IsOneFractionHoweverItIsWritten) {
  for (const char* text : {"25%", "0.25", "1/4", "25.0%", "2/8", "0.250"}) {
    EXPECT_EQ(parse_budget(text), (Budget{1, 4})) << text;
  }
  EXPECT_EQ(parse_budget("12.5%"), (Budget{1, 8}));
  EXPECT_EQ(parse_budget("0.1%"), (Budget{1, 1000}));
  EXPECT_EQ(parse_budget("0.000000001%"), (Budget{1, 100'000'000'000}));
}

TEST(Budget, RefusesWhatIsNoShareBetweenNoneAndAll) {
  for (const char* text : {"", "%", "a", "25 %", "-1%", "+25%", "1e-1", ".5", "5.", "1/0", "1/",
                           "/4", "1/4%", "25%%", "0x1", "0.0000000001", "9999999999/3", "nan"}) {
    EXPECT_THAT(input_error([&] { parse_budget(text); }), HasSubstr("wanted a share")) << text;
  }
  for (const char* text : {"0", "0%", "0/3", "1", "100%", "4/4", "25", "1.5"}) {
    EXPECT_THAT(input_error([&] { parse_budget(text); }), HasSubstr("less than all")) << text;
  }
}

TEST(Budget, IsReadBackFromItsText) {
  const std::vector<std::pair<Budget, std::string>> cases = {
      {parse_budget("25%"), "25%"},           {parse_budget("12.5%"), "12.5%"},
      {parse_budget("1/3"), "1/3"},           {parse_budget("0.1%"), "0.1%"},
      {layer_budget(6), "6 layers"},          {layer_budget(1), "1 layer"},
      {parse_budget("1/1024"), "0.09765625%"}};
  for (const auto& [budget, text] : cases) {
    EXPECT_EQ(to_string(budget), text);
    EXPECT_EQ(budget_of(text, "r.json"), budget);
  }
  for (const char* text : {"", "layers", " layers", "0 layers", "-1 layers", "6", "100%"}) {
    EXPECT_THAT(input_error([&] { budget_of(text, "r.json"); }), HasSubstr("r.json: ")) << text;
  }
}

TEST(Budget, CountsLayersInIntegers) {
  // The paper's: 26 prunable layers of the 2B, 34 of the 4B. In binary fractions 0.29 * 100 is
  // 28.999999999999996.
  const auto k = [](const char* budget, std::int64_t prunable) {
    return layers_to_remove(parse_budget(budget), prunable);
  };
  EXPECT_EQ(k("10%", 26), 2);
  EXPECT_EQ(k("25%", 26), 6);
  EXPECT_EQ(k("40%", 26), 10);
  EXPECT_EQ(k("10%", 34), 3);
  EXPECT_EQ(k("25%", 34), 8);
  EXPECT_EQ(k("40%", 34), 13);
  EXPECT_EQ(k("29%", 100), 29);
  EXPECT_EQ(k("0.29", 100), 29);
  EXPECT_EQ(k("1/3", 3), 1);
  EXPECT_EQ(layers_to_remove(layer_budget(4), 4), 4);
}

TEST(Budget, OfNoLayerOrOfTooManyIsRefused) {
  EXPECT_THAT(input_error([] { layers_to_remove(parse_budget("10%"), 9); }),
              AllOf(HasSubstr("10%"), HasSubstr("none of 9"), HasSubstr("1/9")));
  EXPECT_THAT(input_error([] { layers_to_remove(layer_budget(5), 4); }),
              AllOf(HasSubstr("5 layers"), HasSubstr("only 4")));
}

}  // namespace
}  // namespace espalier
