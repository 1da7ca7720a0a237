// SPDX-License-Identifier: Apache-2.0
#include "espalier/prune/criteria.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>
#include <set>

#include "espalier/prune/order.h"
#include "tests/records/random_record.h"
#include "tests/support.h"

namespace espalier {
namespace {

using nlohmann::json;
using test::input_error;
using test::random_record;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

const std::vector<std::int64_t> kPrunable = {1, 2, 3, 4};

Evidence evidence_of(const ProbeRecord& record) {
  Evidence evidence{.prunable = kPrunable};
  for (const Tokens tokens : {Tokens::All, Tokens::Visual, Tokens::Text}) {
    evidence.means[static_cast<std::size_t>(tokens)] =
        similarity_means(record, tokens, Averaging::Samples);
  }
  return evidence;
}

CriterionScores scores_of(const ProbeRecord& record, const std::string& name,
                          const CriterionOptions& options = {}) {
  const auto criteria = list_criteria(record, options);
  return find_criterion(criteria, name).score(evidence_of(record));
}

std::string refusal(const ProbeRecord& record, const std::string& name,
                    const CriterionOptions& options = {}) {
  return input_error([&] { (void)scores_of(record, name, options); });
}

TEST(Criteria, HaveNamesThatDifferAndScorePrunableLayersAlone) {
  const ProbeRecord record = random_record(1, 4);
  const Evidence evidence = evidence_of(record);
  std::set<std::string> names;
  for (const Criterion& criterion : list_criteria(record, {})) {
    SCOPED_TRACE(criterion.name);
    EXPECT_TRUE(names.insert(criterion.name).second);
    EXPECT_TRUE(json::parse(criterion.parameters).is_object());
    EXPECT_EQ(criterion.obstacle, "");
    const CriterionScores result = criterion.score(evidence);
    ASSERT_EQ(result.scores.size(), 6U);
    EXPECT_EQ(result.scores[0], std::nullopt);
    EXPECT_EQ(result.scores[5], std::nullopt);
    if (criterion.name.starts_with("cka")) continue;  // may be undefined on drawn numbers
    for (const std::int64_t layer : kPrunable) {
      EXPECT_TRUE(result.scores[static_cast<std::size_t>(layer)].has_value());
    }
  }
  EXPECT_THAT(paper_criteria(record),
              ElementsAre("math", "nonmath", "mixed", "cka", "interlace-paper", "random"));
  for (const std::string& name : paper_criteria(record)) EXPECT_TRUE(names.contains(name));
}

TEST(Criteria, OfADomainAreItsMeanSimilarity) {
  const ProbeRecord record = random_record(2, 4);
  const ProbeSamples& samples = record.samples;
  for (const auto& [name, column] : {std::pair{"nonmath", &samples.similarity},
                                     {"nonmath:visual", &samples.similarity_visual},
                                     {"nonmath:text", &samples.similarity_text}}) {
    double sum = 0.0;
    for (std::size_t s = 0; s < samples.size(); ++s) {
      if (samples.subtask[s] >= 3) sum += static_cast<double>((*column)[s * 6 + 2]);
    }
    EXPECT_NEAR(*scores_of(record, name).scores[2], sum / 8.0, 1e-15);  // 4 pictures, 2 prompts
  }
  const double all =
      std::accumulate(record.samples.similarity.begin(), record.samples.similarity.end(), 0.0,
                      [i = 0](double sum, float x) mutable {
                        return i++ % 6 == 2 ? sum + static_cast<double>(x) : sum;
                      });
  EXPECT_NEAR(*scores_of(record, "block-influence").scores[2], all / 20.0, 1e-15);
}

/// Two domains with these similarities of the prunable layers 1 to 5 of 7.
Evidence two_domains(const std::vector<double>& math, const std::vector<double>& nonmath) {
  Evidence evidence{.prunable = {1, 2, 3, 4, 5}};
  SimilarityMeans& means = evidence.means[0];
  means.all = LayerScores(7);
  for (const auto* values : {&math, &nonmath}) {
    LayerScores scores(7, -50.0);  // what is not prunable must not matter
    std::ranges::copy(*values, scores.begin() + 1);
    means.domain.push_back(scores);
  }
  return evidence;
}

const std::vector<double> kMath = {.90, .94, .97, .96, .98};
const std::vector<double> kNonmath = {.95, .93, .92, .97, .96};

LayerScores mixed(const ProbeRecord& record, const CriterionOptions& options,
                  const Evidence& evidence = two_domains(kMath, kNonmath)) {
  const auto criteria = list_criteria(record, options);
  return find_criterion(criteria, "mixed").score(evidence).scores;
}

ProbeRecord record_of_seven_layers() {
  ProbeRecord record = random_record(1);
  record.model.num_layers = 7;
  return record;
}

TEST(Mixed, IsEquationNine) {
  // Deviation over n, not n - 1, which changes no order; computed beforehand.
  const LayerScores scores = mixed(record_of_seven_layers(), {});
  const std::vector<double> expected = {-.379364, -.709929, -.769146, 1.011861, .846578};
  for (std::size_t i = 0; i < 5; ++i) EXPECT_NEAR(*scores[i + 1], expected[i], 2e-6);
  EXPECT_THAT(order_layers(std::vector<std::int64_t>{1, 2, 3, 4, 5}, scores),
              ElementsAre(4, 5, 1, 2, 3));
}

TEST(Mixed, AtZeroAndOneIsOneDomainAlone) {
  const ProbeRecord record = record_of_seven_layers();
  const Evidence evidence = two_domains(kMath, kNonmath);
  EXPECT_EQ(mixed(record, {.alpha = 0.0}),
            z_scores(evidence.means[0].domain[0], evidence.prunable));
  EXPECT_EQ(mixed(record, {.alpha = 1.0}),
            z_scores(evidence.means[0].domain[1], evidence.prunable));
}

TEST(Mixed, TakesWeightsInThePlaceOfAlpha) {
  ProbeRecord record = record_of_seven_layers();
  const LayerScores by_alpha = mixed(record, {.alpha = 0.75});
  EXPECT_EQ(mixed(record, {.weights = {{"math", 0.25}, {"nonmath", 0.75}}}), by_alpha);
  EXPECT_EQ(mixed(record, {.weights = {{"math", 1}, {"nonmath", 3}}}), by_alpha);
  record.domains[0].name = "charts";
  record.domains[1].name = "maps";
  EXPECT_EQ(mixed(record, {.alpha = 0.75}), by_alpha);  // alpha weights the second
  record.domains[0].name = "nonmath";
  record.domains[1].name = "math";
  EXPECT_EQ(mixed(record, {.alpha = 0.25}), by_alpha);  // ... or the one that is called nonmath
}

TEST(Mixed, RefusesWeightsThatDoNotFit) {
  ProbeRecord record = random_record(1);
  EXPECT_THAT(refusal(record, "mixed", {.alpha = 1.5}), HasSubstr("from 0 to 1, found 1.5"));
  EXPECT_THAT(refusal(record, "mixed", {.weights = {{"math", 1}}}),
              HasSubstr("nonmath is missing"));
  EXPECT_THAT(refusal(record, "mixed", {.weights = {{"math", 1}, {"nonmth", 1}}}),
              HasSubstr("did you mean nonmath?"));
  EXPECT_THAT(refusal(record, "mixed", {.weights = {{"math", 1}, {"math", 1}}}),
              HasSubstr("math is there twice"));
  EXPECT_THAT(refusal(record, "mixed", {.weights = {{"math", -1}, {"nonmath", 1}}}),
              HasSubstr("0 or more, found -1"));
  EXPECT_THAT(refusal(record, "mixed", {.weights = {{"math", 0}, {"nonmath", 0}}}),
              HasSubstr("all are 0"));
  EXPECT_THAT(refusal(record, "mixed", {.alpha = 0.5, .weights = {{"math", 1}, {"nonmath", 1}}}),
              HasSubstr("exclude each other"));
  record.domains.push_back({.name = "charts", .subtasks = {}});
  EXPECT_THAT(refusal(record, "mixed", {.alpha = 0.5}), HasSubstr("this record has 3"));
  EXPECT_THAT(refusal(record, "mixed"), HasSubstr("this record has 3"));
}

TEST(Criteria, OfWindowsAreMeansOverAllSamples) {
  const ProbeRecord record = random_record(3);
  const auto mean = [&](const std::vector<double>& sums, std::size_t i, std::size_t j) {
    double sum = 0.0;
    for (std::size_t g = 0; g < 5; ++g) sum += sums[(g * 6 + i) * 6 + j];
    return sum / 15.0;  // 3 pictures, 3 + 2 prompts
  };
  const auto& cosines = record.sums.window_cosine;
  const CriterionScores window = scores_of(record, "window");
  EXPECT_NEAR(*window.scores[2], mean(cosines, 2, 3), 1e-15);
  EXPECT_NEAR(window.window_scores[2 * 6 + 5], mean(cosines, 2, 5), 1e-15);
  const CriterionScores angular = scores_of(record, "angular");
  EXPECT_NEAR(*angular.scores[4], 1.0 - mean(record.sums.last_angle, 4, 5), 1e-15);
  EXPECT_NEAR(angular.window_scores[1 * 6 + 3], 1.0 - mean(record.sums.last_angle, 1, 3), 1e-15);
  const CriterionScores interlace = scores_of(record, "interlace");
  EXPECT_NEAR(*interlace.scores[4], mean(cosines, 4, 5), 1e-15);
  EXPECT_NEAR(*interlace.pair_scores[3], mean(cosines, 3, 5), 1e-15);
  EXPECT_NEAR(*interlace.triplet_scores[2], mean(cosines, 2, 5), 1e-15);
  EXPECT_EQ(interlace.pair_scores[4], std::nullopt);  // would end behind the last layer
  EXPECT_EQ(interlace.triplet_scores[3], std::nullopt);
}

TEST(Criteria, OfChangesRankTheSmallestChangeFirst) {
  const ProbeRecord record = random_record(3);
  const auto mean = [&](const std::vector<double>& sums, std::size_t layer) {
    double sum = 0.0;
    for (std::size_t g = 0; g < 5; ++g) sum += sums[g * 6 + layer];
    return sum / 15.0;
  };
  EXPECT_NEAR(*scores_of(record, "norm-ratio").scores[2], -mean(record.sums.norm_ratio, 2), 1e-15);
  EXPECT_NEAR(*scores_of(record, "l2").scores[2], -mean(record.sums.l2, 2), 1e-15);
  EXPECT_NEAR(*scores_of(record, "attention-cosine").scores[2],
              mean(record.sums.attention_cosine, 2), 1e-15);
  EXPECT_NEAR(*scores_of(record, "mlp-cosine").scores[2], mean(record.sums.mlp_cosine, 2), 1e-15);
  EXPECT_THAT(order_layers(kPrunable, scores_of(record, "tail").scores), ElementsAre(4, 3, 2, 1));
}

TEST(Criteria, OfSampleCkaAreUndefinedWhereAnEstimateIsNotPositive) {
  ProbeRecord record = random_record(3, 4);
  ProbeSums& sums = record.sums;
  for (auto* values : {&sums.hsic_xy, &sums.hsic_xx, &sums.hsic_yy}) std::ranges::fill(*values, 0);
  for (std::size_t g = 0; g < 2; ++g) {  // (1 + 2) / sqrt((4 + 5) * (2 + 2)) = 0.5
    sums.hsic_xy[g * 6 + 1] = g == 0 ? 1.0 : 2.0;
    sums.hsic_xx[g * 6 + 1] = g == 0 ? 4.0 : 5.0;
    sums.hsic_yy[g * 6 + 1] = 2.0;
  }
  sums.hsic_xy[2] = sums.hsic_xx[2] = 1.0;
  sums.hsic_yy[2] = -1.0;
  sums.hsic_xy[3] = std::numeric_limits<double>::quiet_NaN();
  sums.hsic_xx[3] = sums.hsic_yy[3] = 1.0;
  const LayerScores scores = scores_of(record, "cka-sample").scores;
  EXPECT_NEAR(*scores[1], 0.5, 1e-15);
  for (const std::size_t layer : {2U, 3U, 4U}) EXPECT_EQ(scores[layer], std::nullopt);
  EXPECT_THAT(order_layers(kPrunable, scores), ElementsAre(1, 2, 3, 4));
}

TEST(Random, IsAPermutationThatDependsOnTheSeedAlone) {
  const ProbeRecord record = random_record(1);
  std::set<std::vector<std::int64_t>> orders;
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    const auto order = order_layers(kPrunable, scores_of(record, "random", {.seed = seed}).scores);
    EXPECT_TRUE(std::ranges::is_permutation(order, kPrunable));
    EXPECT_EQ(order, order_layers(kPrunable,
                                  scores_of(random_record(9), "random", {.seed = seed}).scores));
    orders.insert(order);
  }
  EXPECT_EQ(orders.size(), 24U);  // every order of four comes up
}

TEST(Criteria, NameTheNearestOfAnUnknownOne) {
  const ProbeRecord record = random_record(1);
  EXPECT_THAT(refusal(record, "maths"), HasSubstr("did you mean math?"));
  EXPECT_THAT(refusal(record, "interlace-papr"), HasSubstr("did you mean interlace-paper?"));
  EXPECT_THAT(refusal(record, "xyzzyxyzzy"),
              AllOf(HasSubstr("unknown criterion"), HasSubstr("--all")));
}

TEST(Criteria, SayWhatARecordLacksForThem) {
  ProbeRecord record = random_record(1, 3);
  record.sums.count = {3, 3, 0, 0, 0};
  EXPECT_THAT(refusal(record, "cka"), AllOf(HasSubstr("at least 3 subtasks"), HasSubstr("has 2"),
                                            HasSubstr("more prompts")));
  record.sums.count = {3, 3, 3, 0, 0};
  (void)scores_of(record, "cka");
  EXPECT_THAT(refusal(record, "cka-debiased"), AllOf(HasSubstr("at least 4"), HasSubstr("has 3")));
  EXPECT_THAT(refusal(record, "cka-sample"), AllOf(HasSubstr("at least 4"), HasSubstr("has 3")));
  std::ranges::fill(record.samples.visual_tokens, 0);
  EXPECT_THAT(refusal(record, "math:visual"),
              HasSubstr("no sample of the domain math has picture"));
  record.samples.visual_tokens = record.samples.tokens;
  EXPECT_THAT(refusal(record, "math:text"), HasSubstr("has text tokens"));
  for (ProbeSubtask& subtask : record.domains[1].subtasks) subtask.samples = 0;
  EXPECT_THAT(refusal(record, "nonmath"), HasSubstr("nonmath has no sample"));
  EXPECT_THAT(refusal(record, "mixed"), HasSubstr("nonmath has no sample"));
}

TEST(Criteria, OfADomainThatHasACriterionsNameAreCalledDomain) {
  ProbeRecord record = random_record(1);
  record.domains[0].name = "random";
  record.domains[1].name = "cka";
  const auto criteria = list_criteria(record, {});
  EXPECT_TRUE(find_criterion(criteria, "domain:random").tokens.has_value());
  EXPECT_FALSE(find_criterion(criteria, "random").tokens.has_value());
  EXPECT_EQ(paper_criteria(record)[1], "domain:cka");
}

}  // namespace
}  // namespace espalier
