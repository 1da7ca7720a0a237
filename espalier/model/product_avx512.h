// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

/// The product of tokens with a weight in bfloat16, for CPUs with AVX512_BF16. `kernels.cpp` alone
/// calls it, after it has asked the CPU. A token's result is the same whatever other tokens are
/// multiplied with it, above `kRowDotTokens` of them as well as up to there.
namespace espalier::avx512 {

/// How many tokens `row_dot` takes.
inline constexpr std::int64_t kRowDotTokens = 4;

/// x W^T + b: bfloat16 as raw 16 bits, sums in float32, one rounding.
struct Product {
  const std::uint16_t* x;       ///< [tokens, in]
  std::int64_t x_stride;        ///< elements from token to token
  std::int64_t tokens;          ///< at least 1
  const std::uint16_t* weight;  ///< [out, in], dense
  std::int64_t in;
  std::int64_t out;
  const std::uint16_t* bias;  ///< [out], or null
  std::uint16_t* result;      ///< [tokens, out], dense
};

/// The outputs begin .. end - 1 of up to `kRowDotTokens` tokens: as fast as the weight can be read.
void row_dot(const Product& product, std::int64_t begin, std::int64_t end);

/// How many tokens a panel holds; many tokens are packed in panels first.
inline constexpr std::int64_t kPanelTokens = 64;

/// The 32-bit words of one packed panel. \param product  its `in` is even
std::int64_t packed_panel_words(const Product& product);

/// Packs the tokens kPanelTokens * panel and on; what is beyond the last token is zero.
void pack_tokens(const Product& product, std::int64_t panel, std::uint32_t* packed);

/// The bytes that one running `multiply_block` needs, in a place aligned to 64 bytes.
std::int64_t product_scratch_bytes(const Product& product, std::int64_t rows);

/// The outputs begin .. end - 1 of all tokens. The weight is read where it lies, once for each 512
/// tokens; of the two factors only the tokens, the smaller one, are ever packed.
///
/// \param packed  all panels
void multiply_block(const Product& product, const std::uint32_t* packed, std::int64_t begin,
                    std::int64_t end, void* scratch);

}  // namespace espalier::avx512
