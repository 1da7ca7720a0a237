// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "espalier/records/ranking.h"
#include "espalier/report/figure.h"

namespace espalier {

/// For each layer, the number of the first budget (as budgets_of numbers them, smallest K first) at
/// which a criterion's selection removes it, [L]; -1 where it stays at every one. Where a criterion
/// was used with several rules, its first rule counts.
std::vector<std::int64_t> first_budget(const Ranking& ranking, const CriterionResult& criterion);

/// Each criterion's score by layer, a panel a criterion. Layers without a score are absent.
///
/// \pre  the ranking has criteria
Figure score_chart(const Ranking& ranking);

/// Each criterion's rank by layer, first to go on top, with the interval that the bootstrap found
/// where there is one, and the budgets' limits.
///
/// \pre  the ranking has criteria
Figure rank_chart(const Ranking& ranking);

}  // namespace espalier
