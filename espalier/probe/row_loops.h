// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "espalier/model/clones.h"

/// The insides of `layer_sums.cpp`: loops over pointers, compiled for several levels of x86-64 and
/// chosen when the program starts. Products are summed in float32, sixteen partial sums a row, so
/// that the result does not depend on the level.
namespace espalier::loops {

/// What one token's vectors have to do with each other: x enters a layer, u is the state after
/// attention, y leaves it.
struct RowProducts {
  float xx;
  float uu;
  float yy;
  float xy;
  float xu;
  float uy;
  float dd;  ///< |y - x|^2
};

RowProducts row_products(const float* x, const float* u, const float* y, std::int64_t size);
RowProducts row_products(const Bfloat16* x, const Bfloat16* u, const Bfloat16* y,
                         std::int64_t size);

/// sum += x, unit_sum += x * scale.
void add_row(const float* x, double scale, std::int64_t size, double* sum, double* unit_sum);
void add_row(const Bfloat16* x, double scale, std::int64_t size, double* sum, double* unit_sum);

/// The products of all pairs of one token's vectors at several places.
///
/// \param rows      `count` pointers to vectors of `size` numbers
/// \param scratch   count * size floats
/// \param products  [count, count]; the upper triangle with its diagonal is filled
void pair_products(const float* const* rows, std::int64_t count, std::int64_t size, float* scratch,
                   float* products);
void pair_products(const Bfloat16* const* rows, std::int64_t count, std::int64_t size,
                   float* scratch, float* products);

}  // namespace espalier::loops
