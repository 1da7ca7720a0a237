// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace espalier {

/// Joins samples into few packs of at most `budget` tokens, none split. Best-fit decreasing says
/// how many: the longest comes first, each into the pack where it leaves the least room, or into a
/// new one. Then, where all fit, the samples are spread over as many packs of about one length,
/// each into the shortest: packs that run side by side end together, and the longest takes the
/// least memory. Of samples of one length, and of packs with one room, the earlier comes first. A
/// sample longer than the budget is a pack of its own.
///
/// \param lengths      tokens of each sample, above 0
/// \param budget       tokens of a pack, above 0
/// \return             places in `lengths`, ascending within a pack; packs in the order in which
///                     they were opened
/// \throws InputError  if the budget or a length is not above 0
std::vector<std::vector<std::size_t>> pack_samples(std::span<const std::int64_t> lengths,
                                                   std::int64_t budget);

}  // namespace espalier
