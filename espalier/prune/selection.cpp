// SPDX-License-Identifier: Apache-2.0
#include "espalier/prune/selection.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <optional>

#include "espalier/base/error.h"
#include "espalier/base/words.h"
#include "espalier/prune/order.h"

namespace espalier {

namespace {

using Layers = std::vector<std::int64_t>;

constexpr double kImpossible = -std::numeric_limits<double>::infinity();

std::size_t index(std::int64_t layer) { return static_cast<std::size_t>(layer); }

/// Scores [L] with ties settled; none where a layer is not prunable.
LayerScores settled(const Candidates& candidates) {
  LayerScores values(candidates.scores.size());
  const auto scores = comparable_scores(candidates.prunable, candidates.scores);
  for (std::size_t i = 0; i < scores.size(); ++i) values[index(candidates.prunable[i])] = scores[i];
  return values;
}

double sum_of(const Layers& layers, const LayerScores& values) {
  double sum = 0.0;
  for (const std::int64_t layer : layers) sum += values[index(layer)].value();
  return sum;
}

Layers top(const Candidates& candidates, std::int64_t k) {
  Layers layers = order_layers(candidates.prunable, candidates.scores);
  layers.resize(index(k));
  std::ranges::sort(layers);
  return layers;
}

// --- contiguous ---

std::int64_t longest_run(const Layers& prunable) {
  std::int64_t longest = 0;
  std::int64_t run = 0;
  for (std::size_t i = 0; i < prunable.size(); ++i) {
    run = i > 0 && prunable[i] == prunable[i - 1] + 1 ? run + 1 : 1;
    longest = std::max(longest, run);
  }
  return longest;
}

double block_score(const Candidates& candidates, const LayerScores& values, std::int64_t first,
                   std::int64_t k) {
  const std::size_t layers = values.size();
  if (!candidates.window_scores.empty() && index(first + k) < layers) {
    return candidates.window_scores[index(first) * layers + index(first + k)];
  }
  double sum = 0.0;
  for (std::int64_t layer = first; layer < first + k; ++layer) sum += *values[index(layer)];
  return sum;
}

Layers best_block(const Candidates& candidates, std::int64_t k) {
  const LayerScores values = settled(candidates);
  const Layers& prunable = candidates.prunable;
  std::vector<std::pair<std::int64_t, double>> blocks;  // first layer, score
  for (std::size_t i = 0; i + index(k) <= prunable.size(); ++i) {
    const bool whole = prunable[i + index(k) - 1] == prunable[i] + k - 1;
    if (whole) blocks.emplace_back(prunable[i], block_score(candidates, values, prunable[i], k));
  }
  require(!blocks.empty(),
          "rule contiguous: no block of {} prunable layers; the longest has {}, so the largest K "
          "is {}",
          k, longest_run(prunable), longest_run(prunable));
  double best = kImpossible;
  for (const auto& [first, score] : blocks) best = std::max(best, score);
  const auto chosen =
      std::ranges::find_if(blocks, [&](const auto& block) { return block.second >= best - kTie; });
  Layers layers;
  for (std::int64_t i = 0; i < k; ++i) layers.push_back(chosen->first + i);
  return layers;
}

// --- min-gap and max-run ---

/// Which removals may follow one another, as an automaton that starts in state 0 and reads the
/// layers in order.
struct Spacing {
  std::int64_t states;
  std::int64_t after_removal;  ///< min-gap: the state that a removal leads to; max-run: -1
  [[nodiscard]] bool may_remove(std::int64_t state) const {
    return after_removal >= 0 ? state == 0 : state + 1 < states;
  }
  [[nodiscard]] std::int64_t removed(std::int64_t state) const {
    return after_removal >= 0 ? after_removal : state + 1;
  }
  [[nodiscard]] std::int64_t kept(std::int64_t state) const {
    return after_removal >= 0 ? std::max<std::int64_t>(state - 1, 0) : 0;
  }
};

/// State: how many layers must still be kept.
Spacing at_least_between(std::int64_t gap) { return {.states = gap + 1, .after_removal = gap}; }

/// State: how many neighbours have just been removed.
Spacing at_most_in_a_row(std::int64_t run) { return {.states = run + 1, .after_removal = -1}; }

/// The highest sums of scores that can still be had, by dynamic programming from the last layer.
class BestSums {
 public:
  BestSums(const LayerScores& values, std::int64_t most, const Spacing& spacing)
      : values_(values),
        spacing_(spacing),
        most_(most),
        sums_((values.size() + 1) * index(most + 1) * index(spacing.states), kImpossible) {
    const auto layers = std::ssize(values);
    for (std::int64_t state = 0; state < spacing.states; ++state)
      sums_[place(layers, 0, state)] = 0;
    for (std::int64_t layer = layers - 1; layer >= 0; --layer) {
      for (std::int64_t k = 0; k <= most; ++k) {
        for (std::int64_t state = 0; state < spacing.states; ++state) {
          sums_[place(layer, k, state)] =
              std::max(if_removed(layer, k, state), if_kept(layer, k, state));
        }
      }
    }
  }

  /// With k layers to remove from `layer` on; impossible where they do not fit.
  [[nodiscard]] double at(std::int64_t layer, std::int64_t k, std::int64_t state) const {
    return sums_[place(layer, k, state)];
  }
  [[nodiscard]] double if_kept(std::int64_t layer, std::int64_t k, std::int64_t state) const {
    return at(layer + 1, k, spacing_.kept(state));
  }
  [[nodiscard]] double if_removed(std::int64_t layer, std::int64_t k, std::int64_t state) const {
    const auto& value = values_[index(layer)];
    if (!value || k == 0 || !spacing_.may_remove(state)) return kImpossible;
    return *value + at(layer + 1, k - 1, spacing_.removed(state));
  }

  [[nodiscard]] std::int64_t largest_possible() const {
    std::int64_t k = most_;
    while (k > 0 && at(0, k, 0) == kImpossible) --k;
    return k;
  }

 private:
  [[nodiscard]] std::size_t place(std::int64_t layer, std::int64_t k, std::int64_t state) const {
    return index((layer * (most_ + 1) + k) * spacing_.states + state);
  }

  const LayerScores& values_;
  Spacing spacing_;
  std::int64_t most_;
  std::vector<double> sums_;
};

Layers best_spaced(const Candidates& candidates, std::int64_t k, const Spacing& spacing,
                   const std::string& rule) {
  const LayerScores values = settled(candidates);
  const BestSums best(values, k, spacing);
  if (best.at(0, k, 0) == kImpossible) {
    const auto largest = best.largest_possible();
    throw InputError(
        fmt::format("rule {}: {} of {} prunable layers cannot be removed so; the largest K is {}",
                    rule, k, candidates.prunable.size(), largest));
  }
  Layers removed;
  std::int64_t state = 0;
  for (std::int64_t layer = 0; layer < std::ssize(values); ++layer) {
    const std::int64_t left = k - std::ssize(removed);
    const double with = best.if_removed(layer, left, state);
    // Of equal sums the one that removes the shallower layer.
    const bool remove = with > kImpossible && with >= best.if_kept(layer, left, state) - kTie;
    if (remove) removed.push_back(layer);
    state = remove ? spacing.removed(state) : spacing.kept(state);
  }
  return removed;
}

Layers best_gap(const Candidates& candidates, std::int64_t k, std::int64_t gap) {
  return best_spaced(candidates, k, at_least_between(gap), fmt::format("min-gap {}", gap));
}

// --- triplets ---

/// Starts of windows that have a score and whose first two layers are prunable, highest first.
Layers order_windows(const LayerScores& window_scores, const LayerScores& values) {
  Layers starts;
  for (std::size_t l = 0; l + 1 < values.size(); ++l) {
    if (window_scores[l] && values[l] && values[l + 1]) {
      starts.push_back(static_cast<std::int64_t>(l));
    }
  }
  return order_layers(starts, window_scores);
}

/// The paper's score of a window: the mean of its first two layers' scores.
LayerScores mean_of_two(const LayerScores& values, std::size_t width) {
  LayerScores windows(values.size());
  for (std::size_t l = 0; l + width <= values.size(); ++l) {
    if (values[l] && values[l + 1]) windows[l] = (*values[l] + *values[l + 1]) / 2.0;
  }
  return windows;
}

/// Interlace's selection, stage by stage.
class Interlace {
 public:
  Interlace(const Candidates& candidates, std::int64_t k)
      : candidates_(candidates),
        values_(settled(candidates)),
        k_(k),
        assigned_(values_.size()),
        removed_(values_.size()),
        anchor_(values_.size()) {}

  void take_triplets() {
    take_windows(
        "triplets", 3,
        candidates_.triplet_scores.empty() ? mean_of_two(values_, 3) : candidates_.triplet_scores);
  }
  void take_pairs() {
    take_windows(
        "pairs", 2,
        candidates_.pair_scores.empty() ? mean_of_two(values_, 2) : candidates_.pair_scores);
  }
  void take_layers_beside_kept_ones() {
    take_layers("not adjacent", [&](std::size_t l) {
      const bool beside =
          (l > 0 && removed_[l - 1]) || (l + 1 < removed_.size() && removed_[l + 1]);
      return !anchor_[l] && !beside;
    });
  }
  void take_layers_but_anchors() {
    take_layers("adjacent", [&](std::size_t l) { return !anchor_[l]; });
  }
  void take_anchors() {
    take_layers("anchors", [](std::size_t) { return true; });
  }

  [[nodiscard]] std::int64_t count() const { return std::ranges::count(removed_, true); }
  [[nodiscard]] Choice choice() const {
    Choice choice{.stages = stages_};
    for (std::size_t l = 0; l < removed_.size(); ++l) {
      if (removed_[l]) choice.removed.push_back(static_cast<std::int64_t>(l));
    }
    return choice;
  }

 private:
  /// Greedily, without overlap: of a window's first two layers the more redundant one goes.
  void take_windows(const char* stage, std::size_t width, const LayerScores& window_scores) {
    const std::int64_t before = count();
    for (const std::int64_t start : order_windows(window_scores, values_)) {
      if (count() == k_) break;
      const std::size_t l = index(start);
      const auto window = std::span(assigned_).subspan(l, width);
      if (std::ranges::find(window, 1) != window.end()) continue;
      std::ranges::fill(window, 1);
      removed_[*values_[l + 1] > *values_[l] ? l + 1 : l] = true;
      if (width == 3) anchor_[l + 2] = true;
    }
    note(stage, before);
  }

  /// Layer by layer, highest score first, those that `allowed` lets go at their turn.
  template <typename Allowed>
  void take_layers(const char* stage, const Allowed& allowed) {
    const std::int64_t before = count();
    for (const std::int64_t layer : order_layers(candidates_.prunable, values_)) {
      if (count() == k_) break;
      if (!removed_[index(layer)] && allowed(index(layer))) removed_[index(layer)] = true;
    }
    note(stage, before);
  }

  void note(const char* stage, std::int64_t before) {
    if (count() > before) stages_.push_back(fmt::format("{}: {}", stage, count() - before));
  }

  const Candidates& candidates_;
  LayerScores values_;
  std::int64_t k_;
  std::vector<char> assigned_;  ///< 1: in a window that was taken
  std::vector<bool> removed_;
  std::vector<bool> anchor_;
  std::vector<std::string> stages_;
};

Choice take_interlaced(const Candidates& candidates, std::int64_t k, Overflow overflow) {
  Interlace interlace(candidates, k);
  interlace.take_triplets();
  if (interlace.count() < k && overflow == Overflow::GapDp) {
    return {.removed = best_gap(candidates, k, 1), .stages = {fmt::format("min-gap 1: {}", k)}};
  }
  require(interlace.count() == k || overflow != Overflow::Error,
          "rule triplets: {} layers cannot be removed, one from each triplet without overlap; the "
          "largest K for these scores is {}; allow --overflow stages or gap-dp",
          k, interlace.count());
  interlace.take_pairs();
  interlace.take_layers_beside_kept_ones();
  interlace.take_layers_but_anchors();
  interlace.take_anchors();
  return interlace.choice();
}

Choice choose(const Candidates& candidates, std::int64_t k, const RuleOptions& options) {
  if (options.rule == "triplets") return take_interlaced(candidates, k, options.overflow);
  const auto one_stage = [&](Layers layers) {
    return Choice{.removed = std::move(layers), .stages = {fmt::format("{}: {}", options.rule, k)}};
  };
  if (options.rule == "topk") return one_stage(top(candidates, k));
  if (options.rule == "contiguous") return one_stage(best_block(candidates, k));
  if (options.rule == "min-gap") {
    require(options.min_gap >= 1, "rule min-gap: wanted a gap of at least 1, found {}",
            options.min_gap);
    return one_stage(best_gap(candidates, k, options.min_gap));
  }
  if (options.rule == "max-run") {
    require(options.max_run >= 1, "rule max-run: wanted a run of at least 1, found {}",
            options.max_run);
    return one_stage(best_spaced(candidates, k, at_most_in_a_row(options.max_run),
                                 fmt::format("max-run {}", options.max_run)));
  }
  throw InputError(unknown_word("rule", options.rule, rule_names()));
}

}  // namespace

const std::vector<std::string>& rule_names() {
  static const std::vector<std::string> names = {"topk", "contiguous", "min-gap", "max-run",
                                                 "triplets"};
  return names;
}

Choice select(const Candidates& candidates, std::int64_t k, const RuleOptions& options) {
  require(k >= 1 && k <= std::ssize(candidates.prunable),
          "rule {}: wanted K from 1 to {} prunable layers, found {}", options.rule,
          candidates.prunable.size(), k);
  Choice choice = choose(candidates, k, options);
  assume(std::ssize(choice.removed) == k, "every rule removes exactly K layers");
  const LayerScores values = settled(candidates);
  choice.price = std::max(0.0, sum_of(top(candidates, k), values) - sum_of(choice.removed, values));
  return choice;
}

}  // namespace espalier
