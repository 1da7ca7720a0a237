// SPDX-License-Identifier: Apache-2.0
#include "espalier/prune/bootstrap.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <numeric>

#include "espalier/base/random.h"
#include "espalier/prune/order.h"
#include "tests/records/random_record.h"
#include "tests/support.h"

namespace espalier {
namespace {

using test::input_error;
using test::random_record;
using ::testing::HasSubstr;

const std::vector<std::int64_t> kPrunable = {1, 2, 3, 4};

SelectionInQuestion question(const Criterion* criterion, std::vector<std::int64_t> removed,
                             const std::string& rule = "topk") {
  SelectionInQuestion selection;
  selection.criterion = criterion;
  selection.rule.rule = rule;
  selection.removed = std::move(removed);
  return selection;
}

/// Everything that can be resampled, and two rules for `mixed`.
BootstrapResult resample(const ProbeRecord& record, const BootstrapOptions& options) {
  const auto known = list_criteria(record, {});
  std::vector<const Criterion*> criteria;
  for (const Criterion& criterion : known) {
    if (criterion.tokens) criteria.push_back(&criterion);
  }
  const Criterion* mixed = &find_criterion(known, "mixed");
  return bootstrap(record, kPrunable, Averaging::Samples, criteria,
                   {question(mixed, {1, 3}), question(mixed, {2, 4}, "min-gap")}, options);
}

bool same(const BootstrapResult& first, const BootstrapResult& second) {
  return first.rank_intervals == second.rank_intervals &&
         std::ranges::equal(first.stabilities, second.stabilities,
                            [](const Stability& a, const Stability& b) {
                              return a.same_set == b.same_set && a.removal_share == b.removal_share;
                            });
}

TEST(Bootstrap, DependsOnTheSeedAndNotOnTheThreads) {
  const ProbeRecord record = random_record(1, 8);
  const auto first = resample(record, {.resamples = 101, .seed = 5, .threads = 1});
  EXPECT_TRUE(same(first, resample(record, {.resamples = 101, .seed = 5, .threads = 3})));
  EXPECT_TRUE(same(first, resample(record, {.resamples = 101, .seed = 5})));
  EXPECT_FALSE(same(first, resample(record, {.resamples = 101, .seed = 6})));
}

TEST(Bootstrap, OfOnePictureADomainIsCertain) {
  // A resample of one picture is that picture.
  const ProbeRecord record = random_record(1, 1);
  const BootstrapResult result = resample(record, {.resamples = 20});
  for (const auto& intervals : result.rank_intervals) {
    for (const std::int64_t layer : kPrunable) {
      const RankInterval ranks = intervals[static_cast<std::size_t>(layer)];
      EXPECT_EQ(ranks.lo, ranks.hi);
      EXPECT_GE(ranks.lo, 1);
    }
    EXPECT_EQ(intervals[0], RankInterval{});
    EXPECT_EQ(intervals[5], RankInterval{});
  }
  for (const Stability& stability : result.stabilities) {
    EXPECT_EQ(std::accumulate(stability.removal_share.begin(), stability.removal_share.end(), 0.0),
              2.0);
  }
}

/// The same by the plainest means: samples drawn one by one, and averaged.
TEST(Bootstrap, IsWhatDrawingPicturesOneByOneGives) {
  constexpr std::int64_t kPictures = 6;
  constexpr std::uint64_t kResamples = 50;
  const ProbeRecord record = random_record(3, kPictures);
  const auto known = list_criteria(record, {});
  const Criterion* math = &find_criterion(known, "math");
  const std::vector<std::int64_t> removed = {2, 3};
  const BootstrapResult result =
      bootstrap(record, kPrunable, Averaging::Samples, {math}, {question(math, removed)},
                {.resamples = kResamples, .seed = 4});
  std::vector<std::vector<std::int64_t>> ranks(6);
  std::uint64_t same_set = 0;
  for (std::uint64_t r = 0; r < kResamples; ++r) {
    Random random(4, r);
    LayerScores means(6, 0.0);
    for (std::int64_t draw = 0; draw < kPictures; ++draw) {
      const auto picture = static_cast<std::int32_t>(random.below(kPictures));  // math comes first
      for (std::size_t s = 0; s < record.samples.size(); ++s) {
        if (record.samples.image[s] != picture) continue;
        for (std::size_t l = 1; l < 5; ++l) {
          *means[l] += static_cast<double>(record.samples.similarity[s * 6 + l]) / 18.0;
        }
      }
    }
    auto order = order_layers(kPrunable, means);
    for (std::size_t rank = 0; rank < order.size(); ++rank) {
      ranks[static_cast<std::size_t>(order[rank])].push_back(static_cast<std::int64_t>(rank) + 1);
    }
    order.resize(2);
    std::ranges::sort(order);
    if (order == removed) ++same_set;
  }
  EXPECT_EQ(result.stabilities[0].same_set, static_cast<double>(same_set) / 50.0);
  for (std::size_t l = 1; l < 5; ++l) {
    std::ranges::sort(ranks[l]);
    // 2.5% of 50 is 1.25: one is cut off at each end.
    EXPECT_EQ(result.rank_intervals[0][l], (RankInterval{ranks[l][1], ranks[l][48]}));
  }
}

TEST(Bootstrap, KeepsThePromptsOfAPictureTogether) {
  // Each picture's prompts disagree about layers 1 and 2 in opposite directions, so that over whole
  // pictures the difference is always 1/8; over single samples it would often change its sign.
  ProbeRecord record = random_record(1, 4);
  for (std::size_t s = 0; s < record.samples.size(); ++s) {
    const bool up = record.samples.subtask[s] == 0;
    const bool down = record.samples.subtask[s] == 1;
    record.samples.similarity[s * 6 + 1] = 0.5F + (up ? 0.5F : 0.0F) - (down ? 0.25F : 0.0F);
    record.samples.similarity[s * 6 + 2] = 0.5F;
    record.samples.similarity[s * 6 + 3] = record.samples.similarity[s * 6 + 4] = 0.0F;
  }
  const auto known = list_criteria(record, {});
  const Criterion* math = &find_criterion(known, "math");
  const BootstrapResult result = bootstrap(record, kPrunable, Averaging::Samples, {math},
                                           {question(math, {1})}, {.resamples = 200});
  EXPECT_EQ(result.stabilities[0].same_set, 1.0);
  EXPECT_EQ(result.rank_intervals[0][1], (RankInterval{1, 1}));
}

TEST(Bootstrap, GrowsMoreCertainWithMorePictures) {
  // Drawn from 0.9 to 1, and each layer 0.01 higher than the one before it.
  const auto width = [](std::int64_t pictures) {
    ProbeRecord record = random_record(11, pictures);
    for (std::size_t i = 0; i < record.samples.similarity.size(); ++i) {
      record.samples.similarity[i] += 0.01F * static_cast<float>(i % 6) - 0.06F;
    }
    const auto result = resample(record, {.resamples = 300});
    std::int64_t sum = 0;
    for (const RankInterval& ranks : result.rank_intervals[0]) sum += ranks.hi - ranks.lo;
    return sum;
  };
  EXPECT_GT(width(3), 2);
  EXPECT_EQ(width(1000), 0);
}

TEST(Bootstrap, RefusesBadOptions) {
  const ProbeRecord record = random_record(1);
  EXPECT_THAT(input_error([&] { (void)resample(record, {.resamples = 0}); }),
              HasSubstr("at least 1 resample"));
  EXPECT_THAT(input_error([&] { (void)resample(record, {.level = 1.0}); }), HasSubstr("level"));
}

}  // namespace
}  // namespace espalier
