// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "espalier/model/fused_loops.h"

namespace espalier::loops {

/// The gradients of attention for one sample and the group of query heads that read one kv head.
/// Pointers are at the sample's first row and the group's first head.
///
/// With scores s = scale * q k^T, p = softmax(s), o = p v and g the gradient of o:
/// dv = p^T g, ds = p (g v^T - sum(p g v^T)), dq = scale * ds k, dk = scale * ds^T q, in float32,
/// rounded once.
template <typename Number>
struct AttentionGradient {
  Heads<Number> q;         ///< [queries, group, D]
  Rows<Number> k;          ///< [keys, D]
  Rows<Number> v;          ///< [keys, D]
  Heads<Number> gradient;  ///< [queries, group, D]
  std::int64_t queries;
  std::int64_t keys;
  std::int64_t group;
  std::int64_t size;  ///< D
  float scale;
  bool causal;  ///< query t sees keys 0 .. keys - queries + t
  Number* d_q;  ///< [queries, group, D], `q_stride` apart, heads dense
  Number* d_k;  ///< [keys, D], `kv_stride` apart
  Number* d_v;  ///< the same
  std::int64_t q_stride;
  std::int64_t kv_stride;
};

/// The float32 numbers that one running loop needs beside its results, from a place aligned to 64
/// bytes. It grows with queries * group * keys: for short samples.
std::int64_t gradient_room(std::int64_t queries, std::int64_t keys, std::int64_t group,
                           std::int64_t size);

void run(const AttentionGradient<float>& loop, float* room);
void run(const AttentionGradient<Bfloat16>& loop, float* room);

}  // namespace espalier::loops
