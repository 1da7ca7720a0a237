// SPDX-License-Identifier: Apache-2.0
#include "espalier/model/decoder.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "espalier/model/attention.h"
#include "espalier/model/kernels.h"

namespace espalier {

namespace {

/// Puts the pass's keys and values in their places.
void store(LayerCache& cache, const LayerContext& context, const at::Tensor& k,
           const at::Tensor& v) {
  if (context.cached.size() == 1) {  // then they follow one another
    const std::int64_t rows = k.size(0);
    const std::int64_t begin = context.cached.front().key_end - rows;
    cache.k.narrow(0, begin, rows).copy_(k);
    cache.v.narrow(0, begin, rows).copy_(v);
  } else {
    cache.k.index_copy_(0, context.cache_rows, k);
    cache.v.index_copy_(0, context.cache_rows, v);
  }
}

/// The keys or values that a segment may look at: its prefix's rows and its own.
at::Tensor seen_rows(const at::Tensor& rows, const Segment& segment) {
  const auto own = rows.slice(0, segment.begin, segment.end);
  if (segment.prefix_begin == segment.prefix_end) return own;
  return at::cat({rows.slice(0, segment.prefix_begin, segment.prefix_end), own});
}

/// Samples that share no prefix look at their own rows alone, all in one call.
at::Tensor attend_segments(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                           std::span<const Segment> segments, const AttentionOptions& options) {
  const bool prefixes = std::ranges::any_of(
      segments, [](const Segment& segment) { return segment.prefix_begin != segment.prefix_end; });
  if (!prefixes) {
    std::vector<AttentionSegment> own;
    for (const Segment& segment : segments) {
      own.push_back({.query_begin = segment.begin,
                     .query_end = segment.end,
                     .key_begin = segment.begin,
                     .key_end = segment.end});
    }
    return attention(q, k, v, own, options);
  }
  std::vector<at::Tensor> outputs;
  for (const Segment& segment : segments) {
    outputs.push_back(attention(q.slice(0, segment.begin, segment.end), seen_rows(k, segment),
                                seen_rows(v, segment), options));
  }
  return at::cat(outputs);
}

/// What attention reads for each row, [T, heads * head_dim].
at::Tensor attend(const DecoderAttention& weights, const LayerContext& context, const at::Tensor& x,
                  LayerCache* cache) {
  const TextConfig& config = context.config;
  const auto heads_of = [&](const Linear& projection) {
    return apply(projection, x).view({x.size(0), -1, config.head_dim});  // [T, heads, head_dim]
  };
  const auto [cos, sin] = context.rotary;
  const auto q =
      norm_and_rotate(heads_of(weights.q_proj), weights.q_norm, config.rms_norm_eps, cos, sin);
  const auto k =
      norm_and_rotate(heads_of(weights.k_proj), weights.k_norm, config.rms_norm_eps, cos, sin);
  const auto v = heads_of(weights.v_proj);
  const AttentionOptions options{.scale = std::pow(static_cast<double>(config.head_dim), -0.5),
                                 .causal = true};
  if (cache != nullptr) {
    store(*cache, context, k, v);
    return attention(q, cache->k, cache->v, context.cached, options);
  }
  return attend_segments(q, k, v, context.segments, options);
}

at::Tensor wanted(const LayerContext& context, const at::Tensor& rows) {
  return context.wanted_rows.defined() ? rows.index_select(0, context.wanted_rows) : rows;
}

at::Tensor feed_forward(const DecoderMlp& weights, const at::Tensor& x) {
  return apply(weights.down_proj, swiglu(apply(weights.gate_proj, x), apply(weights.up_proj, x)));
}

}  // namespace

KvCache make_kv_cache(const TextConfig& config, std::size_t layers,
                      const std::vector<std::int64_t>& capacities, at::ScalarType dtype,
                      const at::Device& device) {
  KvCache cache;
  std::int64_t rows = 0;
  for (const std::int64_t capacity : capacities) {
    cache.samples.push_back({.begin = rows, .length = 0, .capacity = capacity});
    rows += capacity;
  }
  const auto options = at::TensorOptions().dtype(dtype).device(device);
  for (std::size_t layer = 0; layer < layers; ++layer) {
    const auto empty = [&] {
      return at::empty({rows, config.num_key_value_heads, config.head_dim}, options);
    };
    cache.layers.push_back({.k = empty(), .v = empty()});
  }
  return cache;
}

LayerStates forward_layer(const DecoderLayer& layer, const LayerContext& context,
                          const at::Tensor& hidden, LayerCache* cache) {
  const double epsilon = context.config.rms_norm_eps;
  const at::Tensor attended =
      attend(layer.self_attn, context, rms_norm(hidden, layer.input_layernorm, epsilon), cache);
  LayerStates states;
  states.after_attention =
      wanted(context, hidden) + apply(layer.self_attn.o_proj, wanted(context, attended));
  states.output = states.after_attention +
                  feed_forward(layer.mlp, rms_norm(states.after_attention,
                                                   layer.post_attention_layernorm, epsilon));
  return states;
}

}  // namespace espalier
