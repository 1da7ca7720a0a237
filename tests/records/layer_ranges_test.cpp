// SPDX-License-Identifier: Apache-2.0
#include "espalier/records/layer_ranges.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support.h"

namespace espalier {
namespace {

using Layers = std::vector<std::int64_t>;
using test::input_error;
using ::testing::AllOf;
using ::testing::HasSubstr;

TEST(LayerRanges, AreReadWithBothEnds) {
  EXPECT_EQ(parse_layers("3", "--layers"), Layers({3}));
  EXPECT_EQ(parse_layers("3,7-9", "--layers"), Layers({3, 7, 8, 9}));
  EXPECT_EQ(parse_layers("7-9,3", "--layers"), Layers({3, 7, 8, 9}));
  EXPECT_EQ(parse_layers("5-5", "--layers"), Layers({5}));
}

TEST(LayerRanges, AreWrittenAsTheyAreRead) {
  const Layers layers = {0, 1, 2, 5, 8, 9};
  EXPECT_EQ(layer_ranges(layers), "0-2, 5, 8-9");
  EXPECT_EQ(compact_layer_ranges(layers), "0-2,5,8-9");
  EXPECT_EQ(parse_layers(compact_layer_ranges(layers), "--layers"), layers);
  EXPECT_EQ(layer_ranges({}), "none");
}

TEST(LayerRanges, RefuseWhatIsNoListOfLayers) {
  for (const char* text : {"", ",", "3,", "a", "3;4", "-3", "3-", "3--4", "1.5", " 3", "70000",
                           "99999999999999999999"}) {
    EXPECT_THAT(input_error([&] { parse_layers(text, "--layers"); }),
                AllOf(HasSubstr("--layers: wanted layers such as 3,7-9"), HasSubstr(text)))
        << text;
  }
  EXPECT_THAT(input_error([] { parse_layers("9-7", "--layers"); }), HasSubstr("found 9-7"));
  EXPECT_THAT(input_error([] { parse_layers("3,2-4", "--layers"); }), HasSubstr("found 3 twice"));
}

}  // namespace
}  // namespace espalier
