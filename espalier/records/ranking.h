// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "espalier/records/budget.h"
#include "espalier/records/probe_record.h"

namespace espalier {

/// Scores, one a layer [L]; none for a layer that has none (protected, not measured).
using LayerScores = std::vector<std::optional<double>>;

/// From which to which rank a layer falls in the bootstrap's middle `level`; ranks count from 1.
struct RankInterval {
  std::int64_t lo = 0;
  std::int64_t hi = 0;
  bool operator==(const RankInterval&) const = default;
};

/// How a criterion ranks the layers: the higher a score, the sooner the layer goes.
struct CriterionResult {
  std::string name;        ///< as `--criterion` takes it
  std::string parameters;  ///< a JSON object
  LayerScores scores;
  /// Scores of the windows of 2 and 3 layers that begin at a layer; empty but for criteria that the
  /// triplet rule takes such scores from.
  LayerScores pair_scores;
  LayerScores triplet_scores;
  std::vector<std::int64_t> order;          ///< prunable layers, first to go first
  std::vector<RankInterval> rank_interval;  ///< [L], {0, 0} where unranked; empty: no bootstrap
  bool operator==(const CriterionResult&) const = default;
};

/// Which layers a criterion and a rule remove for a budget.
struct Selection {
  std::string criterion;
  std::string rule;
  Budget budget;
  std::int64_t k = 0;
  std::vector<std::int64_t> removed;  ///< ascending
  std::vector<std::string> stages;    ///< how the rule came to K, e.g. "triplets: 8", "pairs: 2"
  /// Share of resamples that remove the same set; none without bootstrap.
  std::optional<double> stability;
  std::vector<double>
      removal_share;  ///< [L] share of resamples that remove the layer; may be empty
  double price =
      0.0;  ///< score lost against the unconstrained top K: sum of those minus sum of these
  bool operator==(const Selection&) const = default;
};

/// The alphas in [lo, hi] of Eq. 9 for which one and the same set is removed.
struct AlphaInterval {
  double lo = 0.0;
  double hi = 0.0;
  std::vector<std::int64_t> removed;  ///< ascending
  double first_score = 0.0;   ///< sum of z-scores of the removed layers in the domain at alpha = 0
  double second_score = 0.0;  ///< ... in the domain at alpha = 1
  bool pareto = false;        ///< no other interval's set is as good in both and better in one
  bool operator==(const AlphaInterval&) const = default;
};

/// Every set that some alpha removes, for one budget.
struct AlphaDiagram {
  std::string first_domain;   ///< the one that alpha = 0 means (math in the paper)
  std::string second_domain;  ///< the one that alpha = 1 means (non-math)
  Budget budget;
  std::int64_t k = 0;
  std::vector<AlphaInterval> intervals;  ///< ascending, without gaps, from 0 to 1
  bool operator==(const AlphaDiagram&) const = default;
};

/// How the uncertainty was found.
struct BootstrapInfo {
  std::int64_t resamples = 0;  ///< 0: none was made
  std::uint64_t seed = 0;
  double level = 0.95;
  bool operator==(const BootstrapInfo&) const = default;
};

/// What `espalier rank` found, as `ranking.json`.
struct Ranking {
  std::string probe_fingerprint;
  ModelIdentity model;
  std::vector<std::int64_t> prunable;          ///< ascending
  std::vector<std::int64_t> protected_layers;  ///< ascending
  std::vector<CriterionResult> criteria;
  std::vector<Selection> selections;
  std::vector<AlphaDiagram> alpha;
  BootstrapInfo bootstrap;  ///< draws pictures, since the prompts of one are not independent
  std::string options;      ///< a JSON object
  bool operator==(const Ranking&) const = default;
};

/// \throws InputError for a missing, broken or contradictory file (e.g. a removed layer that is not
///                    prunable), or another schema
Ranking read_ranking(const std::filesystem::path& file);

/// The ranking as it stands in its file.
std::string to_json_text(const Ranking& ranking);

/// \throws InputError if the file exists (without force) or cannot be written
void write_ranking(const std::filesystem::path& file, const Ranking& ranking, bool force);

/// SHA-256 of a ranking's JSON without its options and the tool's version.
std::string fingerprint(const Ranking& ranking);

}  // namespace espalier
