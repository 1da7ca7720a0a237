// SPDX-License-Identifier: Apache-2.0
#include "espalier/probe/row_loops.h"

namespace espalier::loops {
namespace {

using std::int64_t;

constexpr int64_t kLanes = 16;

ESPALIER_INLINE float sum_of(const float* lanes) {
  float sum = 0.0F;
  for (int64_t lane = 0; lane < kLanes; ++lane) sum += lanes[lane];
  return sum;
}

template <typename Number>
ESPALIER_INLINE RowProducts products_of(const Number* x, const Number* u, const Number* y,
                                        int64_t size) {
  float xx[kLanes] = {};
  float uu[kLanes] = {};
  float yy[kLanes] = {};
  float xy[kLanes] = {};
  float xu[kLanes] = {};
  float uy[kLanes] = {};
  float dd[kLanes] = {};
  const auto add = [&](int64_t i, int64_t lane) __attribute__((always_inline)) {
    const float a = wide(x[i]);
    const float b = wide(u[i]);
    const float c = wide(y[i]);
    xx[lane] += a * a;
    uu[lane] += b * b;
    yy[lane] += c * c;
    xy[lane] += a * c;
    xu[lane] += a * b;
    uy[lane] += b * c;
    dd[lane] += (c - a) * (c - a);
  };
  int64_t i = 0;
  for (; i + kLanes <= size; i += kLanes) {
#pragma omp simd
    for (int64_t lane = 0; lane < kLanes; ++lane) add(i + lane, lane);
  }
  for (int64_t lane = 0; i < size; ++i, ++lane) add(i, lane);
  return {.xx = sum_of(xx),
          .uu = sum_of(uu),
          .yy = sum_of(yy),
          .xy = sum_of(xy),
          .xu = sum_of(xu),
          .uy = sum_of(uy),
          .dd = sum_of(dd)};
}

template <typename Number>
ESPALIER_INLINE void add_to(const Number* x, double scale, int64_t size, double* sum,
                            double* unit_sum) {
#pragma omp simd
  for (int64_t i = 0; i < size; ++i) {
    const double value = wide(x[i]);
    sum[i] += value;
    unit_sum[i] += value * scale;
  }
}

ESPALIER_INLINE float dot(const float* a, const float* b, int64_t size) {
  float lanes[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= size; i += kLanes) {
#pragma omp simd
    for (int64_t lane = 0; lane < kLanes; ++lane) lanes[lane] += a[i + lane] * b[i + lane];
  }
  for (int64_t lane = 0; i < size; ++i, ++lane) lanes[lane] += a[i] * b[i];
  return sum_of(lanes);
}

template <typename Number>
ESPALIER_INLINE void pairs_of(const Number* const* rows, int64_t count, int64_t size,
                              float* scratch, float* products) {
  for (int64_t j = 0; j < count; ++j) {
    float* vector = scratch + j * size;
#pragma omp simd
    for (int64_t i = 0; i < size; ++i) vector[i] = wide(rows[j][i]);
    for (int64_t i = 0; i <= j; ++i)
      products[i * count + j] = dot(scratch + i * size, vector, size);
  }
}

}  // namespace

ESPALIER_CLONES RowProducts row_products(const float* x, const float* u, const float* y,
                                         int64_t size) {
  return products_of(x, u, y, size);
}

ESPALIER_CLONES RowProducts row_products(const Bfloat16* x, const Bfloat16* u, const Bfloat16* y,
                                         int64_t size) {
  return products_of(x, u, y, size);
}

ESPALIER_CLONES void add_row(const float* x, double scale, int64_t size, double* sum,
                             double* unit_sum) {
  add_to(x, scale, size, sum, unit_sum);
}

ESPALIER_CLONES void add_row(const Bfloat16* x, double scale, int64_t size, double* sum,
                             double* unit_sum) {
  add_to(x, scale, size, sum, unit_sum);
}

ESPALIER_CLONES void pair_products(const float* const* rows, int64_t count, int64_t size,
                                   float* scratch, float* products) {
  pairs_of(rows, count, size, scratch, products);
}

ESPALIER_CLONES void pair_products(const Bfloat16* const* rows, int64_t count, int64_t size,
                                   float* scratch, float* products) {
  pairs_of(rows, count, size, scratch, products);
}

}  // namespace espalier::loops
