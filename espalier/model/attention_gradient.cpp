// SPDX-License-Identifier: Apache-2.0
#include "espalier/model/attention_gradient.h"

#include <limits>

#include "espalier/model/loop_numbers.h"

namespace espalier::loops {
namespace {

using std::int64_t;

constexpr int64_t kLanes = 16;

/// Sixteen numbers, wherever they lie.
using Lanes = float __attribute__((vector_size(64), aligned(4), may_alias));

constexpr int64_t padded(int64_t count) { return (count + kLanes - 1) / kLanes * kLanes; }

/// out[r][c] = sum over n of a[r][n] * b[n][c]; a may be read transposed by its strides.
struct Product {
  const float* a;
  int64_t a_row;
  int64_t a_step;
  const float* b;
  int64_t b_step;
  float* out;
  int64_t out_row;
  int64_t steps;
};

template <int kRows, int kVectors>
ESPALIER_INLINE void multiply_tile(const Product& of, int64_t row, int64_t column) {
  Lanes sums[kRows][kVectors] = {};
  const float* a = of.a + row * of.a_row;
  const float* b = of.b + column;
  for (int64_t n = 0; n < of.steps; ++n, a += of.a_step, b += of.b_step) {
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 2
      for (int c = 0; c < kVectors; ++c) {
        sums[r][c] += a[r * of.a_row] * *reinterpret_cast<const Lanes*>(b + c * kLanes);
      }
    }
  }
  float* out = of.out + row * of.out_row + column;
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 2
    for (int c = 0; c < kVectors; ++c) {
      *reinterpret_cast<Lanes*>(out + r * of.out_row + c * kLanes) = sums[r][c];
    }
  }
}

template <int kVectors>
ESPALIER_INLINE void multiply_columns(const Product& of, int64_t rows, int64_t column) {
  int64_t row = 0;
  for (; row + 4 <= rows; row += 4) multiply_tile<4, kVectors>(of, row, column);
  for (; row < rows; ++row) multiply_tile<1, kVectors>(of, row, column);
}

/// \param columns  a multiple of 16
ESPALIER_INLINE void multiply(const Product& of, int64_t rows, int64_t columns) {
  int64_t column = 0;
  for (; column + 2 * kLanes <= columns; column += 2 * kLanes) {
    multiply_columns<2>(of, rows, column);
  }
  if (column < columns) multiply_columns<1>(of, rows, column);
}

/// Where everything lies in the caller's room. Rows are those of a query's heads, query by query;
/// columns beyond the last are zero.
struct Room {
  int64_t rows;
  int64_t wide;  ///< D, padded
  int64_t seen;  ///< keys, padded
  float* q;      ///< [rows][wide]
  float* g;      ///< [rows][wide]
  float* d_q;    ///< [rows][wide]
  float* k;      ///< [keys][wide]
  float* d_k;    ///< [keys][wide]
  float* d_v;    ///< [keys][wide]
  float* k_t;    ///< [D][seen]
  float* v_t;    ///< [D][seen]
  float* p;      ///< [rows][seen]
  float* d_s;    ///< [rows][seen]
  float* end;

  ESPALIER_INLINE Room(int64_t queries, int64_t keys, int64_t group, int64_t size, float* memory)
      : rows(queries * group),
        wide(padded(size)),
        seen(padded(keys)),
        q(memory),
        g(q + rows * wide),
        d_q(g + rows * wide),
        k(d_q + rows * wide),
        d_k(k + keys * wide),
        d_v(d_k + keys * wide),
        k_t(d_v + keys * wide),
        v_t(k_t + size * seen),
        p(v_t + size * seen),
        d_s(p + rows * seen),
        end(d_s + rows * seen) {}
};

template <typename Number>
ESPALIER_INLINE void widen(const Number* from, int64_t size, int64_t wide_size, float* to) {
  for (int64_t i = 0; i < size; ++i) to[i] = wide(from[i]);
  for (int64_t i = size; i < wide_size; ++i) to[i] = 0.0F;
}

template <typename Number>
ESPALIER_INLINE void read_operands(const AttentionGradient<Number>& loop, const Room& room) {
  for (int64_t row = 0; row < room.rows; ++row) {
    const int64_t query = row / loop.group;
    const int64_t head = row % loop.group;
    const auto at = [&](const Heads<Number>& x) {
      return x.data + query * x.row_stride + head * x.head_stride;
    };
    widen(at(loop.q), loop.size, room.wide, room.q + row * room.wide);
    widen(at(loop.gradient), loop.size, room.wide, room.g + row * room.wide);
  }
  for (int64_t i = 0; i < 2 * loop.size * room.seen; ++i) room.k_t[i] = 0.0F;
  for (int64_t key = 0; key < loop.keys; ++key) {
    const Number* k = loop.k.data + key * loop.k.stride;
    const Number* v = loop.v.data + key * loop.v.stride;
    widen(k, loop.size, room.wide, room.k + key * room.wide);
    for (int64_t i = 0; i < loop.size; ++i) {
      room.k_t[i * room.seen + key] = wide(k[i]);
      room.v_t[i * room.seen + key] = wide(v[i]);
    }
  }
}

/// From a row's scores and g v^T to its probabilities and the gradient of its scores, times scale.
ESPALIER_INLINE void soften(float* p, float* d_s, int64_t visible, int64_t seen, float scale) {
  float largest = -std::numeric_limits<float>::infinity();
#pragma omp simd reduction(max : largest)
  for (int64_t i = 0; i < visible; ++i) largest = p[i] > largest ? p[i] : largest;
  float sum = 0.0F;
  float along = 0.0F;
#pragma omp simd reduction(+ : sum, along)
  for (int64_t i = 0; i < visible; ++i) {
    p[i] = exponential(scale * (p[i] - largest));
    sum += p[i];
    along += p[i] * d_s[i];
  }
  const float share = 1.0F / sum;
  along *= share;
#pragma omp simd
  for (int64_t i = 0; i < visible; ++i) {
    p[i] *= share;
    d_s[i] = p[i] * (d_s[i] - along) * scale;
  }
  for (int64_t i = visible; i < seen; ++i) p[i] = d_s[i] = 0.0F;
}

template <typename Number>
ESPALIER_INLINE void round_row(const float* from, int64_t size, Number* to) {
#pragma omp simd
  for (int64_t i = 0; i < size; ++i) to[i] = narrow<Number>(from[i]);
}

template <typename Number>
ESPALIER_INLINE void differentiate(const AttentionGradient<Number>& loop, float* memory) {
  const Room room(loop.queries, loop.keys, loop.group, loop.size, memory);
  read_operands(loop, room);
  multiply({room.q, room.wide, 1, room.k_t, room.seen, room.p, room.seen, loop.size}, room.rows,
           room.seen);
  multiply({room.g, room.wide, 1, room.v_t, room.seen, room.d_s, room.seen, loop.size}, room.rows,
           room.seen);
  for (int64_t row = 0; row < room.rows; ++row) {
    const int64_t visible =
        loop.causal ? loop.keys - loop.queries + row / loop.group + 1 : loop.keys;
    soften(room.p + row * room.seen, room.d_s + row * room.seen, visible, room.seen, loop.scale);
  }
  multiply({room.d_s, room.seen, 1, room.k, room.wide, room.d_q, room.wide, loop.keys}, room.rows,
           room.wide);
  multiply({room.d_s, 1, room.seen, room.q, room.wide, room.d_k, room.wide, room.rows}, loop.keys,
           room.wide);
  multiply({room.p, 1, room.seen, room.g, room.wide, room.d_v, room.wide, room.rows}, loop.keys,
           room.wide);
  for (int64_t row = 0; row < room.rows; ++row) {
    round_row(room.d_q + row * room.wide, loop.size,
              loop.d_q + row / loop.group * loop.q_stride + row % loop.group * loop.size);
  }
  for (int64_t key = 0; key < loop.keys; ++key) {
    round_row(room.d_k + key * room.wide, loop.size, loop.d_k + key * loop.kv_stride);
    round_row(room.d_v + key * room.wide, loop.size, loop.d_v + key * loop.kv_stride);
  }
}

}  // namespace

std::int64_t gradient_room(std::int64_t queries, std::int64_t keys, std::int64_t group,
                           std::int64_t size) {
  return Room(queries, keys, group, size, nullptr).end - static_cast<float*>(nullptr);
}

ESPALIER_CLONES void run(const AttentionGradient<float>& loop, float* room) {
  differentiate(loop, room);
}
ESPALIER_CLONES void run(const AttentionGradient<Bfloat16>& loop, float* room) {
  differentiate(loop, room);
}

}  // namespace espalier::loops
