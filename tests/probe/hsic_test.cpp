// SPDX-License-Identifier: Apache-2.0
#include "espalier/probe/hsic.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>

#include <cmath>

#include "tests/support.h"

namespace espalier {
namespace {

at::Tensor matrix(std::vector<double> values, std::int64_t rows) {
  return at::tensor(at::ArrayRef<double>(values), at::kDouble).view({rows, -1});
}

TEST(Hsic, GivesTheDebiasedCkaOfAWorkedExample) {
  // Five rows of three and of four numbers; numpy gives -0.0459315.
  const auto x = matrix({1, 2, 0, 0, 1, 1, 2, 0, 1, 1, 1, 3, 3, 1, 0}, 5);
  const auto y = matrix({2, 1, 0, 1, 1, 0, 1, 0, 0, 2, 1, 1, 1, 3, 1, 2, 2, 0, 0, 3}, 5);
  const double cka = unbiased_hsic(x, y) / std::sqrt(unbiased_hsic(x, x) * unbiased_hsic(y, y));
  EXPECT_NEAR(cka, -0.0459315, 5e-8);
}

TEST(Hsic, DoesNotChangeWhenAllRowsAreShifted) {
  const auto x = at::randn({9, 5}, at::kDouble);
  const auto y = at::randn({9, 4}, at::kDouble);
  EXPECT_NEAR(unbiased_hsic(x + 7.0, y - 3.0), unbiased_hsic(x, y), 1e-9);
}

/// Feeds samples [n, L, 2, H] of one subtask; returns the record's sums.
ProbeSums fed(const at::Tensor& pooled, HsicBlocks& blocks) {
  const std::int64_t layers = pooled.size(1);
  const std::int64_t hidden = pooled.size(3);
  ProbeSums sums = zero_sums(1, layers, hidden);
  for (std::int64_t n = 0; n < pooled.size(0); ++n) {
    const float* data = pooled.const_data_ptr<float>() + n * layers * 2 * hidden;
    blocks.add(0, n, std::span(data, static_cast<std::size_t>(layers * 2 * hidden)), sums);
    ++sums.count[0];
  }
  return sums;
}

TEST(HsicBlocks, AddFullBlocksAndTheRestWeightedByTheirSamples) {
  const test::TemporaryDirectory folder;
  const auto pooled = at::randn({256 + 7, 2, 2, 3}, at::kFloat);
  HsicBlocks blocks(folder / "pooled.bin", 2, 3);
  ProbeSums sums = fed(pooled, blocks);
  const auto of = [&](std::int64_t begin, std::int64_t end, std::int64_t layer) {
    const auto block = pooled.slice(0, begin, end).select(1, layer);
    return static_cast<double>(end - begin) * unbiased_hsic(block.select(1, 0), block.select(1, 1));
  };
  EXPECT_NEAR(sums.hsic_xy[1], of(0, 256, 1), 1e-9);
  blocks.finish(sums);
  for (std::int64_t layer = 0; layer < 2; ++layer) {
    EXPECT_NEAR(sums.hsic_xy[static_cast<std::size_t>(layer)],
                of(0, 256, layer) + of(256, 263, layer), 1e-9);
  }
}

TEST(HsicBlocks, LeaveOutARestOfFewerThanFourSamples) {
  const test::TemporaryDirectory folder;
  HsicBlocks blocks(folder / "pooled.bin", 1, 3);
  ProbeSums sums = fed(at::randn({3, 1, 2, 3}, at::kFloat), blocks);
  blocks.finish(sums);
  EXPECT_EQ(sums.hsic_xx[0], 0.0);
}

TEST(HsicBlocks, GoOnWithWhatAFormerRunLeft) {
  const test::TemporaryDirectory folder;
  const auto pooled = at::randn({6, 1, 2, 3}, at::kFloat);
  ProbeSums whole = zero_sums(1, 1, 3);
  {
    HsicBlocks blocks(folder / "whole.bin", 1, 3);
    whole = fed(pooled, blocks);
    blocks.finish(whole);
  }
  {
    HsicBlocks blocks(folder / "parts.bin", 1, 3);
    (void)fed(pooled.slice(0, 0, 4), blocks);
  }
  HsicBlocks blocks(folder / "parts.bin", 1, 3);
  ProbeSums sums = zero_sums(1, 1, 3);
  for (std::int64_t n = 4; n < 6; ++n) {
    blocks.add(0, n, std::span(pooled.const_data_ptr<float>() + n * 6, 6), sums);
  }
  sums.count[0] = 6;
  blocks.finish(sums);
  EXPECT_EQ(sums.hsic_xy, whole.hsic_xy);
}

}  // namespace
}  // namespace espalier
