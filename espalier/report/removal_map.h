// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "espalier/records/ranking.h"
#include "espalier/report/figure.h"

namespace espalier {

/// The distinct budgets of a ranking's selections, in their order.
std::vector<Budget> budgets_of(const Ranking& ranking);

/// "cka"; with its rule, "cka, spaced", where the ranking has the criterion under several.
std::string row_name(const Ranking& ranking, const Selection& selection);

/// The paper's Fig. 4: which layers (across) each criterion (down) removes, a panel a budget.
///
/// \pre  the ranking has selections
Figure removal_map(const Ranking& ranking);

}  // namespace espalier
