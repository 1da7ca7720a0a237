// SPDX-License-Identifier: Apache-2.0
#include "espalier/report/figure.h"

#include <gmock/gmock.h>

#include <array>
#include <vector>

namespace espalier {
namespace {

TEST(GnuplotString, CannotBeLeft) {
  EXPECT_EQ(gnuplot_string("it's `date` $x \\n"), "'it’s `date` $x \\n'");
  EXPECT_EQ(gnuplot_string("a\nsystem('b')\r\t"), "'a system(’b’)  '");
}

TEST(Shortened, KeepsBothEndsOfWhatDoesNotFit) {
  EXPECT_EQ(shortened("short", 100, 10), "short");
  const std::string text = shortened("a long name of a subtask, number 12", 80, 10);
  EXPECT_THAT(text, testing::StartsWith("a lo"));
  EXPECT_THAT(text, testing::EndsWith("12"));
  EXPECT_THAT(text, testing::HasSubstr("…"));
  EXPECT_LE(text_width(text, 10), 80);
}

TEST(Shortened, CutsBetweenCodePoints) {
  // 20 code points of two bytes each, 6.4 points wide each at size 10.
  std::string text;
  for (int i = 0; i < 20; ++i) text += "é";
  const std::string result = shortened(text, 60, 10);
  std::string rest = result;
  for (const std::string part : {"é", "…"}) {
    for (std::size_t at = rest.find(part); at != std::string::npos; at = rest.find(part)) {
      rest.erase(at, part.size());
    }
  }
  EXPECT_EQ(rest, "") << result;
}

TEST(TicStep, IsTheSmallestRoundNumberThatIsEnough) {
  EXPECT_DOUBLE_EQ(tic_step(1.0, 5), 0.2);
  EXPECT_DOUBLE_EQ(tic_step(1.0, 4), 0.5);    // 1 / 4 = 0.25 is between 0.2 and 0.5
  EXPECT_DOUBLE_EQ(tic_step(0.3, 3), 0.1);    // exact but for rounding
  EXPECT_DOUBLE_EQ(tic_step(26.0, 4), 10.0);  // 6.5 is between 5 and 10
}

TEST(TicList, NamesTheMultiplesOfItsStep) {
  EXPECT_EQ(tic_list(0.85, 1.0, 0.05), "('0.85' 0.85, '0.90' 0.90, '0.95' 0.95, '1.00' 1.00)");
  EXPECT_EQ(tic_list(-1.2, 1.3, 1.0), "('-1' -1, '0' 0, '1' 1)");
  EXPECT_EQ(tic_list(0.8, 0.9, 0.1, "≤"), "('≤0.8' 0.8, '0.9' 0.9)");
}

TEST(LayerStep, LeavesRoomForEachLabel) {
  // A label wants 2.2 * 9.5 = 20.9 points.
  EXPECT_EQ(layer_step(6, 300), 1);    // 50 points a layer
  EXPECT_EQ(layer_step(28, 300), 2);   // 10.7: two are 21.4
  EXPECT_EQ(layer_step(36, 300), 5);   // 8.3: two are 16.7, five 41.7
  EXPECT_EQ(layer_step(94, 300), 10);  // 3.2: five are 16, ten 32
}

TEST(Percent, NeverRoundsToNothingOrAll) {
  EXPECT_EQ(percent(0.0), "0%");
  EXPECT_EQ(percent(0.004), "<1%");
  EXPECT_EQ(percent(0.625), "63%");
  EXPECT_EQ(percent(0.996), ">99%");
  EXPECT_EQ(percent(1.0), "100%");
}

TEST(LayerList, SaysNoneForNone) {
  EXPECT_EQ(layer_list(std::array<std::int64_t, 3>{1, 2, 17}), "1, 2, 17");
  EXPECT_EQ(layer_list({}), "none");
}

TEST(AxisCommands, ShowEveryValueEvenWhereAllAreEqual) {
  // Room is half a unit to both sides; one round step of at most 4 in a width of 1 is 0.5.
  EXPECT_EQ(axis_commands('y', std::vector<double>{2.0, 2.0}, 4),
            "set yrange [1.5:2.5]\nset ytics ('1.5' 1.5, '2.0' 2.0, '2.5' 2.5) scale 0.4 offset "
            "0.5,0 font ',8.5'\n");
}

}  // namespace
}  // namespace espalier
