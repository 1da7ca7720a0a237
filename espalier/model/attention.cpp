// SPDX-License-Identifier: Apache-2.0
#include "espalier/model/attention.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <array>
#include <optional>
#include <vector>

#include "espalier/base/error.h"
#include "espalier/model/attention_avx512.h"
#include "espalier/model/dispatch.h"
#include "espalier/model/fused_loops.h"
#include "espalier/model/gradients.h"
#include "espalier/model/loop_calls.h"
#include "espalier/model/tasks.h"

namespace espalier {
namespace {

/// Up to so many tokens read K and V where they lie; packing pays only where more do.
constexpr int64_t kFewTokens = 4;
constexpr int64_t kFewRows = 64;

void check(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
           const AttentionOptions& options) {
  assume(q.dim() == 3 && k.dim() == 3 && v.dim() == 3, "q, k and v are [tokens, heads, D]");
  assume(k.sizes() == v.sizes() && k.size(2) == q.size(2), "q, k and v belong together");
  assume(k.size(1) > 0 && q.size(1) % k.size(1) == 0, "the kv heads divide the query heads");
  assume(!options.causal || k.size(0) >= q.size(0), "causal queries are the last positions");
}

/// Whether loops of our own can read these.
bool loopable(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  const auto type = q.scalar_type();
  const auto fits = [&](const at::Tensor& x) {
    return readable(x) && x.scalar_type() == type && x.numel() > 0;
  };
  return (type == at::kBFloat16 || type == at::kFloat) && fits(q) && fits(k) && fits(v);
}

/// Whether the kernel of our own takes this: it knows no odd and no empty dimension.
bool ours(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
          const AttentionOptions& options) {
  return has_avx512_bf16() && loopable(q, k, v) && q.scalar_type() == at::kBFloat16 &&
         q.size(2) % 2 == 0 && options.scale > 0;
}

avx512::HeadRows rows_of(const at::Tensor& x) {
  return {.data = static_cast<const uint16_t*>(x.const_data_ptr()),
          .token_stride = x.stride(0),
          .head_stride = x.stride(1)};
}

/// The rows from a token on.
avx512::HeadRows rows_from(const at::Tensor& x, int64_t token) {
  avx512::HeadRows rows = rows_of(x);
  rows.data += token * rows.token_stride;
  return rows;
}

/// Whether so few tokens of a group of query heads read K and V where they lie.
bool are_few(int64_t tokens, int64_t group) {
  return tokens <= kFewTokens && tokens * group <= kFewRows;
}

at::Tensor bytes(int64_t count) { return at::empty({count}, at::kByte); }

struct Operands {
  avx512::AttentionShape shape;
  avx512::HeadRows q, k, v;
};

void attend_few(const Operands& of, uint16_t* out) {
  for_each_task(of.shape.kv_heads, avx512::few_scratch_bytes(of.shape),
                [&](int64_t kv_head, void* scratch) {
                  avx512::attend_few(of.shape, of.q, of.k, of.v, kv_head, scratch, out);
                });
}

void attend_blocks(const Operands& of, uint16_t* out) {
  const avx512::AttentionShape& shape = of.shape;
  const int64_t key_words = avx512::packed_keys_words(shape);
  const int64_t value_words = avx512::packed_values_words(shape);
  const at::Tensor packed = bytes(shape.kv_heads * (key_words + value_words) * 4);
  auto* keys = static_cast<uint32_t*>(packed.mutable_data_ptr());
  uint32_t* values = keys + shape.kv_heads * key_words;
  at::parallel_for(0, 2 * shape.kv_heads, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t head = i / 2;
      if (i % 2 == 0) avx512::pack_keys(shape, of.k, head, keys + head * key_words);
      if (i % 2 == 1) avx512::pack_values(shape, of.v, head, values + head * value_words);
    }
  });

  const int64_t rows = shape.tokens * (shape.heads / shape.kv_heads);
  const int64_t blocks = (rows + avx512::kBlockRows - 1) / avx512::kBlockRows;
  for_each_task(blocks * shape.kv_heads, avx512::block_scratch_bytes(shape),
                [&](int64_t i, void* scratch) {
                  const int64_t head = i / blocks;
                  const int64_t block = blocks - 1 - i % blocks;  // the longest first
                  avx512::attend_block(shape, of.q,
                                       {.kv_head = head,
                                        .keys = keys + head * key_words,
                                        .values = values + head * value_words},
                                       block, scratch, out);
                });
}

avx512::AttentionShape shape_of(const at::Tensor& q, const at::Tensor& k,
                                const AttentionOptions& options) {
  return {.tokens = q.size(0),
          .keys = k.size(0),
          .heads = q.size(1),
          .kv_heads = k.size(1),
          .head_dim = q.size(2),
          .scale = options.scale,
          .causal = options.causal};
}

at::Tensor result_of(const at::Tensor& q) {
  return at::empty({q.size(0), q.size(1) * q.size(2)}, q.options());
}

/// Samples of up to so many keys are packed by the task that attends to them.
constexpr int64_t kShortKeys = 256;

std::int64_t most_keys(std::span<const AttentionSegment> segments) {
  std::int64_t most = 0;
  for (const AttentionSegment& segment : segments) {
    most = std::max(most, segment.key_end - segment.key_begin);
  }
  return most;
}

/// Steps in bfloat16: each task is a token's group of heads.
void attend_steps_avx512(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                         std::span<const AttentionSegment> segments,
                         const AttentionOptions& options, const at::Tensor& out) {
  avx512::AttentionShape longest = shape_of(q, k, options);
  longest.tokens = 1;
  longest.keys = most_keys(segments);
  const int64_t kv_heads = k.size(1);
  auto* to = static_cast<uint16_t*>(out.mutable_data_ptr());
  for_each_task(std::ssize(segments) * kv_heads, avx512::few_scratch_bytes(longest),
                [&](int64_t i, void* scratch) {
                  const int64_t row = i / kv_heads;
                  const AttentionSegment& own = segments[static_cast<std::size_t>(row)];
                  avx512::AttentionShape shape = longest;
                  shape.keys = own.key_end - own.key_begin;
                  avx512::attend_few(shape, rows_from(q, row), rows_from(k, own.key_begin),
                                     rows_from(v, own.key_begin), i % kv_heads, scratch,
                                     to + row * out.size(1));
                });
}

/// Steps in the plain loop.
template <typename Number>
void attend_steps_loop(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                       std::span<const AttentionSegment> segments, const AttentionOptions& options,
                       const at::Tensor& out) {
  const int64_t kv_heads = k.size(1);
  const int64_t group = q.size(1) / kv_heads;
  const auto part = [](const at::Tensor& x, int64_t row, int64_t head) {
    return numbers<Number>(x) + row * x.stride(0) + head * x.stride(1);
  };
  auto* to = mutable_numbers<Number>(out);
  const auto room = static_cast<int64_t>(sizeof(float)) * (most_keys(segments) + q.size(2));
  for_each_task(std::ssize(segments) * kv_heads, room, [&](int64_t i, void* scratch) {
    const int64_t row = i / kv_heads;
    const int64_t head = i % kv_heads;
    const AttentionSegment& own = segments[static_cast<std::size_t>(row)];
    loops::run(
        loops::OneQuery<Number>{.q = part(q, row, head * group),
                                .q_head_stride = q.stride(1),
                                .k = {.data = part(k, own.key_begin, head), .stride = k.stride(0)},
                                .v = {.data = part(v, own.key_begin, head), .stride = v.stride(0)},
                                .group = group,
                                .keys = own.key_end - own.key_begin,
                                .size = q.size(2),
                                .scale = static_cast<float>(options.scale),
                                .out = to + row * out.size(1) + head * group * q.size(2)},
        static_cast<float*>(scratch));
  });
}

/// One token a sample, each over keys of its own.
at::Tensor attend_steps(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                        std::span<const AttentionSegment> segments,
                        const AttentionOptions& options) {
  at::Tensor out = result_of(q);
  if (ours(q, k, v, options) && q.size(1) / k.size(1) <= kFewRows) {
    attend_steps_avx512(q, k, v, segments, options, out);
  } else if (q.scalar_type() == at::kFloat) {
    attend_steps_loop<float>(q, k, v, segments, options, out);
  } else {
    attend_steps_loop<loops::Bfloat16>(q, k, v, segments, options, out);
  }
  return out;
}

/// Short samples in bfloat16: each task is a sample's kv head. The same steps as `attend_blocks`,
/// so the same bits.
at::Tensor attend_short(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                        std::span<const AttentionSegment> segments,
                        const AttentionOptions& options) {
  avx512::AttentionShape longest = shape_of(q, k, options);
  longest.keys = most_keys(segments);
  const int64_t packed =
      4 * (avx512::packed_keys_words(longest) + avx512::packed_values_words(longest));
  const int64_t kv_heads = k.size(1);
  at::Tensor out = result_of(q);
  auto* to = static_cast<uint16_t*>(out.mutable_data_ptr());
  for_each_task(std::ssize(segments) * kv_heads, packed + avx512::block_scratch_bytes(longest),
                [&](int64_t task, void* scratch) {
                  const AttentionSegment& own = segments[static_cast<std::size_t>(task / kv_heads)];
                  const int64_t head = task % kv_heads;
                  avx512::AttentionShape shape = longest;
                  shape.tokens = own.query_end - own.query_begin;
                  shape.keys = own.key_end - own.key_begin;
                  auto* keys = static_cast<uint32_t*>(scratch);
                  uint32_t* values = keys + avx512::packed_keys_words(shape);
                  pack_keys(shape, rows_from(k, own.key_begin), head, keys);
                  pack_values(shape, rows_from(v, own.key_begin), head, values);
                  const int64_t rows = shape.tokens * (shape.heads / kv_heads);
                  for (int64_t block = 0; block * avx512::kBlockRows < rows; ++block) {
                    attend_block(shape, rows_from(q, own.query_begin),
                                 {.kv_head = head, .keys = keys, .values = values}, block,
                                 static_cast<char*>(scratch) + packed,
                                 to + own.query_begin * out.size(1));
                  }
                });
  return out;
}

/// Whether every sample is one that `attend_blocks` would take, and short.
bool all_short(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
               std::span<const AttentionSegment> segments, const AttentionOptions& options) {
  const int64_t group = q.size(1) / k.size(1);
  return ours(q, k, v, options) && std::ranges::all_of(segments, [&](const auto& segment) {
           const int64_t tokens = segment.query_end - segment.query_begin;
           const int64_t keys = segment.key_end - segment.key_begin;
           return !are_few(tokens, group) && keys > 0 && keys <= kShortKeys &&
                  (!options.causal || keys >= tokens);
         });
}

}  // namespace

at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                     std::span<const AttentionSegment> segments, const AttentionOptions& options) {
  assume(!segments.empty() && segments.back().query_end == q.size(0), "segments cover the queries");
  const bool steps = std::ranges::all_of(segments, [](const AttentionSegment& segment) {
    return segment.query_end - segment.query_begin == 1 && segment.key_begin < segment.key_end;
  });
  if (recorded(q) || recorded(k) || recorded(v)) {
    return differentiable::attention(q, k, v, segments, options);
  }
  if (steps && loopable(q, k, v)) return attend_steps(q, k, v, segments, options);
  if (all_short(q, k, v, segments, options)) return attend_short(q, k, v, segments, options);
  std::vector<at::Tensor> outputs;
  for (const AttentionSegment& segment : segments) {
    outputs.push_back(attention(q.slice(0, segment.query_begin, segment.query_end),
                                k.slice(0, segment.key_begin, segment.key_end),
                                v.slice(0, segment.key_begin, segment.key_end), options));
  }
  return outputs.size() == 1 ? outputs.front() : at::cat(outputs);
}

at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                     const AttentionOptions& options) {
  check(q, k, v, options);
  if (!ours(q, k, v, options)) {
    const std::array<AttentionSegment, 1> whole = {
        {{.query_begin = 0, .query_end = q.size(0), .key_begin = 0, .key_end = k.size(0)}}};
    const bool step = q.size(0) == 1 && loopable(q, k, v);
    return step ? attend_steps(q, k, v, whole, options) : composed::attention(q, k, v, options);
  }
  const Operands operands{
      .shape = shape_of(q, k, options), .q = rows_of(q), .k = rows_of(k), .v = rows_of(v)};
  at::Tensor out = result_of(q);
  auto* to = static_cast<uint16_t*>(out.mutable_data_ptr());
  if (are_few(q.size(0), q.size(1) / k.size(1))) {
    attend_few(operands, to);
  } else {
    attend_blocks(operands, to);
  }
  return out;
}

namespace composed {
namespace {

/// [tokens, heads, D] -> [1, heads, tokens, D], a view.
at::Tensor heads_first(const at::Tensor& x) { return x.transpose(0, 1).unsqueeze(0); }

/// True where query t may see key s. ATen's own causal flag counts from the first key, not from
/// the last: it holds only where there are as many queries as keys.
at::Tensor causal_mask(int64_t queries, int64_t keys, at::Device device) {
  const auto all = at::ones({queries, keys}, at::TensorOptions().dtype(at::kBool).device(device));
  return all.tril(keys - queries);
}

}  // namespace

at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                     const AttentionOptions& options) {
  const int64_t queries = q.size(0);
  const int64_t keys = k.size(0);
  const bool square = options.causal && queries > 1 && queries == keys;
  std::optional<at::Tensor> mask;
  if (options.causal && queries > 1 && !square) mask = causal_mask(queries, keys, q.device());
  const at::Tensor out = at::scaled_dot_product_attention(
      heads_first(q), heads_first(k), heads_first(v), mask, /*dropout_p=*/0.0, square,
      options.scale, /*enable_gqa=*/q.size(1) != k.size(1));
  return out.squeeze(0).transpose(0, 1).reshape({queries, q.size(1) * q.size(2)});
}

}  // namespace composed

}  // namespace espalier
