// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "espalier/records/probe_record.h"
#include "espalier/report/figure.h"
#include "espalier/report/table.h"

namespace espalier {

/// Over which tokens of a sample Eq. 6 is taken.
enum class TokenGroup { All, Visual, Text };

/// Mean of Eq. 6 over the samples of each subtask, [G][L]; NaN where no sample has a value. In
/// `ProbeRecord::domains` order.
std::vector<std::vector<double>> subtask_similarity(const ProbeRecord& record, TokenGroup tokens);

/// Eq. 7: the mean over the samples of each domain, [domains][L]; NaN where no sample has a value.
std::vector<std::vector<double>> domain_similarity(const ProbeRecord& record, TokenGroup tokens);

/// Between which values a heat map's colours lie.
struct ColourRange {
  double low = 0.0;
  double high = 1.0;
  std::int64_t below = 0;  ///< values under `low`, which share its colour
  bool operator==(const ColourRange&) const = default;
};

/// A range that shows the differences of most values: from the smallest to the largest, but where
/// some of the lowest tenth lie below the rest by more than half of that, from the rest's smallest.
/// Both ends are then widened to multiples of a step (1, 2 or 5 times a power of ten), within
/// [-1, 1].
///
/// \param values  NaN is left out
ColourRange choose_range(const std::vector<std::vector<double>>& values);

/// The paper's Fig. 5: similarity by layer (across) and subtask (down), domains apart, with each
/// domain's mean where it has several subtasks.
///
/// \param protected_layers  marked below; may be empty
/// \pre                     the record has samples
Figure heat_map(const ProbeRecord& record, TokenGroup tokens,
                const std::vector<std::int64_t>& protected_layers);

/// Whether some sample has a value over these tokens.
bool has_similarity(const ProbeRecord& record, TokenGroup tokens);

}  // namespace espalier
