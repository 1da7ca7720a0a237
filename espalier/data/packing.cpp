// SPDX-License-Identifier: Apache-2.0
#include "espalier/data/packing.h"

#include <algorithm>
#include <numeric>
#include <set>
#include <utility>

#include "espalier/base/error.h"

namespace espalier {

std::vector<std::vector<std::size_t>> pack_samples(std::span<const std::int64_t> lengths,
                                                   std::int64_t budget) {
  require(budget > 0, "a budget of {} tokens a pack holds no sample; wanted at least 1", budget);
  std::vector<std::size_t> longest_first(lengths.size());
  std::iota(longest_first.begin(), longest_first.end(), 0);
  std::ranges::stable_sort(longest_first, std::ranges::greater{},
                           [&](std::size_t sample) { return lengths[sample]; });

  std::vector<std::vector<std::size_t>> packs;
  std::set<std::pair<std::int64_t, std::size_t>> rooms;  // what each pack can still take
  for (const std::size_t sample : longest_first) {
    const std::int64_t length = lengths[sample];
    require(length > 0, "sample {} has {} tokens; wanted at least 1", sample, length);
    const auto tightest = rooms.lower_bound({length, 0});
    if (tightest == rooms.end()) {
      if (length < budget) rooms.emplace(budget - length, packs.size());
      packs.push_back({sample});
      continue;
    }
    const auto [room, pack] = *tightest;
    rooms.erase(tightest);
    if (room > length) rooms.emplace(room - length, pack);
    packs[pack].push_back(sample);
  }
  for (auto& pack : packs) std::ranges::sort(pack);
  return packs;
}

}  // namespace espalier
