// SPDX-License-Identifier: Apache-2.0
#include "espalier/eval/metrics.h"

#include <gmock/gmock.h>

#include <cmath>
#include <map>

#include "tests/support.h"

namespace espalier {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

Question question(const std::string& id, const std::string& domain, const std::string& kind,
                  const std::vector<std::filesystem::path>& images = {}) {
  return {.id = id,
          .images = images,
          .prompt = "?",
          .answers = {"63", "sixty-three"},
          .domain = domain,
          .kind = kind,
          .place = id};
}

TEST(IsCorrect, ComparesTheWholeAnswerWithoutOuterSpace) {
  const Question exact = question("a", "math", "sum");
  EXPECT_TRUE(is_correct(exact, "63"));
  EXPECT_TRUE(is_correct(exact, " \t63\r\n"));
  EXPECT_TRUE(is_correct(exact, "sixty-three"));
  for (const char* wrong : {"", "6 3", "63.", "Answer: 63", "Sixty-three", "633"}) {
    EXPECT_FALSE(is_correct(exact, wrong)) << wrong;
  }
}

TEST(IsCorrect, ComparesWhatFollowsTheLastAnswerWhereThatIsAsked) {
  Question final = question("a", "math", "sum");
  final.match = AnswerMatch::Final;
  EXPECT_TRUE(is_correct(final, "8+5=13, 3+2+1=6. Answer: 63"));
  EXPECT_TRUE(is_correct(final, "Answer:63 \n"));
  EXPECT_TRUE(is_correct(final, "Answer: 62? No. Answer: 63"));
  for (const char* wrong : {"63", "answer: 63", "Answer 63",
                            "Answer: 63. Answer:", "Answer: 63 Answer: 64", "Answer: 63."}) {
    EXPECT_FALSE(is_correct(final, wrong)) << wrong;
  }
}

// 8 of 10: z = 1.959964, z^2 = 3.841459. Middle: 0.8 + 0.192073 = 0.992073. Half:
// 1.959964 sqrt(0.016 + 3.841459 / 400) = 1.959964 * 0.160012 = 0.313619. Scale: 1.384146.
// (0.992073 -+ 0.313619) / 1.384146 = 0.490162 and 0.943318.
TEST(WilsonInterval, IsAsWorkedByHand) {
  const Interval interval = wilson_interval(8, 10);
  EXPECT_NEAR(interval.low, 0.490162, 1e-6);
  EXPECT_NEAR(interval.high, 0.943318, 1e-6);
}

// Of k = 0 the middle and the half are both z^2 / 2n: from 0 to z^2 / (n + z^2) = 3.841459 /
// 194.841459 = 0.019716.
TEST(WilsonInterval, StaysInsideAtBothEnds) {
  EXPECT_NEAR(wilson_interval(0, 191).low, 0.0, 1e-12);
  EXPECT_NEAR(wilson_interval(0, 191).high, 0.019716, 1e-6);
  EXPECT_NEAR(wilson_interval(191, 191).low, 1 - 0.019716, 1e-6);
  EXPECT_NEAR(wilson_interval(191, 191).high, 1.0, 1e-12);
  EXPECT_LE(wilson_interval(191, 191).high, 1.0);
  EXPECT_GE(wilson_interval(0, 191).low, 0.0);
}

// Two-sided binomial. 10 and 2: 2 (1 + 12 + 66) / 4096 = 0.038574. 0 and 6: 2 / 64. 1 and 0:
// 2 * 1/2. 5 and 5: twice more than a half, cut at 1.
TEST(McnemarExact, IsAsWorkedByHand) {
  EXPECT_NEAR(mcnemar_exact(10, 2), 0.038574, 1e-6);
  EXPECT_NEAR(mcnemar_exact(2, 10), 0.038574, 1e-6);
  EXPECT_NEAR(mcnemar_exact(0, 6), 0.03125, 1e-12);
  EXPECT_NEAR(mcnemar_exact(1, 0), 1.0, 1e-12);
  EXPECT_EQ(mcnemar_exact(5, 5), 1.0);
  EXPECT_EQ(mcnemar_exact(0, 0), 1.0);
  EXPECT_NEAR(mcnemar_exact(100, 60), 0.001954, 1e-6);
}

/// b questions right in the first alone, c in the second alone, the others right in both.
PairedComparison compare_counts(std::size_t b, std::size_t c, std::size_t count,
                                std::int64_t questions_a_cluster = 1) {
  std::vector<bool> first(count, true);
  std::vector<bool> second(count, true);
  for (std::size_t i = 0; i < b; ++i) second[i] = false;
  for (std::size_t i = b; i < b + c; ++i) first[i] = false;
  std::vector<std::int64_t> clusters;
  for (std::size_t i = 0; i < count; ++i) {
    clusters.push_back(static_cast<std::int64_t>(i) / questions_a_cluster);
  }
  return compare_paired(first, second, clusters);
}

// 30 and 10 of 400: difference 0.05. A question's difference has mean 0.05 and variance
// 40 / 400 - 0.05^2 = 0.0975; of the mean of 400, sqrt(0.0975 / 400) = 0.015612: the bootstrap's
// percentiles are near 0.05 -+ 1.96 * 0.015612 = 0.0194 and 0.0806.
TEST(ComparePaired, GivesTheDifferenceWithItsInterval) {
  const PairedComparison pair = compare_counts(30, 10, 400);
  EXPECT_EQ(pair.count, 400);
  EXPECT_EQ(pair.first_only, 30);
  EXPECT_EQ(pair.second_only, 10);
  EXPECT_DOUBLE_EQ(pair.difference, 0.05);
  EXPECT_NEAR(pair.interval.low, 0.0194, 0.002);
  EXPECT_NEAR(pair.interval.high, 0.0806, 0.002);
  EXPECT_DOUBLE_EQ(pair.p_value, mcnemar_exact(30, 10));
}

TEST(ComparePaired, ChangesItsSignWithTheOrder) {
  EXPECT_DOUBLE_EQ(compare_counts(10, 30, 400).difference, -0.05);
}

// Ten equal questions a cluster: a tenth as many independent ones, so sqrt(10) times as wide.
TEST(ComparePaired, DrawsClustersWhole) {
  const auto width = [](const PairedComparison& pair) {
    return pair.interval.high - pair.interval.low;
  };
  EXPECT_NEAR(width(compare_counts(30, 10, 400, 10)) / width(compare_counts(30, 10, 400)),
              std::sqrt(10.0), 0.25);
}

TEST(ComparePaired, IsCertainWhereBothAgree) {
  const PairedComparison pair = compare_counts(0, 0, 20);
  EXPECT_EQ(pair.difference, 0.0);
  EXPECT_EQ(pair.interval, (Interval{0.0, 0.0}));
  EXPECT_EQ(pair.p_value, 1.0);
}

TEST(Score, CountsByDomainByKindAndAltogether) {
  const std::vector<Question> questions = {
      question("a", "math", "sum"), question("b", "scenes", "count"),
      question("c", "math", "product"), question("d", "math", "sum")};
  std::vector<Prediction> predictions;
  for (const Question& asked : questions) {
    predictions.push_back({.id = asked.id, .correct = asked.id == "b" || asked.id == "d"});
  }
  const auto groups = score(questions, predictions);
  std::vector<std::string> texts;
  for (const ScoreGroup& group : groups) {
    texts.push_back(group.domain.value_or("-") + " " + group.kind.value_or("-") + " " +
                    std::to_string(group.correct) + "/" + std::to_string(group.count));
  }
  EXPECT_THAT(texts, ElementsAre("math - 1/3", "math sum 1/2", "math product 0/1", "scenes - 1/1",
                                 "scenes count 1/1", "- - 2/4"));
  EXPECT_DOUBLE_EQ(groups.front().accuracy, 1.0 / 3.0);
  EXPECT_EQ(groups.front().low, wilson_interval(1, 3).low);
  EXPECT_EQ(groups[3].high, 1.0);
}

TEST(PictureClusters, JoinQuestionsAboutTheSamePictures) {
  EXPECT_THAT(picture_clusters({question("a", "m", "k", {"1.png"}), question("b", "m", "k"),
                                question("c", "m", "k", {"1.png"}), question("d", "m", "k"),
                                question("e", "m", "k", {"1.png", "2.png"})}),
              ElementsAre(0, 1, 0, 3, 4));
}

TEST(ShuffledPictures, LeaveNoneInItsPlaceAndMixNoSizes) {
  std::vector<Question> questions;
  std::vector<std::string> sizes;
  for (int i = 0; i < 40; ++i) {  // two questions a picture, two sizes
    questions.push_back(question(std::to_string(i), "m", "k", {std::to_string(i / 2) + ".png"}));
    sizes.push_back(i % 4 < 2 ? "64x64" : "128x32");
  }
  questions.push_back(question("text", "m", "k"));
  sizes.emplace_back();
  for (const std::uint64_t seed : {0, 1, 2}) {
    const auto others = shuffled_pictures(questions, sizes, seed);
    std::map<std::filesystem::path, int> shown;
    for (std::size_t i = 0; i < 40; ++i) {
      EXPECT_NE(questions[others[i]].images, questions[i].images) << i;
      EXPECT_EQ(sizes[others[i]], sizes[i]);
      EXPECT_EQ(questions[others[i]].images, questions[others[i ^ 1U]].images);
      ++shown[questions[others[i]].images.front()];
    }
    EXPECT_EQ(shown.size(), 20U);  // every picture is shown, as often as before
    EXPECT_EQ(others[40], 40U);
    EXPECT_EQ(others, shuffled_pictures(questions, sizes, seed));
  }
  EXPECT_NE(shuffled_pictures(questions, sizes, 0), shuffled_pictures(questions, sizes, 1));
}

TEST(ShuffledPictures, RefuseAPictureWithoutPartner) {
  const std::vector<Question> questions = {question("a", "m", "k", {"1.png"}),
                                           question("b", "m", "k", {"2.png"}),
                                           question("c", "m", "k", {"3.png"})};
  EXPECT_THAT(test::input_error([&] {
                (void)shuffled_pictures(questions, {"8x8", "8x8", "9x9"}, 0);
              }),
              HasSubstr("c: no other question has pictures of this size (9x9)"));
}

}  // namespace
}  // namespace espalier
