// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace espalier {

/// A config.json that says of a model what it would say with some of its decoder layers alone: the
/// depth, the lists with one entry a layer and `max_window_layers` change; every other key, their
/// order and the style stay. `deepstack_visual_indexes` number vision blocks, not decoder layers,
/// and so stay too.
///
/// \param text    a config.json that parse_config accepts
/// \param source  what to call it in errors
/// \param kept    ascending numbers of the layers that stay
std::string keep_layers_in_config(std::string_view text, const std::string& source,
                                  std::span<const std::int64_t> kept);

}  // namespace espalier
