// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "espalier/records/ranking.h"

namespace espalier {

/// Scores that differ by no more are equal; of equal ones the shallower layer goes first.
constexpr double kTie = 1e-12;

/// Scores in which those that tie are the same number: sorted, then grouped from the highest down,
/// each group as high as its highest.
std::vector<double> settle_ties(std::vector<double> scores);

/// The scores of some layers, ties settled. A layer without a score (its criterion is undefined
/// there, e.g. a CKA of rows that are all equal) comes one below the lowest, so that it goes last.
///
/// \param scores  [L]
/// \return        one number a layer, in the order of `layers`
std::vector<double> comparable_scores(std::span<const std::int64_t> layers,
                                      const LayerScores& scores);

/// Layers, first to go first: the highest score, and of those that tie the shallowest.
std::vector<std::int64_t> order_layers(std::span<const std::int64_t> layers,
                                       const LayerScores& scores);

}  // namespace espalier
