// SPDX-License-Identifier: Apache-2.0
#include "espalier/data/packing.h"

#include <algorithm>
#include <numeric>
#include <set>
#include <utility>

#include "espalier/base/error.h"

namespace espalier {

namespace {

using Lengths = std::span<const std::int64_t>;
using Packs = std::vector<std::vector<std::size_t>>;

/// Few packs: each sample into the pack where it leaves the least room, or into a new one.
Packs best_fit(Lengths lengths, const std::vector<std::size_t>& longest_first,
               std::int64_t budget) {
  Packs packs;
  std::set<std::pair<std::int64_t, std::size_t>> rooms;  // what each pack can still take
  for (const std::size_t sample : longest_first) {
    const std::int64_t length = lengths[sample];
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
  return packs;
}

/// `count` packs of about one length: each sample into the shortest so far. None at all if one of
/// them would exceed the budget.
Packs spread(Lengths lengths, const std::vector<std::size_t>& longest_first, std::int64_t budget,
             std::size_t count) {
  Packs packs(count);
  std::set<std::pair<std::int64_t, std::size_t>> filled;
  for (std::size_t pack = 0; pack < count; ++pack) filled.emplace(0, pack);
  for (const std::size_t sample : longest_first) {
    const auto [tokens, pack] = *filled.begin();
    if (tokens + lengths[sample] > budget) return {};
    filled.erase(filled.begin());
    filled.emplace(tokens + lengths[sample], pack);
    packs[pack].push_back(sample);
  }
  return packs;
}

}  // namespace

std::vector<std::vector<std::size_t>> pack_samples(std::span<const std::int64_t> lengths,
                                                   std::int64_t budget) {
  require(budget > 0, "a budget of {} tokens a pack holds no sample; wanted at least 1", budget);
  for (std::size_t i = 0; i < lengths.size(); ++i) {
    require(lengths[i] > 0, "sample {} has {} tokens; wanted at least 1", i, lengths[i]);
  }
  std::vector<std::size_t> longest_first(lengths.size());
  std::iota(longest_first.begin(), longest_first.end(), 0);
  std::ranges::stable_sort(longest_first, std::ranges::greater{},
                           [&](std::size_t sample) { return lengths[sample]; });

  Packs packs = best_fit(lengths, longest_first, budget);
  if (Packs even = spread(lengths, longest_first, budget, packs.size()); !even.empty()) {
    packs = std::move(even);
  }
  for (auto& pack : packs) std::ranges::sort(pack);
  return packs;
}

}  // namespace espalier
