// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "espalier/records/budget.h"
#include "espalier/records/plan.h"
#include "espalier/records/ranking.h"

namespace espalier {

/// What `prune` is asked for of a ranking.
struct ChoiceOptions {
  std::string criterion;  ///< empty: mixed, or the only one
  std::string rule;       ///< empty: the one that the ranking took with the criterion, else topk
  Budget budget;
  std::vector<std::int64_t> protect;  ///< beside what the ranking protects
};

/// Chooses the layers of a budget by what a ranking says of a criterion: what the ranking itself
/// chose where it did for this rule, budget and protection, else by the rule from its scores.
///
/// \return             a plan with removed, protected_layers, criterion, rule, budget, relaxations
///                     and ranking_fingerprint filled in
/// \throws InputError  for a criterion that the ranking does not have (with those it has), an
///                     unknown rule, a budget that removes nothing or more than may go, a rule that
///                     cannot reach it, blocks whose scores the ranking does not hold
Plan choose_layers(const Ranking& ranking, const ChoiceOptions& options);

}  // namespace espalier
