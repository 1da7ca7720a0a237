// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <immintrin.h>

#include <cstdint>

/// What the AVX512_BF16 kernels share: the register tile that all large products come down to, the
/// packing that it reads, and what a softmax needs. For their sources only: everything is of
/// internal linkage, since a function compiled for AVX-512 must not become the copy that the linker
/// keeps for the whole program.
namespace espalier::avx512 {
namespace {

using std::int64_t;
using std::uint16_t;
using std::uint32_t;

constexpr int64_t kLanes = 16;                     // float32 of a register
constexpr int64_t kTileRows = 6;                   // 6 x 4 accumulators, 4 columns, 1 pair: 29
constexpr int64_t kTileVectors = 4;                // of the 32 registers
constexpr int64_t kPanel = kTileVectors * kLanes;  // columns packed side by side

constexpr int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
constexpr int64_t larger(int64_t a, int64_t b) { return a < b ? b : a; }
constexpr int64_t pieces(int64_t n, int64_t size) { return (n + size - 1) / size; }
constexpr int64_t round_up(int64_t n, int64_t size) { return pieces(n, size) * size; }

/// The first n lanes, none where n <= 0, all where n >= 16.
inline __mmask16 first_lanes(int64_t n) {
  return n <= 0 ? __mmask16{0} : n >= kLanes ? __mmask16{0xffff} : __mmask16((1U << n) - 1U);
}

/// The first n of 32 lanes of 16 bits, none where n <= 0, all where n >= 32.
inline __mmask32 first_halves(int64_t n) {
  return n <= 0 ? __mmask32{0} : n >= 32 ? __mmask32{0xffffffff} : __mmask32((1U << n) - 1U);
}

inline __m512bh as_pairs(__m512i words) { return (__m512bh)words; }

/// The pair of numbers at `numbers`, wherever it lies, in every lane.
inline __m512bh pair_at(const void* numbers) {
  int word;
  __builtin_memcpy(&word, numbers, sizeof word);
  return as_pairs(_mm512_set1_epi32(word));
}

// ---- the register tile ----

/// rows[kTileRows][words] * panel[words][kVectors * 16], pairs multiplied, into (or, with kAdd,
/// onto) out. Strides are in 32-bit words.
template <int kVectors, bool kAdd>
void multiply_tile(const uint32_t* rows, int64_t row_stride, const uint32_t* panel, int64_t words,
                   float* out, int64_t out_stride) {
  __m512 sums[kTileRows][kVectors];
#pragma GCC unroll 6
  for (int r = 0; r < kTileRows; ++r) {
#pragma GCC unroll 4
    for (int c = 0; c < kVectors; ++c) {
      sums[r][c] = kAdd ? _mm512_loadu_ps(out + r * out_stride + c * kLanes) : _mm512_setzero_ps();
    }
  }
  for (int64_t w = 0; w < words; ++w, panel += kPanel) {
    __m512bh columns[kVectors];
#pragma GCC unroll 4
    for (int c = 0; c < kVectors; ++c)
      columns[c] = as_pairs(_mm512_loadu_si512(panel + c * kLanes));
#pragma GCC unroll 6
    for (int r = 0; r < kTileRows; ++r) {
      const __m512bh pair = pair_at(rows + r * row_stride + w);
#pragma GCC unroll 4
      for (int c = 0; c < kVectors; ++c)
        sums[r][c] = _mm512_dpbf16_ps(sums[r][c], pair, columns[c]);
    }
  }
#pragma GCC unroll 6
  for (int r = 0; r < kTileRows; ++r) {
#pragma GCC unroll 4
    for (int c = 0; c < kVectors; ++c) {
      _mm512_storeu_ps(out + r * out_stride + c * kLanes, sums[r][c]);
    }
  }
}

/// The tile for a panel of which only the first `columns` matter.
template <bool kAdd>
void multiply(const uint32_t* rows, int64_t row_stride, const uint32_t* panel, int64_t words,
              int64_t columns, float* out, int64_t out_stride) {
  switch (pieces(smaller(columns, kPanel), kLanes)) {
    case 1:
      return multiply_tile<1, kAdd>(rows, row_stride, panel, words, out, out_stride);
    case 2:
      return multiply_tile<2, kAdd>(rows, row_stride, panel, words, out, out_stride);
    case 3:
      return multiply_tile<3, kAdd>(rows, row_stride, panel, words, out, out_stride);
    default:
      return multiply_tile<4, kAdd>(rows, row_stride, panel, words, out, out_stride);
  }
}

// ---- packing ----

/// Transposes 16 x 16 words.
inline void transpose(__m512i (&m)[kLanes]) {
  __m512i t[kLanes];
  for (int i = 0; i < kLanes; i += 2) {
    t[i] = _mm512_unpacklo_epi32(m[i], m[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(m[i], m[i + 1]);
  }
  // Now the 128 bits l of m[4 b + j] become the rows 4 b .. 4 b + 3 of column 4 l + j ...
  for (int i = 0; i < kLanes; i += 4) {
    m[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    m[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    m[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    m[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  // ... and the four quarters of a column come together.
  for (int j = 0; j < 4; ++j) {
    const __m512i upper_even = _mm512_shuffle_i32x4(m[j], m[4 + j], 0x88);
    const __m512i upper_odd = _mm512_shuffle_i32x4(m[j], m[4 + j], 0xdd);
    const __m512i lower_even = _mm512_shuffle_i32x4(m[8 + j], m[12 + j], 0x88);
    const __m512i lower_odd = _mm512_shuffle_i32x4(m[8 + j], m[12 + j], 0xdd);
    m[j] = _mm512_shuffle_i32x4(upper_even, lower_even, 0x88);
    m[4 + j] = _mm512_shuffle_i32x4(upper_odd, lower_odd, 0x88);
    m[8 + j] = _mm512_shuffle_i32x4(upper_even, lower_even, 0xdd);
    m[12 + j] = _mm512_shuffle_i32x4(upper_odd, lower_odd, 0xdd);
  }
}

/// Rows of bfloat16 somewhere in memory.
struct PanelRows {
  const uint16_t* data;
  int64_t stride;  ///< elements from row to row
  int64_t count;
  int64_t words;  ///< 32-bit words of a row
};

/// Packs the 64 rows of a panel as the tile reads them, [words][64]; rows beyond the last are zero.
inline void pack_panel(const PanelRows& rows, int64_t panel, uint32_t* packed) {
  for (int64_t group = 0; group < kPanel; group += kLanes) {
    for (int64_t w = 0; w < rows.words; w += kLanes) {
      const __mmask16 mask = first_lanes(rows.words - w);
      __m512i square[kLanes];
      for (int64_t i = 0; i < kLanes; ++i) {
        const int64_t row = panel * kPanel + group + i;
        const uint16_t* from = rows.data + smaller(row, rows.count - 1) * rows.stride + 2 * w;
        square[i] = _mm512_maskz_loadu_epi32(row < rows.count ? mask : __mmask16{0}, from);
      }
      transpose(square);
      for (int64_t i = 0; i < smaller(kLanes, rows.words - w); ++i) {
        _mm512_storeu_si512(packed + (w + i) * kPanel + group, square[i]);
      }
    }
  }
}

// ---- of a softmax ----

/// 2^x for x <= 0, relative error 2e-7, exact at 0; far below the smallest float it is 0.
inline __m512 exp2_of(__m512 x) {
  // Below -200 the result is 0 anyway; of -infinity the rest would be no number. NaN goes through.
  const __m512 power = _mm512_max_ps(_mm512_set1_ps(-200.0F), x);
  const __m512 whole = _mm512_roundscale_ps(power, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  const __m512 rest = _mm512_sub_ps(power, whole);
  // 1 + rest * q(rest), of the least largest relative error over [-1/2, 1/2]
  __m512 y = _mm512_set1_ps(0.001326472731307149F);
  y = _mm512_fmadd_ps(y, rest, _mm512_set1_ps(0.009671512991189957F));
  y = _mm512_fmadd_ps(y, rest, _mm512_set1_ps(0.05550733581185341F));
  y = _mm512_fmadd_ps(y, rest, _mm512_set1_ps(0.24022242426872253F));
  y = _mm512_fmadd_ps(y, rest, _mm512_set1_ps(0.6931470036506653F));
  y = _mm512_fmadd_ps(y, rest, _mm512_set1_ps(1.0F));
  return _mm512_scalef_ps(y, whole);
}

/// What a score is multiplied with to become an exponent of 2.
inline float exponent_unit(double scale) { return static_cast<float>(scale * 1.4426950408889634); }

/// The largest of `count` scores and `at_least`.
inline float largest_of(const float* scores, int64_t count, float at_least) {
  __m512 largest = _mm512_set1_ps(at_least);
  int64_t s = 0;
  for (; s + kLanes <= count; s += kLanes) {
    largest = _mm512_max_ps(largest, _mm512_loadu_ps(scores + s));
  }
  const __mmask16 rest = first_lanes(count - s);
  largest = _mm512_mask_max_ps(largest, rest, largest, _mm512_maskz_loadu_ps(rest, scores + s));
  return _mm512_reduce_max_ps(largest);
}

}  // namespace
}  // namespace espalier::avx512
