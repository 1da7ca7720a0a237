// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "espalier/prune/bootstrap.h"
#include "espalier/prune/criteria.h"
#include "espalier/prune/selection.h"
#include "espalier/records/probe_record.h"
#include "espalier/records/ranking.h"

namespace espalier {

/// What `rank` is asked for.
struct RankOptions {
  std::vector<std::string> criteria;  ///< by name; empty: the paper's, or all
  bool all = false;                   ///< every criterion that the record supports
  CriterionOptions criterion;
  /// For every criterion whose own rule is not fixed; none: each criterion's own.
  std::optional<std::string> rule;
  std::optional<std::int64_t> min_gap;  ///< RuleOptions; given only with rule min-gap
  std::optional<std::int64_t> max_run;  ///< ... with rule max-run
  std::optional<Overflow> overflow;     ///< ... where triplets are taken
  std::vector<Budget> budgets;          ///< empty: the paper's 10%, 25% and 40%
  std::vector<std::int64_t> protect;    ///< beside the first and the last layer
  std::int64_t resamples = 1000;        ///< of the bootstrap; 0: none
  std::size_t threads = 0;              ///< 0: all cores; changes no result
};

/// The layers that may be removed: measured, and neither first, last nor protected; ascending.
///
/// \throws InputError  for a protected layer that there is not, or if none is left
std::vector<std::int64_t> prunable_layers(const ProbeRecord& record,
                                          const std::vector<std::int64_t>& protect);

/// Ranks the layers of a record by each criterion, chooses for each budget, and finds how certain
/// that is. Where the record has two domains, lists every set that some alpha of Eq. 9 removes.
///
/// \param left_out     if given, gets the criteria that were not asked for by name and that the
///                     record does not support, with the reason of each
/// \throws InputError  for criteria, rules, budgets or options that do not fit the record, or each
///                     other
Ranking rank(const ProbeRecord& record, const RankOptions& options,
             std::vector<std::pair<std::string, std::string>>* left_out = nullptr);

}  // namespace espalier
