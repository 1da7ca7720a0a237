// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "espalier/records/ranking.h"
#include "espalier/report/figure.h"

namespace espalier {

/// Eq. 9's weight of the second domain that the paper takes (section 3.4).
constexpr double kPaperAlpha = 0.7;

/// Which layers (across) go at which alpha of Eq. 9 (upward, from 0 to 1), a panel a budget; the
/// edges are exact. The paper's alpha is marked.
///
/// \param diagrams  of one pair of domains; at least one
/// \param number    of the pair, from 0: part of the figure's name
Figure alpha_figure(std::int64_t layers, const std::vector<AlphaDiagram>& diagrams,
                    std::size_t number);

/// The sets of the alphas as points: how redundant their layers are in one domain (across) and in
/// the other (upward), a panel a budget. The Pareto front is joined by a line.
///
/// \param diagrams, number  as above
Figure pareto_figure(const std::vector<AlphaDiagram>& diagrams, std::size_t number);

/// The diagrams of a ranking by pair of domains, in their order.
std::vector<std::vector<AlphaDiagram>> by_domains(const Ranking& ranking);

/// The interval that holds an alpha. \pre the diagram has intervals from 0 to 1, alpha is in there
const AlphaInterval& interval_at(const AlphaDiagram& diagram, double alpha);

}  // namespace espalier
