// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "espalier/report/figure.h"
#include "espalier/report/run.h"

namespace espalier {

/// The domains of all scoreboards, in order of their first mention.
std::vector<std::string> scored_domains(const std::vector<NamedScoreboard>& scoreboards);

/// A scoreboard's group over a domain and all its kinds; null where it has none.
const ScoreGroup* domain_group(const Scoreboard& scoreboard, const std::string& domain);

/// Accuracy in percent with its interval, a panel a domain. Where all scoreboards are of one base
/// and of what was pruned from it: by the layers removed, a line a criterion, from the base on.
/// Otherwise a bar a scoreboard.
///
/// \pre  there are scoreboards
Figure accuracy_chart(const std::vector<NamedScoreboard>& scoreboards);

}  // namespace espalier
