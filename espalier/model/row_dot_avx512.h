// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

/// The product of a few tokens with a weight in bfloat16, for CPUs with AVX512_BF16: as fast as
/// the weight can be read. `kernels.cpp` alone calls it, after it has asked the CPU.
namespace espalier::avx512 {

/// How many tokens `row_dot` takes.
inline constexpr std::int64_t kRowDotTokens = 4;

/// x W^T + b: bfloat16 as raw 16 bits, sums in float32, one rounding.
struct RowDot {
  const std::uint16_t* x;       ///< [tokens, in]
  std::int64_t x_stride;        ///< elements from token to token
  std::int64_t tokens;          ///< 1 .. kRowDotTokens
  const std::uint16_t* weight;  ///< [out, in], dense
  std::int64_t in;
  std::int64_t out;
  const std::uint16_t* bias;  ///< [out], or null
  std::uint16_t* result;      ///< [tokens, out], dense
};

/// The outputs begin .. end - 1 of all tokens.
void row_dot(const RowDot& product, std::int64_t begin, std::int64_t end);

}  // namespace espalier::avx512
