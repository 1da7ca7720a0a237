// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "espalier/records/ranking.h"

namespace espalier {

/// What a rule chooses from.
struct Candidates {
  std::vector<std::int64_t> prunable;  ///< ascending
  LayerScores scores;                  ///< [L]; the higher, the sooner a layer goes
  /// [L] or empty: scores of the windows of 2 and 3 layers that begin at a layer. Where they are
  /// empty, both are the paper's (S_l + S_(l+1)) / 2.
  LayerScores pair_scores;
  LayerScores triplet_scores;
  /// [L, L] or empty; at [i, j]: the score of removing layers i to j - 1 as a block. Where it is
  /// empty, a block's score is the sum of its layers'.
  std::vector<double> window_scores;
};

/// What the triplet rule does when non-overlapping triplets do not reach K.
enum class Overflow {
  Stages,  ///< pairs, then layers beside no removed one, then other layers, then anchors
  GapDp,   ///< takes `min-gap` of 1 instead
  Error,
};

/// How the layers of a budget are chosen.
struct RuleOptions {
  std::string rule = "topk";  ///< one of rule_names()
  std::int64_t min_gap = 1;   ///< min-gap: at least so many kept layers between two removed ones
  std::int64_t max_run = 2;   ///< max-run: at most so many neighbours removed in a row
  Overflow overflow = Overflow::Stages;  ///< triplets
  bool operator==(const RuleOptions&) const = default;
};

/// What a rule chose.
struct Choice {
  std::vector<std::int64_t> removed;  ///< ascending, exactly K
  std::vector<std::string> stages;    ///< how the rule came to K, e.g. "triplets: 8", "pairs: 2"
  double price = 0.0;                 ///< score lost against the unconstrained top K
  bool operator==(const Choice&) const = default;
};

/// topk (section 3.4 of the paper), contiguous (Gromov et al. 2024), min-gap and max-run (exact, by
/// dynamic programming), triplets (Interlace, Madinei et al. 2025).
const std::vector<std::string>& rule_names();

/// Chooses exactly K layers: the highest sum of scores that the rule allows (topk, contiguous,
/// min-gap, max-run), or greedily (triplets). Among equals the shallower layers go.
///
/// \throws InputError  for an unknown rule, options out of range, or a K that the rule cannot
/// reach,
///                     which names the largest K that it can
Choice select(const Candidates& candidates, std::int64_t k, const RuleOptions& options);

}  // namespace espalier
