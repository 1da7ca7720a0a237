// SPDX-License-Identifier: Apache-2.0
#include "espalier/model/sampling.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>

#include "espalier/base/error.h"

namespace espalier {

namespace {

constexpr float kCut = -std::numeric_limits<float>::infinity();

void penalize_repetition(std::span<float> logits, std::span<const std::int64_t> seen,
                         double penalty) {
  if (penalty == 1.0) return;
  std::vector<std::int64_t> distinct(seen.begin(), seen.end());
  std::ranges::sort(distinct);
  const auto duplicates = std::ranges::unique(distinct);
  distinct.erase(duplicates.begin(), duplicates.end());
  for (const std::int64_t id : distinct) {
    float& logit = logits[static_cast<std::size_t>(id)];
    logit = static_cast<float>(logit < 0 ? logit * penalty : logit / penalty);
  }
}

void keep_top_k(std::span<float> logits, std::int64_t k) {
  if (k <= 0 || k >= std::ssize(logits)) return;
  std::vector<float> sorted(logits.begin(), logits.end());
  std::ranges::nth_element(sorted, sorted.begin() + (k - 1), std::ranges::greater{});
  const float threshold = sorted[static_cast<std::size_t>(k - 1)];
  for (float& logit : logits) {
    if (logit < threshold) logit = kCut;
  }
}

std::vector<double> softmax(std::span<const float> logits) {
  const float largest = *std::ranges::max_element(logits);
  std::vector<double> probabilities;
  probabilities.reserve(logits.size());
  for (const float logit : logits) {
    probabilities.push_back(std::exp(static_cast<double>(logit) - static_cast<double>(largest)));
  }
  const double total = std::accumulate(probabilities.begin(), probabilities.end(), 0.0);
  for (double& probability : probabilities) probability /= total;
  return probabilities;
}

/// Drops the least likely tokens whose probabilities together do not exceed 1 - p.
void keep_top_p(std::span<float> logits, double p) {
  if (p >= 1.0) return;
  const std::vector<double> probabilities = softmax(logits);
  std::vector<std::size_t> ascending(logits.size());
  std::iota(ascending.begin(), ascending.end(), std::size_t{0});
  std::ranges::stable_sort(ascending, {}, [&](std::size_t id) { return logits[id]; });
  double sum = 0.0;
  for (std::size_t rank = 0; rank + 1 < ascending.size(); ++rank) {
    sum += probabilities[ascending[rank]];
    if (sum > 1.0 - p) break;
    logits[ascending[rank]] = kCut;
  }
}

}  // namespace

void check(const SamplingOptions& options) {
  require(options.temperature > 0,
          "--temperature: want a number > 0, found {}; for the most likely token at every step use "
          "--greedy",
          options.temperature);
  require(options.top_k >= 0, "--top-k: want 0 (off) or more, found {}", options.top_k);
  require(options.top_p > 0 && options.top_p <= 1, "--top-p: want a number in (0, 1], found {}",
          options.top_p);
  require(options.repetition_penalty > 0, "--repetition-penalty: want a number > 0, found {}",
          options.repetition_penalty);
}

std::vector<double> sampling_probabilities(std::span<float> logits,
                                           std::span<const std::int64_t> seen,
                                           const SamplingOptions& options) {
  penalize_repetition(logits, seen, options.repetition_penalty);
  for (float& logit : logits) logit = static_cast<float>(logit / options.temperature);
  keep_top_k(logits, options.top_k);
  keep_top_p(logits, options.top_p);
  return softmax(logits);
}

std::int64_t next_token(std::span<float> logits, std::span<const std::int64_t> seen,
                        const SamplingOptions& options, Random& random) {
  if (!options.do_sample) {
    penalize_repetition(logits, seen, options.repetition_penalty);
    return std::ranges::max_element(logits) - logits.begin();
  }
  const std::vector<double> probabilities = sampling_probabilities(logits, seen, options);
  double left = random.uniform();
  std::int64_t last = 0;
  for (std::size_t id = 0; id < probabilities.size(); ++id) {
    if (probabilities[id] <= 0.0) continue;
    last = static_cast<std::int64_t>(id);
    left -= probabilities[id];
    if (left < 0.0) break;
  }
  return last;
}

}  // namespace espalier
