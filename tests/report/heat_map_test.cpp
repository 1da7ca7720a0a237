// SPDX-License-Identifier: Apache-2.0
#include "espalier/report/heat_map.h"

#include <gmock/gmock.h>

#include <cmath>
#include <limits>

#include "tests/report/sample.h"

namespace espalier {
namespace {

using testing::DoubleEq;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsNan;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

/// Two domains, three subtasks, four samples of three layers; the last layer is not measured.
ProbeRecord small_record() {
  ProbeRecord record{
      .model = {.fingerprint = "f", .architecture = "a", .num_layers = 3, .hidden_size = 1},
      .domains = {{"math", "m", {{"cot", "p", 2}, {"direct", "p", 1}}},
                  {"nonmath", "n", {{"counting", "p", 1}}}},
      .measured_layers = {0, 1}};
  record.samples.subtask = {0, 0, 1, 2};
  record.samples.similarity = {0.5F, 0.75F,  kNan, 0.25F, 0.25F, kNan,
                               1.0F, 0.125F, kNan, 0.5F,  0.5F,  kNan};
  record.samples.similarity_visual = {0.5F, kNan, kNan, kNan, kNan, kNan,
                                      kNan, kNan, kNan, kNan, kNan, kNan};
  record.samples.similarity_text = std::vector<float>(12, kNan);
  return record;
}

TEST(SubtaskSimilarity, IsTheMeanOverItsSamples) {
  // cot: (0.5 + 0.25) / 2 and (0.75 + 0.25) / 2; the others have one sample each.
  EXPECT_THAT(subtask_similarity(small_record(), TokenGroup::All),
              ElementsAre(ElementsAre(DoubleEq(0.375), DoubleEq(0.5), IsNan()),
                          ElementsAre(DoubleEq(1.0), DoubleEq(0.125), IsNan()),
                          ElementsAre(DoubleEq(0.5), DoubleEq(0.5), IsNan())));
}

TEST(DomainSimilarity, IsTheMeanOverSamplesNotOverSubtasks) {
  // Layer 0: (0.5 + 0.25 + 1) / 3; the mean of the subtasks' means would be 0.6875.
  const auto means = domain_similarity(small_record(), TokenGroup::All);
  EXPECT_THAT(means, ElementsAre(ElementsAre(DoubleEq(1.75 / 3), DoubleEq(0.375), IsNan()),
                                 ElementsAre(DoubleEq(0.5), DoubleEq(0.5), IsNan())));
}

TEST(SubtaskSimilarity, LeavesOutSamplesWithoutSuchTokens) {
  EXPECT_THAT(subtask_similarity(small_record(), TokenGroup::Visual)[0],
              ElementsAre(DoubleEq(0.5), IsNan(), IsNan()));
}

TEST(HasSimilarity, AsksForOneValue) {
  EXPECT_TRUE(has_similarity(small_record(), TokenGroup::Visual));
  EXPECT_FALSE(has_similarity(small_record(), TokenGroup::Text));
}

TEST(ChooseRange, WidensToRoundNumbers) {
  // The width is 0.085; a fifth of it is 0.017, so the step is 0.02.
  const ColourRange range = choose_range({{0.905, 0.99, kNan}});
  EXPECT_DOUBLE_EQ(range.low, 0.90);
  EXPECT_DOUBLE_EQ(range.high, 1.0);
  EXPECT_EQ(range.below, 0);
}

TEST(ChooseRange, LeavesFewLowValuesBelow) {
  // Of 40 values two lie at 0.2, the others from 0.90 to 0.99.
  std::vector<double> values = {0.2, 0.2};
  for (int i = 0; i < 38; ++i) values.push_back(0.90 + 0.09 * i / 37);
  const ColourRange range = choose_range({values});
  EXPECT_NEAR(range.low, 0.90, 1e-9);
  EXPECT_EQ(range.below, 2);
}

TEST(ChooseRange, KeepsManyLowValues) {
  // A third of the values is low: that is no outlier.
  const ColourRange range = choose_range({{0.2, 0.95, 0.96}});
  EXPECT_LE(range.low, 0.2);
  EXPECT_EQ(range.below, 0);
}

TEST(ChooseRange, KeepsLowValuesThatAreNoOutliers) {
  // Of 40 values two lie at 0.19, the others from 0.21 to 0.99: the two take a fortieth of the
  // width.
  std::vector<double> values = {0.19, 0.19};
  for (int i = 0; i < 38; ++i) values.push_back(0.21 + 0.78 * i / 37);
  const ColourRange range = choose_range({values});
  EXPECT_NEAR(range.low, 0.0, 1e-9);  // the step is 0.2
  EXPECT_EQ(range.below, 0);
}

TEST(ChooseRange, StaysARangeWhereAllValuesAreEqual) {
  for (const double value : {1.0, 0.5, 0.0}) {
    const ColourRange range = choose_range({{value, value}});
    EXPECT_LT(range.low, range.high) << value;
    EXPECT_LE(range.low, value);
    EXPECT_GE(range.high, value);
    EXPECT_LE(range.high, 1.0);
  }
  EXPECT_EQ(choose_range({{kNan}}), ColourRange{});
}

TEST(HeatMap, HasARowASubtaskAndAMeanWhereADomainHasSeveral) {
  const Figure figure = heat_map(small_record(), TokenGroup::All, {0, 2});
  const Table& data = figure.data.front();
  ASSERT_EQ(data.rows.size(), 4U * 3U);  // cot, direct, their mean; counting alone has none
  std::vector<std::string> rows;
  for (std::size_t i = 0; i < data.rows.size(); i += 3) {
    rows.push_back(std::get<std::string>(data.rows[i][1]));
  }
  EXPECT_THAT(rows, ElementsAre("cot", "direct", "domain mean", "counting"));
  EXPECT_EQ(std::get<double>(data.rows[1][4]), 0.5);                // cot, layer 1
  EXPECT_THAT(std::get<double>(data.rows[2][4]), IsNan());          // not measured
  EXPECT_NEAR(std::get<double>(data.rows[6][4]), 1.75 / 3, 1e-12);  // the mean, layer 0
}

TEST(HeatMap, SaysBetweenWhichValuesItsColoursLie) {
  EXPECT_THAT(heat_map(small_record(), TokenGroup::All, {}).caption,
              HasSubstr("The colours go from 0 to 1"));
  test::SampleShape shape;
  EXPECT_THAT(heat_map(test::sample_probe(shape), TokenGroup::All, {}).caption,
              HasSubstr("but for 9 lower ones"));  // layer 0 of the nine subtasks
  // Of 16 layers, one is more than a twentieth of the values.
  shape.layers = 16;
  EXPECT_THAT(heat_map(test::sample_probe(shape), TokenGroup::All, {}).caption,
              HasSubstr("but for 9 lower ones"));
}

}  // namespace
}  // namespace espalier
