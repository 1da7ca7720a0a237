// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace espalier {

/// How much is to be removed: an exact fraction of the prunable layers, or a number of layers.
/// Never a binary fraction: floor(0.29 * 100) would be 28.
struct Budget {
  std::int64_t numerator = 0;
  std::int64_t denominator = 1;  ///< 0: `numerator` is a number of layers
  bool operator==(const Budget&) const = default;
};

/// Understands "25%", "12.5%", "0.25" and "1/4".
///
/// \throws InputError unless the text is one of these and lies strictly between 0 and 1
Budget parse_budget(std::string_view text);

/// A budget of exactly so many layers (`--remove K`).
Budget layer_budget(std::int64_t layers);

/// "25%" where that is exact, else "1/3"; "6 layers" for a number of layers.
std::string to_string(const Budget& budget);

/// K = floor(p * prunable), in integers (section 3.1 of the paper).
///
/// \throws InputError if that is 0, or more than there are
std::int64_t layers_to_remove(const Budget& budget, std::int64_t prunable);

}  // namespace espalier
