// SPDX-License-Identifier: Apache-2.0
#include "espalier/data/sample_order.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <map>

#include "tests/support.h"

namespace espalier {
namespace {

using test::input_error;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

TEST(EpochOrder, IsAPermutationThatSeedAndEpochDecide) {
  const auto order = epoch_order(100, 7, 3);
  std::vector<std::size_t> sorted = order;
  std::ranges::sort(sorted);
  for (std::size_t i = 0; i < 100; ++i) EXPECT_EQ(sorted.at(i), i);
  EXPECT_EQ(epoch_order(100, 7, 3), order);
  EXPECT_NE(epoch_order(100, 7, 4), order);
  EXPECT_NE(epoch_order(100, 8, 3), order);
}

TEST(EpochOrder, OfNoneAndOneIsPlain) {
  EXPECT_THAT(epoch_order(0, 1, 0), IsEmpty());
  EXPECT_THAT(epoch_order(1, 1, 0), ElementsAre(0));
}

TEST(EpochOrder, TakesEachPermutationAsOftenAsAnother) {
  // 6 permutations of 3, 6000 draws: 1000 each, standard deviation sqrt(6000 * 1/6 * 5/6) = 28.9.
  std::map<std::vector<std::size_t>, int> times;
  for (std::int64_t epoch = 0; epoch < 6000; ++epoch) ++times[epoch_order(3, 20, epoch)];
  EXPECT_THAT(times, SizeIs(6));
  for (const auto& [order, count] : times) EXPECT_NEAR(count, 1000, 5 * 28.9);
}

TEST(SamplesOfStep, AreTheEpochsOrderPieceByPiece) {
  // 7 samples in batches of 3: steps of 3, 3 and 1 samples; step 3 begins epoch 1.
  const SampleOrder order{.count = 7, .batch = 3, .seed = 11};
  const auto first = epoch_order(7, 11, 0);
  const auto second = epoch_order(7, 11, 1);
  EXPECT_EQ(samples_of_step(order, 0), (StepSamples{0, 0, 3, {first[0], first[1], first[2]}}));
  EXPECT_EQ(samples_of_step(order, 1), (StepSamples{0, 3, 6, {first[3], first[4], first[5]}}));
  EXPECT_EQ(samples_of_step(order, 2), (StepSamples{0, 6, 7, {first[6]}}));
  EXPECT_EQ(samples_of_step(order, 3), (StepSamples{1, 0, 3, {second[0], second[1], second[2]}}));
}

TEST(SamplesOfStep, SeeEachSampleOnceAnEpoch) {
  const SampleOrder order{.count = 10, .batch = 4, .seed = 2};
  for (std::int64_t epoch = 0; epoch < 3; ++epoch) {
    std::vector<std::size_t> seen;
    for (std::int64_t step = 3 * epoch; step < 3 * (epoch + 1); ++step) {
      const StepSamples samples = samples_of_step(order, step);
      EXPECT_EQ(samples.epoch, epoch);
      EXPECT_EQ(samples.samples.size(), samples.end - samples.begin);
      seen.insert(seen.end(), samples.samples.begin(), samples.samples.end());
    }
    EXPECT_THAT(seen, UnorderedElementsAre(0, 1, 2, 3, 4, 5, 6, 7, 8, 9));
  }
}

TEST(SamplesOfStep, MayBeAllInOneStep) {
  EXPECT_THAT(samples_of_step({.count = 3, .batch = 64, .seed = 0}, 5).samples,
              UnorderedElementsAre(0, 1, 2));
  EXPECT_EQ(samples_of_step({.count = 3, .batch = 64, .seed = 0}, 5).epoch, 5);
}

TEST(StepsOf, CountTheShortOnes) {
  EXPECT_EQ(steps_of(7, 3, 1), 3);
  EXPECT_EQ(steps_of(6, 3, 2), 4);
  EXPECT_EQ(steps_of(1, 64, 3), 3);
}

TEST(StepsOf, NeedSamplesBatchesAndEpochs) {
  EXPECT_THAT(input_error([] { (void)steps_of(0, 3, 1); }), HasSubstr("0 samples"));
  EXPECT_THAT(input_error([] { (void)steps_of(3, 0, 1); }), HasSubstr("batches of 0"));
  EXPECT_THAT(input_error([] { (void)steps_of(3, 1, 0); }), HasSubstr("0 epochs"));
  EXPECT_THAT(input_error([] { (void)samples_of_step({.count = 3, .batch = 1, .seed = 0}, -1); }),
              HasSubstr("step -1"));
}

}  // namespace
}  // namespace espalier
