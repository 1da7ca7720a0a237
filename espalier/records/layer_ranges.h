// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace espalier {

/// Understands layers as a user names them: "3,7-9" is 3, 7, 8, 9. Both ends of a range belong to
/// it; layers count from 0.
///
/// \param what         what to call them in errors, e.g. "--layers"
/// \return             ascending
/// \throws InputError  for anything else, a range that runs backwards, a layer named twice
std::vector<std::int64_t> parse_layers(std::string_view text, std::string_view what);

/// "3, 7-9" of ascending layers, "none" of none.
std::string layer_ranges(std::span<const std::int64_t> layers);

/// The same without blanks, as parse_layers takes it.
std::string compact_layer_ranges(std::span<const std::int64_t> layers);

}  // namespace espalier
