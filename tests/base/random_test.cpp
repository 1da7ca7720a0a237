// SPDX-License-Identifier: Apache-2.0
#include "espalier/base/random.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <set>

namespace espalier {
namespace {

// The first round of pcg-cpp's check-pcg64.out: seed 42, stream 54.
TEST(Random, IsPcg64AsPublished) {
  Random random(42, 54);
  for (const std::uint64_t word :
       {0x86b1da1d72062b68ULL, 0x1304aa46c9853d39ULL, 0xa3670e9e0dd50358ULL, 0xf9090e529a7dae00ULL,
        0xc85b9fd837996f2cULL, 0x606121f8e3919196ULL}) {
    EXPECT_EQ(random.next(), word);
  }
}

TEST(Random, DependsOnSeedAndStream) {
  std::set<std::uint64_t> first_words;
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    for (std::uint64_t stream = 0; stream < 10; ++stream) {
      first_words.insert(Random(seed, stream).next());
    }
  }
  EXPECT_EQ(first_words.size(), 100U);
  EXPECT_EQ(Random(7, 1).next(), Random(7, 1).next());
}

TEST(Random, UniformStaysBelowOneAndFillsTheInterval) {
  Random random(1);
  constexpr int kDraws = 100'000;
  double sum = 0.0;
  for (int i = 0; i < kDraws; ++i) {
    const double value = random.uniform();
    ASSERT_GE(value, 0.0);
    ASSERT_LT(value, 1.0);
    sum += value;
  }
  // The mean's deviation is sqrt(1 / 12 / 100000) = 0.0009; five of them.
  EXPECT_NEAR(sum / kDraws, 0.5, 0.0046);
}

TEST(Random, NormalHasTheMomentsOfTheNormal) {
  Random random(2);
  constexpr int kDraws = 100'000;
  double sum = 0.0;
  double squares = 0.0;
  double fourths = 0.0;
  for (int i = 0; i < kDraws; ++i) {
    const double value = random.normal();
    sum += value;
    squares += value * value;
    fourths += value * value * value * value;
  }
  // Five deviations: sqrt(1 / n), sqrt(2 / n), sqrt(96 / n).
  EXPECT_NEAR(sum / kDraws, 0.0, 0.016);
  EXPECT_NEAR(squares / kDraws, 1.0, 0.023);
  EXPECT_NEAR(fourths / kDraws, 3.0, 0.155);
}

TEST(Random, BelowReachesEveryAnswerEquallyOften) {
  Random random(3);
  std::array<int, 7> counts{};
  constexpr int kDraws = 70'000;
  for (int i = 0; i < kDraws; ++i) ++counts.at(random.below(7));
  // A count's deviation is sqrt(70000 * 1/7 * 6/7) = 93; five of them.
  for (const int count : counts) EXPECT_NEAR(count, 10'000, 465);
  EXPECT_EQ(random.below(1), 0U);
  EXPECT_THROW(random.below(0), std::logic_error);
}

// Four words share three answers here: without the rejection every third answer comes as often as
// the other two together.
TEST(Random, BelowIsFairWhereTheWordsDoNotDivide) {
  Random random(4);
  const std::uint64_t n = 3ULL << 62;
  constexpr int kDraws = 30'000;
  int low = 0;
  int multiples_of_three = 0;
  for (int i = 0; i < kDraws; ++i) {
    const std::uint64_t value = random.below(n);
    ASSERT_LT(value, n);
    if (value < n / 3) ++low;
    if (value % 3 == 0) ++multiples_of_three;
  }
  EXPECT_NEAR(low, kDraws / 3, 410);  // five deviations of sqrt(30000 * 2/9) = 82
  EXPECT_NEAR(multiples_of_three, kDraws / 3, 410);
}

}  // namespace
}  // namespace espalier
