// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "espalier/data/questions.h"
#include "espalier/records/scoreboard.h"

/// What answers are worth, and how sure that is. Needs no LibTorch.
namespace espalier {

/// Whether an answer is one of those that a question accepts (data/questions.h).
bool is_correct(const Question& question, std::string_view answer);

/// A share with an interval, both in [0, 1].
struct Interval {
  double low;
  double high;
  bool operator==(const Interval&) const = default;
};

/// Wilson's score interval (1927) of a share: with p = correct / count and z the normal quantile,
/// (p + z^2 / 2n +- z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n), cut at 0 and 1. Of level
/// 0.95, z = 1.959964.
///
/// \param correct  0 to count
/// \param count    at least 1
Interval wilson_interval(std::int64_t correct, std::int64_t count);

/// The groups of a scoreboard: each domain, in order of its first question, then its kinds in order
/// of their first questions; last, all together.
///
/// \param predictions  one a question, in their order
std::vector<ScoreGroup> score(const std::vector<Question>& questions,
                              const std::vector<Prediction>& predictions);

/// How two models compare over the same questions.
struct PairedComparison {
  std::int64_t count = 0;
  std::int64_t first_only = 0;   ///< b: right in the first, wrong in the second
  std::int64_t second_only = 0;  ///< c: wrong in the first, right in the second
  double difference = 0.0;       ///< (b - c) / count: the first's accuracy minus the second's
  Interval interval{};           ///< 95 %: percentiles of the difference over resampled clusters
  double p_value = 1.0;          ///< McNemar's exact test: two-sided binomial of b among b + c
};

struct PairedOptions {
  std::int64_t resamples = 10'000;
  std::uint64_t seed = 0;
};

/// Compares answers question by question, which sees far smaller differences than two intervals
/// side by side. Resamples draw clusters (the questions about one picture), since answers about the
/// same picture are not independent; McNemar's test takes questions for independent.
///
/// \param first, second  whether each question was answered rightly; equally long, not empty
/// \param clusters       of each question, any numbers
PairedComparison compare_paired(const std::vector<bool>& first, const std::vector<bool>& second,
                                std::span<const std::int64_t> clusters,
                                const PairedOptions& options = {});

/// McNemar's exact p-value, two-sided: min(1, 2 P(X <= min(b, c))), X binomial with b + c draws of
/// one half.
double mcnemar_exact(std::int64_t b, std::int64_t c);

/// For each question, a number that it shares with those about the same pictures alone; a question
/// without pictures has one of its own.
std::vector<std::int64_t> picture_clusters(const std::vector<Question>& questions);

/// For each question, the picture of another one, as a control that sees nothing of its own: within
/// each set of pictures of equal sizes, a random cycle through all of them, so that none stays in
/// its place. Questions about the same pictures get the same others.
///
/// \param sizes        a text for each question that is equal where pictures may take each other's
///                     place; not looked at for questions without pictures
/// \return             for each question, the one whose pictures it gets; itself where it has none
/// \throws InputError  naming a question whose pictures have no partner
std::vector<std::size_t> shuffled_pictures(const std::vector<Question>& questions,
                                           const std::vector<std::string>& sizes,
                                           std::uint64_t seed);

}  // namespace espalier
