// SPDX-License-Identifier: Apache-2.0
#include "espalier/data/packing.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <numeric>

#include "espalier/base/random.h"
#include "tests/support.h"

namespace espalier {
namespace {

using test::input_error;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

using Lengths = std::vector<std::int64_t>;

TEST(PackSamples, SpreadsSamplesOverAsFewPacks) {
  // Best-fit decreasing makes three packs of 10, 10 and 1. In order of length 7, 6 and 3 open packs
  // 0, 1 and 2; 2 (the earlier one) and 2 go to pack 2, the shortest both times; 1 goes to pack 1.
  // Numbers:                       0  1  2  3  4  5
  EXPECT_THAT(pack_samples(Lengths{2, 7, 3, 1, 6, 2}, 10),
              ElementsAre(ElementsAre(1), ElementsAre(3, 4), ElementsAre(0, 2, 5)));
}

TEST(PackSamples, FitsThemTightlyWhereAnEvenSpreadFindsNoRoom) {
  // Spread evenly, 3 and 3 part and the last 2 finds 5 in both packs of 6.
  EXPECT_THAT(pack_samples(Lengths{3, 3, 2, 2, 2}, 6),
              ElementsAre(ElementsAre(0, 1), ElementsAre(2, 3, 4)));
}

TEST(PackSamples, PrefersTheTighterPackToTheEarlier) {
  // 110 opens pack 0 (room 90), 101 opens pack 1 (room 99), where 95 goes (room 4). 4 fits into
  // both. The 201 keeps all of them from being spread.
  EXPECT_THAT(pack_samples(Lengths{110, 101, 95, 4, 201}, 200),
              ElementsAre(ElementsAre(4), ElementsAre(0), ElementsAre(1, 2, 3)));
}

TEST(PackSamples, TakesTheEarlierOfEquals) {
  // 6 and 6 open two packs of room 4 each; the first 4 goes to the first, the second to the second.
  EXPECT_THAT(pack_samples(Lengths{4, 6, 6, 4}, 10),
              ElementsAre(ElementsAre(0, 1), ElementsAre(2, 3)));
}

TEST(PackSamples, LeavesASampleAboveTheBudgetAlone) {
  EXPECT_THAT(pack_samples(Lengths{3, 11, 4, 10}, 10),
              ElementsAre(ElementsAre(1), ElementsAre(3), ElementsAre(0, 2)));
}

TEST(PackSamples, OfNoneIsNone) { EXPECT_THAT(pack_samples(Lengths{}, 10), IsEmpty()); }

TEST(PackSamples, HoldsEachSampleOnceWithinTheBudget) {
  Random random(5);
  for (int round = 0; round < 100; ++round) {
    Lengths lengths(random.below(60));
    for (auto& length : lengths) length = 1 + static_cast<std::int64_t>(random.below(120));
    std::vector<std::size_t> seen;
    std::int64_t total = 0;
    for (const auto& pack : pack_samples(lengths, 100)) {
      std::int64_t tokens = 0;
      for (const std::size_t sample : pack) tokens += lengths[sample];
      EXPECT_TRUE(tokens <= 100 || pack.size() == 1);
      seen.insert(seen.end(), pack.begin(), pack.end());
      total += tokens;
    }
    std::ranges::sort(seen);
    std::vector<std::size_t> all(lengths.size());
    std::iota(all.begin(), all.end(), 0);
    EXPECT_EQ(seen, all);
    // No two packs could be joined, so that all of them are more than half full on average.
    const auto packs = std::ssize(pack_samples(lengths, 100));
    EXPECT_TRUE(packs < 2 || 2 * total > 100 * packs) << packs << " packs";
  }
}

TEST(PackSamples, RefusesWhatHasNoTokens) {
  EXPECT_THAT(input_error([] { (void)pack_samples(Lengths{1}, 0); }), HasSubstr("budget of 0"));
  EXPECT_THAT(input_error([] {
                (void)pack_samples(Lengths{1, 0}, 5);
              }),
              HasSubstr("sample 1 has 0 tokens"));
}

}  // namespace
}  // namespace espalier
