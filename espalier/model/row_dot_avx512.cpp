// SPDX-License-Identifier: Apache-2.0
#include "espalier/model/product_avx512.h"
#include "espalier/model/tile_avx512.h"

// Nothing else is included, for the reason given in attention_avx512.cpp.

namespace espalier::avx512 {
namespace {

constexpr int64_t kNumbers = 32;  // bfloat16 of a register
constexpr int64_t kAhead = 384;   // numbers from the load to the prefetch

constexpr __mmask32 kAll = 0xffffffff;

__m512bh load(const uint16_t* numbers, __mmask32 mask) {
  return (__m512bh)_mm512_maskz_loadu_epi16(mask, numbers);
}

float widen(uint16_t bits) {
  return _mm_cvtss_f32(_mm_castsi128_ps(_mm_cvtsi32_si128(bits << 16)));
}

uint16_t narrow(float number) {
  return static_cast<uint16_t>(_mm_extract_epi16((__m128i)_mm_cvtneps_pbh(_mm_set_ss(number)), 0));
}

/// kRows rows of the weight from row `o` on, times kTokens tokens. Each sum is kept in kParts, so
/// that none waits for the one before it.
template <int kTokens, int kRows, int kParts>
void dot_rows(const Product& p, int64_t o) {
  const uint16_t* weight = p.weight + o * p.in;
  __m512 sums[kTokens][kRows][kParts];
#pragma GCC unroll 16
  for (int n = 0; n < kTokens * kRows * kParts; ++n) (&sums[0][0][0])[n] = _mm512_setzero_ps();
  for (int64_t i = 0; i < p.in; i += kParts * kNumbers) {
    // Memory is read front to back in either case: one row a little ahead, four rows while the four
    // before them, which lie in the cache by now, are summed.
    const uint16_t* ahead = kRows == 1 ? weight + i + kAhead : weight + kRows * (p.in + i);
#pragma GCC unroll 2
    for (int part = 0; part < kParts; ++part) {
      const int64_t at = i + part * kNumbers;
      const __mmask32 mask = first_halves(p.in - at);
      __m512bh x[kTokens];
#pragma GCC unroll 4
      for (int t = 0; t < kTokens; ++t) x[t] = load(p.x + t * p.x_stride + at, mask);
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) {
        const uint16_t* row = weight + r * p.in + at;
        _mm_prefetch(ahead + (part + r) * kNumbers, _MM_HINT_T1);
        const __m512bh w = load(row, mask);
#pragma GCC unroll 4
        for (int t = 0; t < kTokens; ++t) {
          sums[t][r][part] = _mm512_dpbf16_ps(sums[t][r][part], x[t], w);
        }
      }
    }
  }
#pragma GCC unroll 4
  for (int t = 0; t < kTokens; ++t) {
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 2
      for (int part = 1; part < kParts; ++part) {
        sums[t][r][0] = _mm512_add_ps(sums[t][r][0], sums[t][r][part]);
      }
      const float bias = p.bias == nullptr ? 0.0F : widen(p.bias[o + r]);
      p.result[t * p.out + o + r] = narrow(_mm512_reduce_add_ps(sums[t][r][0]) + bias);
    }
  }
}

/// One row read front to back is the fastest way to read memory. With three tokens and more the
/// loads of x would be the limit: there four rows share them.
template <int kTokens>
void dot_range(const Product& p, int64_t begin, int64_t end) {
  int64_t o = begin;
  if constexpr (kTokens > 2) {
    for (; o + 4 <= end; o += 4) dot_rows<kTokens, 4, 1>(p, o);
  }
  for (; o < end; ++o) dot_rows<kTokens, 1, 2>(p, o);
}

}  // namespace

void row_dot(const Product& product, int64_t begin, int64_t end) {
  switch (product.tokens) {
    case 1:
      return dot_range<1>(product, begin, end);
    case 2:
      return dot_range<2>(product, begin, end);
    case 3:
      return dot_range<3>(product, begin, end);
    default:
      return dot_range<4>(product, begin, end);
  }
}

}  // namespace espalier::avx512
