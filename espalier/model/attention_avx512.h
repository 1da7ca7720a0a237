// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

/// The bfloat16 attention kernel for CPUs with AVX512_BF16: pointers only, compiled with that
/// instruction set. `attention.cpp` alone calls it, after it has asked the CPU.
///
/// The numbers are bfloat16 as raw 16 bits. The instruction behind it all, vdpbf16ps, multiplies
/// *pairs*: one 32-bit word of a row against 16 words, each of them two numbers that follow each
/// other along the summed dimension. So K is packed with pairs along the head dimension and V with
/// pairs along the keys.
namespace espalier::avx512 {

/// One attention problem: T tokens of `heads` query heads against S keys of `kv_heads` heads.
/// Strides are in elements; the last dimension is dense.
struct AttentionShape {
  std::int64_t tokens;
  std::int64_t keys;
  std::int64_t heads;
  std::int64_t kv_heads;
  std::int64_t head_dim;  ///< even
  double scale;           ///< positive
  bool causal;            ///< query t sees keys 0 .. S - T + t
};

/// [tokens, heads, D] somewhere in memory.
struct HeadRows {
  const std::uint16_t* data;
  std::int64_t token_stride;
  std::int64_t head_stride;
};

/// How many query rows (token, head of the group) one task of `attend_block` takes.
inline constexpr std::int64_t kBlockRows = 48;

/// The 32-bit words that one kv head takes when packed, K and V alike enough for one number each.
std::int64_t packed_keys_words(const AttentionShape& shape);
std::int64_t packed_values_words(const AttentionShape& shape);

/// The bytes that one running `attend_block` or `attend_few` needs beside its result, in a place
/// aligned to 64 bytes.
std::int64_t block_scratch_bytes(const AttentionShape& shape);
std::int64_t few_scratch_bytes(const AttentionShape& shape);

/// Packs one head of K (`keys`) or V (`values`); what is beyond the last key or column is zero.
void pack_keys(const AttentionShape& shape, const HeadRows& keys, std::int64_t kv_head,
               std::uint32_t* packed);
void pack_values(const AttentionShape& shape, const HeadRows& values, std::int64_t kv_head,
                 std::uint32_t* packed);

/// One kv head with K and V packed.
struct PackedHead {
  std::int64_t kv_head;
  const std::uint32_t* keys;
  const std::uint32_t* values;
};

/// The rows block * kBlockRows and on of the group of query heads that read `head`. Rows count
/// through the heads of a token first: so the rows of a block see nearly the same keys.
///
/// \param out  [T, heads * D], dense
void attend_block(const AttentionShape& shape, const HeadRows& queries, const PackedHead& head,
                  std::int64_t block, void* scratch, std::uint16_t* out);

/// All tokens of the group that reads `kv_head`, without packing: for the few tokens of a decode
/// step, which read K and V once.
void attend_few(const AttentionShape& shape, const HeadRows& queries, const HeadRows& keys,
                const HeadRows& values, std::int64_t kv_head, void* scratch, std::uint16_t* out);

}  // namespace espalier::avx512
