// SPDX-License-Identifier: Apache-2.0
#include "espalier/eval/metrics.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "espalier/base/error.h"
#include "espalier/base/random.h"

namespace espalier {

namespace {

constexpr double kZ = 1.959963984540054;  // the normal distribution's 97.5 % point

/// What names a question's pictures: their paths.
std::string picture_key(const Question& question) {
  std::string key;
  for (const auto& image : question.images) key += image.string() + '\n';
  return key;
}

ScoreGroup group_over(std::optional<std::string> domain, std::optional<std::string> kind,
                      const std::vector<Question>& questions,
                      const std::vector<Prediction>& predictions) {
  ScoreGroup group{.domain = std::move(domain), .kind = std::move(kind)};
  for (std::size_t i = 0; i < questions.size(); ++i) {
    if ((group.domain && questions[i].domain != *group.domain) ||
        (group.kind && questions[i].kind != *group.kind)) {
      continue;
    }
    ++group.count;
    if (predictions[i].correct) ++group.correct;
  }
  group.accuracy = static_cast<double>(group.correct) / static_cast<double>(group.count);
  const Interval interval = wilson_interval(group.correct, group.count);
  group.low = std::min(interval.low, group.accuracy);  // rounding, at 0 and 1
  group.high = std::max(interval.high, group.accuracy);
  return group;
}

void add_once(std::vector<std::string>& names, const std::string& name) {
  if (std::ranges::find(names, name) == names.end()) names.push_back(name);
}

/// The value below which a share of sorted values lies, between neighbours on a straight line.
double quantile(const std::vector<double>& sorted, double share) {
  const double place = share * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<std::size_t>(place);
  const std::size_t above = std::min(below + 1, sorted.size() - 1);
  return std::lerp(sorted[below], sorted[above], place - static_cast<double>(below));
}

/// A cluster's questions, and the sum of their differences.
struct ClusterSum {
  std::int64_t count = 0;
  std::int64_t difference = 0;
};

Interval bootstrap_interval(const std::vector<ClusterSum>& clusters, const PairedOptions& options) {
  Random random(options.seed);
  std::vector<double> differences;
  differences.reserve(static_cast<std::size_t>(options.resamples));
  for (std::int64_t resample = 0; resample < options.resamples; ++resample) {
    ClusterSum total;
    for (std::size_t draw = 0; draw < clusters.size(); ++draw) {
      const ClusterSum& drawn = clusters[random.below(clusters.size())];
      total.count += drawn.count;
      total.difference += drawn.difference;
    }
    differences.push_back(static_cast<double>(total.difference) / static_cast<double>(total.count));
  }
  std::ranges::sort(differences);
  return {.low = quantile(differences, 0.025), .high = quantile(differences, 0.975)};
}

}  // namespace

bool is_correct(const Question& question, std::string_view answer) {
  constexpr std::string_view kMark = "Answer:";
  if (question.match == AnswerMatch::Final) {
    const std::size_t mark = answer.rfind(kMark);
    if (mark == std::string_view::npos) return false;
    answer.remove_prefix(mark + kMark.size());
  }
  return std::ranges::find(question.answers, without_outer_space(answer)) != question.answers.end();
}

Interval wilson_interval(std::int64_t correct, std::int64_t count) {
  assume(0 <= correct && correct <= count && count >= 1, "a share is of something");
  const auto n = static_cast<double>(count);
  const double p = static_cast<double>(correct) / n;
  const double middle = p + kZ * kZ / (2 * n);
  const double half = kZ * std::sqrt(p * (1 - p) / n + kZ * kZ / (4 * n * n));
  const double scale = 1 + kZ * kZ / n;
  return {.low = std::max(0.0, (middle - half) / scale),
          .high = std::min(1.0, (middle + half) / scale)};
}

std::vector<ScoreGroup> score(const std::vector<Question>& questions,
                              const std::vector<Prediction>& predictions) {
  assume(questions.size() == predictions.size(), "each question has an answer");
  std::vector<std::string> domains;
  std::map<std::string, std::vector<std::string>> kinds;
  for (const Question& question : questions) {
    add_once(domains, question.domain);
    add_once(kinds[question.domain], question.kind);
  }
  std::vector<ScoreGroup> groups;
  for (const std::string& domain : domains) {
    groups.push_back(group_over(domain, std::nullopt, questions, predictions));
    for (const std::string& kind : kinds[domain]) {
      groups.push_back(group_over(domain, kind, questions, predictions));
    }
  }
  groups.push_back(group_over(std::nullopt, std::nullopt, questions, predictions));
  return groups;
}

PairedComparison compare_paired(const std::vector<bool>& first, const std::vector<bool>& second,
                                std::span<const std::int64_t> clusters,
                                const PairedOptions& options) {
  assume(first.size() == second.size() && first.size() == clusters.size() && !first.empty(),
         "two answers to each question");
  PairedComparison result{.count = std::ssize(first)};
  std::map<std::int64_t, ClusterSum> sums;
  for (std::size_t i = 0; i < first.size(); ++i) {
    const std::int64_t difference = (first[i] ? 1 : 0) - (second[i] ? 1 : 0);
    result.first_only += difference > 0 ? 1 : 0;
    result.second_only += difference < 0 ? 1 : 0;
    sums[clusters[i]].count += 1;
    sums[clusters[i]].difference += difference;
  }
  std::vector<ClusterSum> list;
  for (const auto& [cluster, sum] : sums) list.push_back(sum);
  result.difference = static_cast<double>(result.first_only - result.second_only) /
                      static_cast<double>(result.count);
  result.interval = bootstrap_interval(list, options);
  result.p_value = mcnemar_exact(result.first_only, result.second_only);
  return result;
}

double mcnemar_exact(std::int64_t b, std::int64_t c) {
  const std::int64_t n = b + c;
  const double log_all = static_cast<double>(n) * std::log(2.0);
  const auto log_factorial = [](std::int64_t k) {
    return std::lgamma(static_cast<double>(k) + 1.0);
  };
  double tail = 0.0;
  for (std::int64_t k = 0; k <= std::min(b, c); ++k) {
    tail += std::exp(log_factorial(n) - log_factorial(k) - log_factorial(n - k) - log_all);
  }
  return std::min(1.0, 2.0 * tail);
}

std::vector<std::int64_t> picture_clusters(const std::vector<Question>& questions) {
  std::map<std::string, std::int64_t> numbers;
  std::vector<std::int64_t> clusters;
  for (std::size_t i = 0; i < questions.size(); ++i) {
    const auto own = static_cast<std::int64_t>(i);
    clusters.push_back(questions[i].images.empty()
                           ? own
                           : numbers.emplace(picture_key(questions[i]), own).first->second);
  }
  return clusters;
}

std::vector<std::size_t> shuffled_pictures(const std::vector<Question>& questions,
                                           const std::vector<std::string>& sizes,
                                           std::uint64_t seed) {
  const std::vector<std::int64_t> clusters = picture_clusters(questions);
  // Of each size, the first question about each picture.
  std::map<std::string, std::vector<std::size_t>> pools;
  std::vector<std::size_t> others(questions.size());
  for (std::size_t i = 0; i < questions.size(); ++i) {
    others[i] = i;
    const bool first = std::cmp_equal(clusters[i], i);
    if (!questions[i].images.empty() && first) pools[sizes[i]].push_back(i);
  }
  Random random(seed);
  for (auto& [size, pool] : pools) {
    require(pool.size() > 1,
            "--shuffle-pictures: {}: no other question has pictures of this size ({})",
            questions[pool.front()].place, size);
    // Sattolo's shuffle: one cycle through all, so that no picture stays.
    std::vector<std::size_t> cycle = pool;
    for (std::size_t i = cycle.size() - 1; i > 0; --i) {
      std::swap(cycle[i], cycle[random.below(i)]);
    }
    for (std::size_t i = 0; i < pool.size(); ++i) others[pool[i]] = cycle[i];
  }
  for (std::size_t i = 0; i < questions.size(); ++i) {
    if (!questions[i].images.empty()) others[i] = others[static_cast<std::size_t>(clusters[i])];
  }
  return others;
}

}  // namespace espalier
