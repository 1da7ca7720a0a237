// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "espalier/model/attention_avx512.h"

/// The gradients of attention in bfloat16 for CPUs with AVX512_BF16: pointers only, compiled with
/// that instruction set. `gradients.cpp` alone calls it, after it has asked the CPU.
namespace espalier::avx512 {

/// One sample's operands, at its first row and first head.
struct AttentionOperands {
  HeadRows queries;   ///< [tokens, heads, D]
  HeadRows keys;      ///< [keys, kv_heads, D]
  HeadRows values;    ///< the same
  HeadRows gradient;  ///< [tokens, heads, D], of the result
};

/// Where a sample's gradients go; dense, at its first row.
struct AttentionGradients {
  std::uint16_t* queries;  ///< [tokens, heads, D]
  std::uint16_t* keys;     ///< [keys, kv_heads, D]
  std::uint16_t* values;   ///< the same
};

/// The bytes that one running `attend_backward` needs beside its results, in a place aligned to 64
/// bytes. It grows with the keys, not with the tokens.
std::int64_t backward_scratch_bytes(const AttentionShape& shape);

/// The gradients at one kv head and the group of query heads that read it.
///
/// With scores s = scale * q k^T, p = softmax(s) and g the result's gradient: dv = p^T g,
/// ds = scale * p (g v^T - sum(p g v^T)), dq = ds k, dk = ds^T q. Scores and sums are float32; p
/// and ds are rounded to bfloat16 for the three last products, as in ATen's flash attention.
void attend_backward(const AttentionShape& shape, const AttentionOperands& operands,
                     std::int64_t kv_head, void* scratch, const AttentionGradients& gradients);

}  // namespace espalier::avx512
