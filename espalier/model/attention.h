// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>

namespace espalier {

/// How queries may look at keys.
struct AttentionOptions {
  double scale;
  /// Query t of T sees keys 0 .. S - T + t: the queries are the last T of S positions, so that a
  /// prompt, a continued prompt and a single cached token are one case. Otherwise every query
  /// sees every key.
  bool causal;
};

/// softmax(scale * q k^T) v for one segment; query head h reads kv head h / (heads / kv_heads).
/// Scores and softmax in float32, probabilities rounded to v's dtype before the second product,
/// which accumulates in float32.
///
/// On a CPU with AVX512_BF16, bfloat16 runs in a kernel of our own (blocks of queries, causal tails
/// cut off, K and V packed once for the group's heads); a single token runs in a fused loop on any
/// CPU; the rest in `composed::attention`.
///
/// \param q     [T, heads, D], float32 or bfloat16, last dimension dense
/// \param k, v  [S, kv_heads, D], same dtype, last dimension dense; S >= T where causal
/// \return      [T, heads * D], dense
at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                     const AttentionOptions& options);

/// One sample among packed rows: which queries are its own, and which keys these look at.
struct AttentionSegment {
  std::int64_t query_begin;
  std::int64_t query_end;
  std::int64_t key_begin;
  std::int64_t key_end;
};

/// The same for several samples at once: rows of q follow one another sample by sample, rows of k
/// and v lie anywhere. A step of one token a sample is one parallel region on the CPU.
///
/// \param segments  cover the rows of q in order, at least one
/// \return          [T, heads * D], dense
at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                     std::span<const AttentionSegment> segments, const AttentionOptions& options);

namespace composed {
/// The twin: ATen's scaled_dot_product_attention.
at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                     const AttentionOptions& options);
}  // namespace composed

}  // namespace espalier
