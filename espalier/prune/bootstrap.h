// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "espalier/prune/criteria.h"
#include "espalier/prune/selection.h"
#include "espalier/records/probe_record.h"
#include "espalier/records/ranking.h"

namespace espalier {

/// How uncertainty is found.
struct BootstrapOptions {
  std::int64_t resamples = 1000;
  std::uint64_t seed = 0;
  double level = 0.95;      ///< in (0, 1): the share of resamples inside an interval
  std::size_t threads = 0;  ///< 0: all cores; the result does not depend on it
};

/// A selection whose stability is asked for.
struct SelectionInQuestion {
  const Criterion* criterion = nullptr;  ///< a function of means over samples
  RuleOptions rule;
  std::vector<std::int64_t> removed;  ///< ascending
};

/// How a selection fares over the resamples.
struct Stability {
  double same_set = 0.0;              ///< share of resamples that remove the same set
  std::vector<double> removal_share;  ///< [L] share of resamples that remove the layer
};

/// What a bootstrap found.
struct BootstrapResult {
  std::vector<std::vector<RankInterval>> rank_intervals;  ///< one a criterion, [L]
  std::vector<Stability> stabilities;                     ///< one a selection
};

/// Ranks the layers again from resampled data. A resample draws from each domain's pictures as many
/// as there are, with replacement, each with all its samples, since the prompts of one picture are
/// not independent. Only for criteria that are functions of means over samples (Criterion::tokens):
/// of the others a record keeps sums alone, from which no picture can be left out.
///
/// A resample depends on the seed and its number alone. One in which a rule cannot reach K, or a
/// criterion has no sample left, counts as another set.
///
/// \param prunable  ascending
BootstrapResult bootstrap(const ProbeRecord& record, const std::vector<std::int64_t>& prunable,
                          Averaging averaging, const std::vector<const Criterion*>& criteria,
                          const std::vector<SelectionInQuestion>& selections,
                          const BootstrapOptions& options);

}  // namespace espalier
