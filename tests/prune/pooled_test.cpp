// SPDX-License-Identifier: Apache-2.0
#include "espalier/prune/pooled.h"

#include <gmock/gmock.h>

#include <cmath>

#include "espalier/base/random.h"
#include "tests/records/random_record.h"

namespace espalier {
namespace {

using test::random_record;

Gram gram_of(std::vector<double> matrix) { return centered_gram(std::move(matrix), 5); }

std::vector<double> normals(std::size_t size, std::uint64_t seed) {
  Random random(seed);
  std::vector<double> values(size);
  for (double& value : values) value = random.normal();
  return values;
}

/// |X'Y|^2 / (|X'X| |Y'Y|) with columns centered, as section 4.3 of the paper writes it.
double cka_by_features(std::vector<double> x, std::vector<double> y, std::size_t rows) {
  const auto center = [&](std::vector<double>& matrix) {
    const std::size_t columns = matrix.size() / rows;
    for (std::size_t c = 0; c < columns; ++c) {
      double mean = 0.0;
      for (std::size_t i = 0; i < rows; ++i) mean += matrix[i * columns + c];
      for (std::size_t i = 0; i < rows; ++i) {
        matrix[i * columns + c] -= mean / static_cast<double>(rows);
      }
    }
  };
  const auto squared_norm = [&](const std::vector<double>& a, const std::vector<double>& b) {
    const std::size_t width = a.size() / rows;
    const std::size_t height = b.size() / rows;
    double sum = 0.0;
    for (std::size_t p = 0; p < width; ++p) {
      for (std::size_t q = 0; q < height; ++q) {
        double product = 0.0;
        for (std::size_t i = 0; i < rows; ++i) product += a[i * width + p] * b[i * height + q];
        sum += product * product;
      }
    }
    return sum;
  };
  center(x);
  center(y);
  return squared_norm(x, y) / std::sqrt(squared_norm(x, x) * squared_norm(y, y));
}

const std::vector<double> kX = {1, 2, 0, 0, 1, 1, 2, 0, 1, 1, 1, 3, 3, 1, 0};
const std::vector<double> kY = {2, 1, 0, 1, 1, 0, 1, 0, 0, 2, 1, 1, 1, 3, 1, 2, 2, 0, 0, 3};

TEST(Cka, IsThePublishedNumber) {
  // Computed beforehand in exact arithmetic.
  EXPECT_NEAR(cka(gram_of(kX), gram_of(kY)).value(), 0.6284602410395886, 1e-14);
  EXPECT_NEAR(debiased_cka(gram_of(kX), gram_of(kY)).value(), -0.0459315, 5e-8);
}

TEST(Cka, IsThePapersFormulaOverFeatures) {
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    const auto x = normals(9 * 7, seed);
    const auto y = normals(9 * 5, seed + 100);
    EXPECT_NEAR(cka(centered_gram(x, 9), centered_gram(y, 9)).value(), cka_by_features(x, y, 9),
                1e-12);
  }
}

TEST(Cka, DoesNotChangeWithRotationScaleOrOrigin) {
  const auto x = normals(9 * 2, 1);
  const auto y = normals(9 * 4, 2);
  std::vector<double> moved;
  for (std::size_t i = 0; i < 9; ++i) {
    moved.push_back(3.0 * (0.6 * x[2 * i] - 0.8 * x[2 * i + 1]) + 5.0);
    moved.push_back(3.0 * (0.8 * x[2 * i] + 0.6 * x[2 * i + 1]) - 7.0);
  }
  const Gram other = centered_gram(y, 9);
  for (const auto& function : {cka, debiased_cka}) {
    EXPECT_NEAR(*function(centered_gram(x, 9), other), *function(centered_gram(moved, 9), other),
                1e-12);
    EXPECT_NEAR(*function(other, other), 1.0, 1e-12);
  }
}

TEST(Cka, OfFewUnrelatedRowsIsAlmostOneAndDebiasedIsNot) {
  double biased = 0.0;
  double debiased = 0.0;
  constexpr int kRounds = 60;
  for (std::uint64_t seed = 0; seed < kRounds; ++seed) {
    const Gram x = centered_gram(normals(9 * 2048, 2 * seed), 9);
    const Gram y = centered_gram(normals(9 * 2048, 2 * seed + 1), 9);
    biased += *cka(x, y) / kRounds;
    debiased += *debiased_cka(x, y) / kRounds;
  }
  // 0.9956 +- 0.0010 a pair, and 0 +- 0.18: of 60 pairs the mean is known to 0.0002 and 0.024.
  EXPECT_NEAR(biased, 0.9956, 0.0008);
  EXPECT_NEAR(debiased, 0.0, 0.1);
}

TEST(Cka, IsUndefinedWhereAllRowsAreEqual) {
  const std::vector<double> equal = {0.1, 0.3, 0.1, 0.3, 0.1, 0.3, 0.1, 0.3, 0.1, 0.3};
  EXPECT_EQ(cka(gram_of(equal), gram_of(kY)), std::nullopt);
  EXPECT_EQ(cka(gram_of(kX), gram_of(equal)), std::nullopt);
  EXPECT_EQ(debiased_cka(gram_of(equal), gram_of(kY)), std::nullopt);
}

/// A pooled sum of a record of 5 subtasks, 6 layers, 4 values.
double& at(std::vector<double>& sums, Pooling pooling, std::size_t g, std::size_t l,
           std::size_t h) {
  return sums[((static_cast<std::size_t>(pooling) * 5 + g) * 6 + l) * 4 + h];
}

/// The means of one layer as a matrix [5, 4].
std::vector<double> matrix_of(ProbeRecord& record, std::vector<double>& sums, Pooling pooling,
                              std::size_t layer) {
  std::vector<double> matrix;
  for (std::size_t g = 0; g < 5; ++g) {
    for (std::size_t h = 0; h < 4; ++h) {
      matrix.push_back(at(sums, pooling, g, layer, h) / static_cast<double>(record.sums.count[g]));
    }
  }
  return matrix;
}

TEST(PooledRows, CompareWhatEachReadingOfThePaperSays) {
  ProbeRecord record = random_record(5);
  record.sums.count = {3, 3, 3, 2, 5};  // rows are means, so that counts matter
  const PooledRows rows(record);
  for (const Pooling pooling : {Pooling::Mean, Pooling::MeanWithoutFirst, Pooling::UnitMean}) {
    const auto in = [&](std::size_t layer) {
      return gram_of(matrix_of(record, record.sums.pooled_input, pooling, layer));
    };
    const auto out = [&](std::size_t layer) {
      return gram_of(matrix_of(record, record.sums.pooled_output, pooling, layer));
    };
    EXPECT_EQ(rows.cka(CkaPair::InOut, pooling, false)[3], cka(in(3), out(3)));
    EXPECT_EQ(rows.cka(CkaPair::OutOut, pooling, false)[3], cka(out(2), out(3)));
    EXPECT_EQ(rows.cka(CkaPair::InInLiteral, pooling, false)[3], cka(in(2), in(3)));
    EXPECT_EQ(rows.cka(CkaPair::OutOut, pooling, true)[3], debiased_cka(out(2), out(3)));
    // The first layer has none before it; the last was not measured.
    EXPECT_EQ(rows.cka(CkaPair::OutOut, pooling, false)[0], std::nullopt);
    EXPECT_NE(rows.cka(CkaPair::InOut, pooling, false)[0], std::nullopt);
    EXPECT_EQ(rows.cka(CkaPair::InOut, pooling, false)[5], std::nullopt);
  }
}

TEST(PooledRows, LeaveOutASubtaskWithoutSamples) {
  ProbeRecord record = random_record(5);
  record.sums.count[1] = 0;
  EXPECT_EQ(PooledRows(record).rows(), 4U);
  EXPECT_TRUE(PooledRows(record).cka(CkaPair::InOut, Pooling::Mean, false)[1].has_value());
}

TEST(PooledRows, TakeTheCosineRowByRowAndLeaveOutZeros) {
  ProbeRecord record = random_record(5);
  ProbeSums& sums = record.sums;
  std::ranges::fill(sums.pooled_input, 0.0);
  // Layer 1: (3, 4) and (4, 3) have a cosine of 24 / 25; (1, 0) and (-2, 0) one of -1; the other
  // three inputs are zero. The mean of the two is -0.02.
  for (auto* values : {&sums.pooled_input, &sums.pooled_output}) {
    for (std::size_t g = 0; g < 5; ++g) {
      for (std::size_t h = 0; h < 4; ++h) at(*values, Pooling::Mean, g, 1, h) = 0.0;
    }
  }
  at(sums.pooled_input, Pooling::Mean, 0, 1, 0) = 3.0;
  at(sums.pooled_input, Pooling::Mean, 0, 1, 1) = 4.0;
  at(sums.pooled_output, Pooling::Mean, 0, 1, 0) = 4.0;
  at(sums.pooled_output, Pooling::Mean, 0, 1, 1) = 3.0;
  at(sums.pooled_input, Pooling::Mean, 4, 1, 0) = 1.0;
  at(sums.pooled_output, Pooling::Mean, 4, 1, 0) = -2.0;
  at(sums.pooled_output, Pooling::Mean, 2, 1, 0) = 9.0;
  const LayerScores cosine = PooledRows(record).cosine(Pooling::Mean);
  EXPECT_NEAR(cosine[1].value(), -0.02, 1e-15);
  EXPECT_EQ(cosine[2], std::nullopt);  // every input is zero
  EXPECT_EQ(cosine[5], std::nullopt);  // not measured
}

}  // namespace
}  // namespace espalier
