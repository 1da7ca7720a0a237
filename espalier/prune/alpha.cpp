// SPDX-License-Identifier: Apache-2.0
#include "espalier/prune/alpha.h"

#include <algorithm>

#include "espalier/prune/order.h"

namespace espalier {

namespace {

std::size_t index(std::int64_t layer) { return static_cast<std::size_t>(layer); }

/// The scores that both domains have, mixed.
LayerScores mix(const LayerScores& first, const LayerScores& second, double alpha) {
  LayerScores mixed(first.size());
  for (std::size_t l = 0; l < first.size(); ++l) {
    if (first[l] && second[l]) mixed[l] = alpha * *second[l] + (1.0 - alpha) * *first[l];
  }
  return mixed;
}

/// The alphas in (0, 1) at which two layers' scores cross, ascending, and 0 and 1 around them.
std::vector<double> breakpoints(const LayerScores& first, const LayerScores& second,
                                std::span<const std::int64_t> prunable) {
  std::vector<double> alphas = {0.0, 1.0};
  for (std::size_t i = 0; i < prunable.size(); ++i) {
    for (std::size_t j = i + 1; j < prunable.size(); ++j) {
      const std::size_t a = index(prunable[i]);
      const std::size_t b = index(prunable[j]);
      if (!first[a] || !first[b] || !second[a] || !second[b]) continue;
      const double at_zero = *first[a] - *first[b];
      const double at_one = *second[a] - *second[b];
      const double alpha = at_zero / (at_zero - at_one);
      if (alpha > 0.0 && alpha < 1.0) alphas.push_back(alpha);
    }
  }
  std::ranges::sort(alphas);
  const auto [begin, end] = std::ranges::unique(alphas);
  alphas.erase(begin, end);
  return alphas;
}

double sum_over(const std::vector<std::int64_t>& layers, const LayerScores& scores) {
  double sum = 0.0;
  for (const std::int64_t layer : layers) sum += scores[index(layer)].value_or(0.0);
  return sum;
}

void flag_pareto(std::vector<AlphaInterval>& intervals) {
  for (AlphaInterval& interval : intervals) {
    interval.pareto = std::ranges::none_of(intervals, [&](const AlphaInterval& other) {
      return other.first_score >= interval.first_score &&
             other.second_score >= interval.second_score &&
             (other.first_score > interval.first_score ||
              other.second_score > interval.second_score);
    });
  }
}

}  // namespace

std::vector<AlphaInterval> alpha_intervals(const LayerScores& first, const LayerScores& second,
                                           std::span<const std::int64_t> prunable, std::int64_t k) {
  std::vector<AlphaInterval> intervals;
  const auto add = [&](double lo, double hi, double alpha) {
    std::vector<std::int64_t> removed = order_layers(prunable, mix(first, second, alpha));
    removed.resize(index(k));
    std::ranges::sort(removed);
    if (!intervals.empty() && intervals.back().removed == removed) {
      intervals.back().hi = hi;
      return;
    }
    intervals.push_back({.lo = lo,
                         .hi = hi,
                         .removed = removed,
                         .first_score = sum_over(removed, first),
                         .second_score = sum_over(removed, second)});
  };
  const std::vector<double> alphas = breakpoints(first, second, prunable);
  add(0.0, 0.0, 0.0);
  for (std::size_t i = 0; i + 1 < alphas.size(); ++i) {
    add(alphas[i], alphas[i + 1], (alphas[i] + alphas[i + 1]) / 2.0);
  }
  add(1.0, 1.0, 1.0);
  flag_pareto(intervals);
  return intervals;
}

}  // namespace espalier
