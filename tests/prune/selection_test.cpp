// SPDX-License-Identifier: Apache-2.0
#include "espalier/prune/selection.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <bit>
#include <functional>
#include <set>

#include "espalier/base/error.h"
#include "espalier/base/random.h"
#include "tests/support.h"

namespace espalier {
namespace {

using test::input_error;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

using Layers = std::vector<std::int64_t>;

Layers range(std::int64_t first, std::int64_t last) {
  Layers layers;
  for (std::int64_t layer = first; layer <= last; ++layer) layers.push_back(layer);
  return layers;
}

/// Candidates with drawn scores; the first and the last layer, and each other one by a chance of
/// one in ten, are protected.
Candidates drawn(std::uint64_t seed, std::int64_t num_layers) {
  Random random(seed);
  Candidates candidates{.scores = LayerScores(static_cast<std::size_t>(num_layers))};
  for (std::int64_t layer = 1; layer + 1 < num_layers; ++layer) {
    if (random.below(10) == 0) continue;
    candidates.prunable.push_back(layer);
    // Few different scores on every other seed, so that sums tie.
    candidates.scores[static_cast<std::size_t>(layer)] =
        seed % 2 == 0 ? random.uniform() : 0.25 * static_cast<double>(random.below(4));
  }
  return candidates;
}

double sum_of(const Candidates& candidates, const Layers& layers) {
  double sum = 0.0;
  for (const std::int64_t layer : layers) {
    sum += *candidates.scores[static_cast<std::size_t>(layer)];
  }
  return sum;
}

/// The best of all subsets of K prunable layers that are allowed, of equals the lexically first;
/// empty if there is none.
Layers by_exhaustion(const Candidates& candidates, std::int64_t k,
                     const std::function<bool(const Layers&)>& allowed) {
  Layers best;
  const std::size_t n = candidates.prunable.size();
  for (std::uint32_t set = 0; set < (1U << n); ++set) {
    if (std::popcount(set) != k) continue;
    Layers layers;
    for (std::size_t i = 0; i < n; ++i) {
      if ((set >> i & 1U) != 0) layers.push_back(candidates.prunable[i]);
    }
    if (!allowed(layers)) continue;
    const double gain = best.empty() ? 1.0 : sum_of(candidates, layers) - sum_of(candidates, best);
    if (gain > 1e-12 || (gain > -1e-12 && layers < best)) best = layers;
  }
  return best;
}

bool has_gap(const Layers& layers, std::int64_t gap) {
  for (std::size_t i = 1; i < layers.size(); ++i) {
    if (layers[i] - layers[i - 1] <= gap) return false;
  }
  return true;
}

bool has_run_of_at_most(const Layers& layers, std::int64_t most) {
  std::int64_t run = 1;
  for (std::size_t i = 1; i < layers.size(); ++i) {
    run = layers[i] == layers[i - 1] + 1 ? run + 1 : 1;
    if (run > most) return false;
  }
  return most > 0;
}

void expect_best(const Candidates& candidates, std::int64_t k, const RuleOptions& rule,
                 const std::function<bool(const Layers&)>& allowed) {
  const Layers best = by_exhaustion(candidates, k, allowed);
  if (best.empty()) {
    std::int64_t largest = k;
    while (largest > 0 && by_exhaustion(candidates, largest, allowed).empty()) --largest;
    EXPECT_THAT(input_error([&] { (void)select(candidates, k, rule); }),
                HasSubstr("largest K is " + std::to_string(largest)));
    return;
  }
  const Choice choice = select(candidates, k, rule);
  EXPECT_EQ(choice.removed, best);
  EXPECT_NEAR(choice.price,
              sum_of(candidates, select(candidates, k, {}).removed) - sum_of(candidates, best),
              1e-12);
}

TEST(Selection, MinGapIsTheBestOfAllSubsets) {
  for (std::uint64_t seed = 0; seed < 40; ++seed) {
    const Candidates candidates = drawn(seed, 6 + static_cast<std::int64_t>(seed % 9));
    const std::int64_t gap = 1 + static_cast<std::int64_t>(seed % 3);
    for (std::int64_t k = 1; k <= std::min<std::int64_t>(6, std::ssize(candidates.prunable)); ++k) {
      SCOPED_TRACE(testing::Message() << "seed " << seed << ", K " << k);
      expect_best(candidates, k, {.rule = "min-gap", .min_gap = gap},
                  [&](const Layers& layers) { return has_gap(layers, gap); });
    }
  }
}

TEST(Selection, MaxRunIsTheBestOfAllSubsets) {
  for (std::uint64_t seed = 0; seed < 40; ++seed) {
    const Candidates candidates = drawn(seed, 6 + static_cast<std::int64_t>(seed % 9));
    const std::int64_t run = 1 + static_cast<std::int64_t>(seed % 3);
    for (std::int64_t k = 1; k <= std::ssize(candidates.prunable); ++k) {
      SCOPED_TRACE(testing::Message() << "seed " << seed << ", K " << k);
      expect_best(candidates, k, {.rule = "max-run", .max_run = run},
                  [&](const Layers& layers) { return has_run_of_at_most(layers, run); });
    }
  }
}

TEST(Selection, ContiguousIsTheBestOfAllBlocks) {
  for (std::uint64_t seed = 0; seed < 40; ++seed) {
    const Candidates candidates = drawn(seed, 6 + static_cast<std::int64_t>(seed % 9));
    for (std::int64_t k = 1; k <= std::ssize(candidates.prunable); ++k) {
      SCOPED_TRACE(testing::Message() << "seed " << seed << ", K " << k);
      expect_best(candidates, k, {.rule = "contiguous"}, [](const Layers& layers) {
        return layers.back() - layers.front() == std::ssize(layers) - 1;
      });
    }
  }
}

TEST(Selection, EveryRuleRemovesExactlyKPrunableLayersAtAPriceOfZeroOrMore) {
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    const Candidates candidates = drawn(seed, 4 + static_cast<std::int64_t>(seed % 33));
    if (candidates.prunable.empty()) continue;
    for (const std::string& rule : rule_names()) {
      for (std::int64_t k = 1; k <= std::ssize(candidates.prunable); ++k) {
        SCOPED_TRACE(testing::Message() << rule << ", seed " << seed << ", K " << k);
        if (rule != "topk" && rule != "triplets" && k > 2) break;  // may have no way
        try {
          const Choice choice = select(candidates, k, {.rule = rule});
          EXPECT_EQ(std::ssize(choice.removed), k);
          EXPECT_TRUE(std::ranges::includes(candidates.prunable, choice.removed));
          EXPECT_EQ(std::set(choice.removed.begin(), choice.removed.end()).size(),
                    choice.removed.size());
          EXPECT_GE(choice.price, 0.0);
          EXPECT_TRUE(rule != "topk" || choice.price == 0.0);
        } catch (const InputError&) {
          EXPECT_TRUE(rule == "min-gap" || rule == "contiguous");
        }
      }
    }
  }
}

TEST(Selection, ContiguousTakesTheScoreOfTheWholeBlockWhereThereIsOne) {
  // Layer scores alone would choose 1 and 2; as a block, 3 and 4 change least.
  Candidates candidates{.prunable = {1, 2, 3, 4},
                        .scores = {std::nullopt, 0.9, 0.9, 0.1, 0.1, std::nullopt}};
  EXPECT_THAT(select(candidates, 2, {.rule = "contiguous"}).removed, ElementsAre(1, 2));
  candidates.window_scores.resize(36);
  candidates.window_scores[1 * 6 + 3] = 0.5;
  candidates.window_scores[2 * 6 + 4] = 0.6;
  candidates.window_scores[3 * 6 + 5] = 0.7;
  const Choice choice = select(candidates, 2, {.rule = "contiguous"});
  EXPECT_THAT(choice.removed, ElementsAre(3, 4));
  EXPECT_NEAR(choice.price, 1.6, 1e-12);
}

// The official algorithm's outcomes on a made profile, worked through by hand from its code:
// similarities across one layer, and as if they multiplied, across two and three.
const std::vector<double> kPack1 = {.620, .900, .940, .970, .960, .980,
                                    .985, .990, .992, .970, .930};

Candidates official() {
  Candidates candidates{.prunable = range(0, 10),
                        .scores = LayerScores(12),
                        .pair_scores = LayerScores(12),
                        .triplet_scores = LayerScores(12)};
  for (std::size_t l = 0; l < 11; ++l) {
    candidates.scores[l] = kPack1[l];
    if (l + 1 < 11) candidates.pair_scores[l] = kPack1[l] * kPack1[l + 1];
    if (l + 2 < 11) candidates.triplet_scores[l] = kPack1[l] * kPack1[l + 1] * kPack1[l + 2];
  }
  return candidates;
}

TEST(Triplets, AreThoseOfTheOfficialInterlace) {
  const RuleOptions rule{.rule = "triplets"};
  EXPECT_THAT(select(official(), 1, rule).removed, ElementsAre(7));
  EXPECT_THAT(select(official(), 2, rule).removed, ElementsAre(3, 7));
  EXPECT_THAT(select(official(), 3, rule).removed, ElementsAre(1, 3, 7));
  const Choice four = select(official(), 4, rule);
  EXPECT_THAT(four.removed, ElementsAre(1, 3, 7, 9));
  EXPECT_THAT(four.stages, ElementsAre("triplets: 3", "pairs: 1"));
}

Candidates as_in_the_paper() {
  Candidates candidates{.prunable = range(1, 10), .scores = LayerScores(12)};
  for (std::size_t l = 1; l < 11; ++l) candidates.scores[l] = kPack1[l];
  return candidates;
}

TEST(Triplets, AreThoseOfThePaperToTheLetter) {
  const RuleOptions rule{.rule = "triplets"};
  EXPECT_THAT(select(as_in_the_paper(), 1, rule).removed, ElementsAre(8));
  EXPECT_THAT(select(as_in_the_paper(), 2, rule).removed, ElementsAre(5, 8));
  EXPECT_THAT(select(as_in_the_paper(), 3, rule).removed, ElementsAre(2, 5, 8));
}

TEST(Triplets, ThatFallShortGiveWayInStages) {
  // Triplets 7-9, 4-6, 1-3 remove 8, 5, 2 and keep 9, 6, 3 as anchors. Layer 10 is next to a
  // protected one only: no pair, not adjacent. Then come 7, 4 and 1 (0.990, 0.960, 0.900) beside
  // removed ones, and at last the anchors 6, 9 and 3 (0.985, 0.970, 0.970; of equals the
  // shallower).
  const RuleOptions rule{.rule = "triplets"};
  const auto stages = [&](std::int64_t k) { return select(as_in_the_paper(), k, rule).stages; };
  EXPECT_THAT(select(as_in_the_paper(), 4, rule).removed, ElementsAre(2, 5, 8, 10));
  EXPECT_THAT(stages(4), ElementsAre("triplets: 3", "not adjacent: 1"));
  EXPECT_THAT(select(as_in_the_paper(), 5, rule).removed, ElementsAre(2, 5, 7, 8, 10));
  EXPECT_THAT(select(as_in_the_paper(), 8, rule).removed, ElementsAre(1, 2, 4, 5, 6, 7, 8, 10));
  EXPECT_THAT(select(as_in_the_paper(), 9, rule).removed, ElementsAre(1, 2, 3, 4, 5, 6, 7, 8, 10));
  EXPECT_THAT(stages(9),
              ElementsAre("triplets: 3", "not adjacent: 1", "adjacent: 3", "anchors: 2"));
}

TEST(Triplets, ThatFallShortGiveWayToAGapOrToAnError) {
  const RuleOptions gap{.rule = "triplets", .overflow = Overflow::GapDp};
  const Choice choice = select(as_in_the_paper(), 4, gap);
  EXPECT_EQ(choice.removed,
            select(as_in_the_paper(), 4, {.rule = "min-gap", .min_gap = 1}).removed);
  EXPECT_THAT(choice.stages, ElementsAre("min-gap 1: 4"));
  EXPECT_THAT(select(as_in_the_paper(), 3, gap).removed, ElementsAre(2, 5, 8));
  const RuleOptions error{.rule = "triplets", .overflow = Overflow::Error};
  EXPECT_THAT(select(as_in_the_paper(), 3, error).removed, ElementsAre(2, 5, 8));
  EXPECT_THAT(input_error([&] { (void)select(as_in_the_paper(), 4, error); }),
              AllOf(HasSubstr("4 layers"), HasSubstr("is 3"), HasSubstr("--overflow")));
}

/// How many triplets are taken from drawn scores, when all layers are asked for.
std::int64_t count_triplets(std::int64_t num_layers, std::uint64_t seed, double slope) {
  Random random(seed);
  Candidates candidates{.prunable = range(1, num_layers - 2),
                        .scores = LayerScores(static_cast<std::size_t>(num_layers))};
  for (std::int64_t layer = 1; layer + 1 < num_layers; ++layer) {
    candidates.scores[static_cast<std::size_t>(layer)] =
        random.uniform() + slope * static_cast<double>(layer);
  }
  const Choice choice = select(candidates, num_layers - 2, {.rule = "triplets"});
  return std::stoll(choice.stages.front().substr(std::string("triplets: ").size()));
}

TEST(Triplets, ReachAtMostWhatFitsAndAtLeastWhatAGreedyPackingMust) {
  // Starts from 1 to L - 3, anchors up to the protected last layer: 9 of 28 layers, 11 of 36; a
  // packing that cannot be added to has at least ceil((n - 2) / 5): 5 and 7.
  EXPECT_EQ(count_triplets(28, 0, -10.0), 9);
  EXPECT_EQ(count_triplets(36, 0, -10.0), 11);
  for (std::uint64_t seed = 0; seed < 500; ++seed) {
    const std::int64_t small = count_triplets(28, seed, 0.0);
    EXPECT_TRUE(5 <= small && small <= 9) << small;
    const std::int64_t large = count_triplets(36, seed, 0.0);
    EXPECT_TRUE(7 <= large && large <= 11) << large;
  }
}

TEST(Selection, OfFortyPercentIsPossibleWithAGapWhereTripletsAreNot) {
  const auto even = [](std::int64_t num_layers) {
    Candidates candidates{.prunable = range(1, num_layers - 2),
                          .scores = LayerScores(static_cast<std::size_t>(num_layers), 0.0)};
    return candidates;
  };
  const RuleOptions gap{.rule = "min-gap"};
  EXPECT_EQ(select(even(28), 10, gap).removed.size(), 10U);
  EXPECT_EQ(select(even(36), 13, gap).removed.size(), 13U);
  // ceil(26 / 2) and ceil(34 / 2) layers fit.
  EXPECT_THAT(input_error([&] { (void)select(even(28), 14, gap); }), HasSubstr("largest K is 13"));
  EXPECT_THAT(input_error([&] { (void)select(even(36), 18, gap); }), HasSubstr("largest K is 17"));
  const RuleOptions error{.rule = "triplets", .overflow = Overflow::Error};
  EXPECT_THAT(input_error([&] { (void)select(even(28), 10, error); }), HasSubstr("is 9"));
  EXPECT_THAT(input_error([&] { (void)select(even(36), 13, error); }), HasSubstr("is 11"));
}

TEST(Selection, RefusesBadOptions) {
  const Candidates candidates = as_in_the_paper();
  const auto error = [&](std::int64_t k, const RuleOptions& rule) {
    return input_error([&] { (void)select(candidates, k, rule); });
  };
  EXPECT_THAT(error(0, {}), HasSubstr("K from 1 to 10"));
  EXPECT_THAT(error(11, {}), HasSubstr("K from 1 to 10"));
  EXPECT_THAT(error(1, {.rule = "topn"}), HasSubstr("did you mean topk?"));
  EXPECT_THAT(error(1, {.rule = "min-gap", .min_gap = 0}), HasSubstr("at least 1, found 0"));
  EXPECT_THAT(error(1, {.rule = "max-run", .max_run = 0}), HasSubstr("at least 1, found 0"));
}

}  // namespace
}  // namespace espalier
