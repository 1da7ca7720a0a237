// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "espalier/checkpoint/config.h"
#include "espalier/model/attention.h"
#include "espalier/model/layers.h"
#include "espalier/model/rope.h"

namespace espalier {

struct DecoderAttention {
  Linear q_proj;
  Linear k_proj;
  Linear v_proj;
  Linear o_proj;
  at::Tensor q_norm;  ///< [head_dim]
  at::Tensor k_norm;  ///< [head_dim]
};

struct DecoderMlp {
  Linear gate_proj;
  Linear up_proj;
  Linear down_proj;
};

/// One decoder layer; fields are the checkpoint's keys below `model.language_model.layers.{i}`.
struct DecoderLayer {
  at::Tensor input_layernorm;  ///< [H]
  DecoderAttention self_attn;
  at::Tensor post_attention_layernorm;  ///< [H]
  DecoderMlp mlp;
};

/// The rows [begin, end) of one sample among rows that are packed one sample after another. Samples
/// that begin alike share these first rows: they are a segment of their own, further up, which each
/// sample's segment names as its prefix.
struct Segment {
  std::int64_t begin;
  std::int64_t end;
  std::int64_t prefix_begin = 0;  ///< rows that come before its own; none where both are equal
  std::int64_t prefix_end = 0;
  bool operator==(const Segment&) const = default;
};

/// Keys (normalized and turned) and values of one layer for the tokens so far, of all samples.
/// [rows, kv_heads, head_dim] each.
struct LayerCache {
  at::Tensor k;
  at::Tensor v;
};

/// A sample's part of a cache: the rows begin .. begin + capacity - 1, of which the first `length`
/// are filled.
struct CachedSample {
  std::int64_t begin;
  std::int64_t length;
  std::int64_t capacity;
  bool operator==(const CachedSample&) const = default;
};

/// The cache of some samples. A sample that is done is taken off the list; its rows then rest.
struct KvCache {
  std::vector<LayerCache> layers;
  std::vector<CachedSample> samples;  ///< in the order of a pass's segments
};

/// An empty cache.
///
/// \param layers      how many decoder layers there are
/// \param capacities  the most tokens that each sample can take
KvCache make_kv_cache(const TextConfig& config, std::size_t layers,
                      const std::vector<std::int64_t>& capacities, at::ScalarType dtype,
                      const at::Device& device);

/// What an observer sees of one layer, [T, H] each.
struct LayerTaps {
  const at::Tensor& input;            ///< after any DeepStack addition
  const at::Tensor& after_attention;  ///< input + attention branch
  const at::Tensor& output;           ///< raw: before any DeepStack addition
};

/// Called after each decoder layer, with the layer's place in the stack.
using LayerObserver = std::function<void(std::int64_t layer, const LayerTaps& taps)>;

/// What a layer makes of its input.
struct LayerStates {
  at::Tensor after_attention;
  at::Tensor output;
};

/// The rows that one call computes, and what they may see.
struct LayerContext {
  const TextConfig& config;
  const Rotary& rotary;
  /// The samples among the rows; attention never crosses from one to another.
  std::span<const Segment> segments;
  /// With a cache: which rows of q see which rows of the cache, one entry a segment.
  std::span<const AttentionSegment> cached = {};
  /// With a cache: where in it the keys and values of each of the pass's rows go, [T] int64.
  at::Tensor cache_rows = {};
  /// The rows whose output somebody reads, [n] int64; undefined, all. The others are keys and
  /// values alone.
  at::Tensor wanted_rows = {};
};

/// One decoder layer, the same for every driver: h + attention(norm(h)), then + mlp(norm(.)).
///
/// \param hidden  [T, H]
/// \param cache   where the rows' keys and values go, and where all that they may see is then read.
///                May be null.
/// \return        [T, H] each, or [n, H] of the wanted rows
LayerStates forward_layer(const DecoderLayer& layer, const LayerContext& context,
                          const at::Tensor& hidden, LayerCache* cache);

}  // namespace espalier
