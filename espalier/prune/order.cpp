// SPDX-License-Identifier: Apache-2.0
#include "espalier/prune/order.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>

namespace espalier {

std::vector<double> settle_ties(std::vector<double> scores) {
  std::vector<std::size_t> order(scores.size());
  std::iota(order.begin(), order.end(), 0U);
  std::ranges::sort(order, std::greater(), [&](std::size_t i) { return scores[i]; });
  double head = std::numeric_limits<double>::infinity();
  for (const std::size_t i : order) {
    if (head - scores[i] > kTie) head = scores[i];
    scores[i] = head;
  }
  return scores;
}

std::vector<double> comparable_scores(std::span<const std::int64_t> layers,
                                      const LayerScores& scores) {
  const auto score_of = [&](std::int64_t layer) { return scores[static_cast<std::size_t>(layer)]; };
  double lowest = std::numeric_limits<double>::infinity();
  for (const std::int64_t layer : layers)
    lowest = std::min(lowest, score_of(layer).value_or(lowest));
  const double missing = std::isfinite(lowest) ? lowest - 1.0 : 0.0;
  std::vector<double> values;
  values.reserve(layers.size());
  for (const std::int64_t layer : layers) values.push_back(score_of(layer).value_or(missing));
  return settle_ties(std::move(values));
}

std::vector<std::int64_t> order_layers(std::span<const std::int64_t> layers,
                                       const LayerScores& scores) {
  const std::vector<double> values = comparable_scores(layers, scores);
  std::vector<std::size_t> order(layers.size());
  std::iota(order.begin(), order.end(), 0U);
  std::ranges::sort(order, {}, [&](std::size_t i) { return std::pair(-values[i], layers[i]); });
  std::vector<std::int64_t> ordered;
  ordered.reserve(layers.size());
  for (const std::size_t i : order) ordered.push_back(layers[i]);
  return ordered;
}

}  // namespace espalier
