// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace espalier {

/// How much is to be removed: an exact fraction of the prunable layers in lowest terms, or a number
/// of layers. Never a binary fraction: floor(0.29 * 100) would be 28.
struct Budget {
  std::int64_t numerator = 0;
  std::int64_t denominator = 1;  ///< 0: `numerator` is a number of layers
  bool operator==(const Budget&) const = default;
};

/// Understands "25%", "12.5%", "0.25" and "1/4", of at most nine digits before and behind the
/// point.
///
/// \throws InputError unless the text is one of these and lies strictly between 0 and 1
Budget parse_budget(std::string_view text);

/// A budget of exactly so many layers (`--remove K`).
Budget layer_budget(std::int64_t layers);

/// "25%" where that is exact, else "1/3"; "6 layers" for a number of layers. This is how a budget
/// stands in records.
std::string to_string(const Budget& budget);

/// The budget of a text that `to_string` made.
///
/// \param place        where the text stands, for the error
/// \throws InputError  if it is none
Budget budget_of(std::string_view text, std::string_view place);

/// K = floor(p * prunable), in integers (section 3.1 of the paper).
///
/// \throws InputError if that is 0 (which names the smallest budget that removes a layer), or more
///                    than there are
std::int64_t layers_to_remove(const Budget& budget, std::int64_t prunable);

}  // namespace espalier
