// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "espalier/records/ranking.h"

namespace espalier {

/// Every set of K layers that is the top K of Eq. 9 for some alpha, with the alphas for which it
/// is. Exact: a set changes only where the mixed scores of two layers, which are straight lines in
/// alpha, cross. At 0 and at 1 the set is that of one domain alone; where ties make it another than
/// that of the alphas beside it, it has an interval of its own, [0, 0] or [1, 1].
///
/// \param first, second  Eq. 8's z-scores [L] of the domains that alpha = 0 and alpha = 1 mean
/// \param prunable       ascending; those that lack a score in either domain go last
/// \return               ascending, without gaps, from 0 to 1; neighbours differ
std::vector<AlphaInterval> alpha_intervals(const LayerScores& first, const LayerScores& second,
                                           std::span<const std::int64_t> prunable, std::int64_t k);

}  // namespace espalier
