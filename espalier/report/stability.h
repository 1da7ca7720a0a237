// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "espalier/records/ranking.h"
#include "espalier/report/figure.h"

namespace espalier {

/// Whether some selection says in which share of the resamples each layer goes.
bool has_stability(const Ranking& ranking);

/// In which share of the bootstrap's resamples each layer goes, a row a criterion and a panel a
/// budget; a dot marks the layers that go with the data as it is. Selections without a bootstrap
/// are left out.
///
/// \pre  has_stability(ranking)
Figure stability_map(const Ranking& ranking);

}  // namespace espalier
