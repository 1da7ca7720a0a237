// SPDX-License-Identifier: Apache-2.0
#include "espalier/prune/similarity.h"

#include <gmock/gmock.h>

#include <cmath>
#include <limits>

#include "espalier/base/random.h"
#include "espalier/prune/order.h"
#include "tests/records/random_record.h"

namespace espalier {
namespace {

using test::random_record;
using ::testing::ElementsAre;

/// A record of two subtasks in one domain: samples with similarities 1, 0.5 and 0 of the first, and
/// 0.25 of the second, at layer 0; at layer 1 the second sample's is missing; layer 2 is not
/// measured.
ProbeRecord small_record() {
  const float none = std::numeric_limits<float>::quiet_NaN();
  ProbeRecord record{.model = {.num_layers = 3, .hidden_size = 1},
                     .domains = {{.name = "math", .subtasks = {{"a", "", 3}, {"b", "", 1}}}},
                     .measured_layers = {0, 1},
                     .pictures = {{0, "p", ""}, {0, "q", ""}}};
  record.samples.subtask = {0, 0, 0, 1};
  record.samples.image = {0, 1, 0, 1};
  record.samples.similarity = {1.0F, 1.0F, none, 0.5F,  none, none,
                               0.0F, 0.5F, none, 0.25F, 0.0F, none};
  record.sums = zero_sums(2, 3, 1);
  record.sums.count = {3, 1};
  return record;
}

TEST(Similarity, OfADomainIsTheMeanOverSamples) {
  const SimilarityMeans means = similarity_means(small_record(), Tokens::All, Averaging::Samples);
  // (1 + 0.5 + 0 + 0.25) / 4; without the missing one (1 + 0.5 + 0) / 3.
  EXPECT_THAT(means.domain[0], ElementsAre(0.4375, 0.5, std::nullopt));
  EXPECT_EQ(means.all, means.domain[0]);
}

TEST(Similarity, CanCountEachSubtaskTheSame) {
  const SimilarityMeans means = similarity_means(small_record(), Tokens::All, Averaging::Subtasks);
  // (1.5 / 3 + 0.25) / 2; (1.5 / 2 + 0) / 2.
  EXPECT_THAT(means.domain[0], ElementsAre(0.375, 0.375, std::nullopt));
}

TEST(Similarity, IsTheSameHoweverItIsAveragedWhereSubtasksAreOfOneSize) {
  const ProbeRecord record = random_record(7, 5);
  const auto by_samples = similarity_means(record, Tokens::Text, Averaging::Samples);
  const auto by_subtasks = similarity_means(record, Tokens::Text, Averaging::Subtasks);
  for (std::size_t d = 0; d < 2; ++d) {
    for (std::size_t l = 0; l < 5; ++l) {
      EXPECT_NEAR(*by_samples.domain[d][l], *by_subtasks.domain[d][l], 1e-15);
    }
  }
}

TEST(Similarity, CanBeTakenAgainWithOtherWeightsOfThePictures) {
  // Picture q alone, twice: (0.5 + 0.25) / 2; at layer 1 only the second has a number.
  const SimilarityTable table = tabulate(small_record(), Tokens::All, Averaging::Samples);
  const std::vector<std::vector<std::uint32_t>> weights = {{0, 2}, {1, 1}};
  const auto sums = add_up(table, weights);
  EXPECT_THAT(take_means(table, sums[0], 1).domain[0], ElementsAre(0.375, 0.0, std::nullopt));
  EXPECT_THAT(take_means(table, sums[1], 1).domain[0], ElementsAre(0.4375, 0.5, std::nullopt));
}

TEST(ZScores, AreOverTheGivenLayersAlone) {
  // 1, 2, 3: mean 2, deviation sqrt(2 / 3).
  const LayerScores scores = {100.0, 1.0, 2.0, 3.0, -100.0};
  const std::vector<std::int64_t> prunable = {1, 2, 3};
  const LayerScores z = z_scores(scores, prunable);
  EXPECT_EQ(z[0], std::nullopt);
  EXPECT_NEAR(*z[1], -std::sqrt(1.5), 1e-7);
  EXPECT_EQ(*z[2], 0.0);
  EXPECT_NEAR(*z[3], std::sqrt(1.5), 1e-7);
}

TEST(ZScores, AreZeroWhereScoresTie) {
  const LayerScores scores = {0.1 + 0.2, 0.3, std::nullopt, 0.3};
  const std::vector<std::int64_t> prunable = {0, 1, 2, 3};
  EXPECT_THAT(z_scores(scores, prunable), ElementsAre(0.0, 0.0, std::nullopt, 0.0));
}

TEST(ZScores, KeepTheOrderToTheBit) {
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    Random random(seed);
    LayerScores scores(34);
    std::vector<std::int64_t> layers;
    for (std::size_t l = 0; l < 34; ++l) {
      // Some scores tie, some nearly.
      scores[l] = 0.9 + 1e-3 * static_cast<double>(random.below(12)) + 0.6e-12 * random.uniform();
      layers.push_back(static_cast<std::int64_t>(l));
    }
    EXPECT_EQ(order_layers(layers, z_scores(scores, layers)), order_layers(layers, scores));
  }
}

}  // namespace
}  // namespace espalier
