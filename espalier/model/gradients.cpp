// SPDX-License-Identifier: Apache-2.0
#include "espalier/model/gradients.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <span>
#include <tuple>
#include <utility>
#include <vector>

#include "espalier/model/attention_gradient.h"
#include "espalier/model/attention_gradient_avx512.h"
#include "espalier/model/dispatch.h"
#include "espalier/model/fused_loops.h"
#include "espalier/model/kernels.h"
#include "espalier/model/loop_calls.h"
#include "espalier/model/tasks.h"

namespace espalier::differentiable {

namespace {

using loops::Bfloat16;
using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

/// Rows of numbers that lie one after another on the CPU, in a type that our loops know.
bool loopable(const at::Tensor& x) {
  return x.is_cpu() && x.is_contiguous() && x.numel() > 0 &&
         (x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16);
}

/// The gradients of inputs by a graph that is built for them alone: for what is not written out.
template <typename Forward>
variable_list by_autograd(const variable_list& inputs, const at::Tensor& gradient,
                          const Forward& forward) {
  const at::AutoGradMode grad(true);
  variable_list leaves;
  for (const at::Tensor& input : inputs) leaves.push_back(input.detach().requires_grad_());
  return torch::autograd::grad({forward(leaves)}, leaves, {gradient});
}

struct LinearFunction : Function<LinearFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weight,
                            const std::optional<at::Tensor>& bias) {
    context->save_for_backward({x, weight});
    context->saved_data["has_bias"] = bias.has_value();
    return espalier::linear(x, weight, bias);
  }
  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor& gradient = gradients[0];
    variable_list result(3);
    if (context->needs_input_grad(0)) result[0] = at::matmul(gradient, saved[1]);
    const at::Tensor rows = gradient.reshape({-1, gradient.size(-1)});
    if (context->needs_input_grad(1)) {
      result[1] = at::matmul(rows.t(), saved[0].reshape({-1, saved[0].size(-1)}));
    }
    const bool has_bias = context->saved_data["has_bias"].toBool();
    if (has_bias && context->needs_input_grad(2)) result[2] = rows.sum(0);
    return result;
  }
};

/// The gradient of a norm's weight: the sum over rows of gradient * x / rms(x).
at::Tensor norm_weight_gradient(const at::Tensor& gradient, const at::Tensor& x, double eps) {
  const at::Tensor wide = x.to(at::kFloat);
  const at::Tensor scale = at::rsqrt(wide.square().mean(-1, /*keepdim=*/true) + eps);
  const at::Tensor products = gradient.to(at::kFloat) * wide * scale;
  return products.reshape({-1, x.size(-1)}).sum(0).to(x.scalar_type());
}

/// The gradient of a norm's input.
at::Tensor norm_input_gradient(const at::Tensor& gradient, const at::Tensor& x,
                               const at::Tensor& weight, double eps) {
  if (!loopable(x)) {
    return by_autograd({x}, gradient, [&](const variable_list& leaves) {
      return composed::rms_norm(leaves[0], weight, eps);
    })[0];
  }
  at::Tensor result = at::empty_like(x);
  with_number(x, [&]<typename Number>(Number) {
    const loops::RmsNormBackward<Number> loop{.x = numbers<Number>(x),
                                              .weight = numbers<Number>(weight),
                                              .gradient = numbers<Number>(gradient),
                                              .eps = static_cast<float>(eps),
                                              .size = x.size(-1),
                                              .out = mutable_numbers<Number>(result)};
    run_parallel(loop, x.numel() / x.size(-1), x.size(-1));
  });
  return result;
}

/// Of a norm's input and weight, where they are wanted.
void set_norm_gradients(AutogradContext* context, const at::Tensor& gradient, const at::Tensor& x,
                        const at::Tensor& weight, variable_list& result) {
  const double eps = context->saved_data["eps"].toDouble();
  if (context->needs_input_grad(0)) {
    result[0] = norm_input_gradient(gradient, x.contiguous(), weight.detach(), eps);
  }
  if (context->needs_input_grad(1)) result[1] = norm_weight_gradient(gradient, x, eps);
}

struct RmsNormFunction : Function<RmsNormFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weight,
                            double eps) {
    context->save_for_backward({x, weight});
    context->saved_data["eps"] = eps;
    return espalier::rms_norm(x, weight, eps);
  }
  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const variable_list saved = context->get_saved_variables();
    variable_list result(3);
    set_norm_gradients(context, gradients[0].contiguous(), saved[0], saved[1], result);
    return result;
  }
};

/// What a rotation does to a gradient: it turns it back.
at::Tensor turn_back(const at::Tensor& gradient, const at::Tensor& cos, const at::Tensor& sin) {
  return espalier::rotate(gradient, cos.to(at::kFloat), sin.to(at::kFloat).neg());
}

struct NormAndRotateFunction : Function<NormAndRotateFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weight,
                            double eps, const at::Tensor& cos, const at::Tensor& sin) {
    context->save_for_backward({x, weight, cos, sin});
    context->saved_data["eps"] = eps;
    return espalier::norm_and_rotate(x, weight, eps, cos, sin);
  }
  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor gradient = turn_back(gradients[0].contiguous(), saved[2], saved[3]);
    variable_list result(5);
    set_norm_gradients(context, gradient, saved[0], saved[1], result);
    return result;
  }
};

struct SwigluFunction : Function<SwigluFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& gate,
                            const at::Tensor& up) {
    context->save_for_backward({gate, up});
    return espalier::swiglu(gate, up);
  }
  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor gate = saved[0].contiguous();
    const at::Tensor up = saved[1].contiguous();
    const at::Tensor gradient = gradients[0].contiguous();
    if (!loopable(gate)) {
      return by_autograd({gate, up}, gradient, [](const variable_list& leaves) {
        return composed::swiglu(leaves[0], leaves[1]);
      });
    }
    variable_list result{at::empty_like(gate), at::empty_like(up)};
    with_number(gate, [&]<typename Number>(Number) {
      const loops::SwigluBackward<Number> loop{.gate = numbers<Number>(gate),
                                               .up = numbers<Number>(up),
                                               .gradient = numbers<Number>(gradient),
                                               .d_gate = mutable_numbers<Number>(result[0]),
                                               .d_up = mutable_numbers<Number>(result[1])};
      run_parallel(loop, gate.numel(), 1);
    });
    return result;
  }
};

struct RotateFunction : Function<RotateFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& cos,
                            const at::Tensor& sin) {
    context->save_for_backward({cos, sin});
    return espalier::rotate(x, cos, sin);
  }
  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const variable_list saved = context->get_saved_variables();
    return {turn_back(gradients[0].contiguous(), saved[0], saved[1]), {}, {}};
  }
};

struct GeluTanhFunction : Function<GeluTanhFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x) {
    context->save_for_backward({x});
    return espalier::gelu_tanh(x);
  }
  static variable_list backward(AutogradContext* context, variable_list gradients) {
    return {at::gelu_backward(gradients[0], context->get_saved_variables()[0], "tanh")};
  }
};

/// Samples whose probabilities are computed together, each padded at its end to the longest: a
/// causal query never sees what comes after it.
struct SegmentGroup {
  std::vector<AttentionSegment> segments;
  int64_t queries = 0;
  int64_t keys = 0;
};

/// Groups samples of about one length. Those that are not causal see all keys: theirs must be of
/// exactly one length; so must those that look at more keys than they have queries.
std::vector<SegmentGroup> groups_of(std::vector<AttentionSegment> segments, bool causal) {
  constexpr double kLeastFilled = 0.75;
  const auto queries = [](const AttentionSegment& s) { return s.query_end - s.query_begin; };
  const auto keys = [](const AttentionSegment& s) { return s.key_end - s.key_begin; };
  std::ranges::stable_sort(segments, [&](const auto& a, const auto& b) {
    return std::pair(queries(a), keys(a)) > std::pair(queries(b), keys(b));
  });
  std::vector<SegmentGroup> groups;
  for (const AttentionSegment& segment : segments) {
    const bool square = causal && queries(segment) == keys(segment);
    const auto fits = [&](const SegmentGroup& group) {
      if (group.queries == queries(segment) && group.keys == keys(segment)) return true;
      return square && group.queries == group.keys &&
             static_cast<double>(queries(segment)) >=
                 kLeastFilled * static_cast<double>(group.queries);
    };
    if (groups.empty() || !fits(groups.back())) {
      groups.push_back({.segments = {}, .queries = queries(segment), .keys = keys(segment)});
    }
    groups.back().segments.push_back(segment);
  }
  return groups;
}

/// Rows of packed tensors as a padded batch, and back.
class PaddedRows {
 public:
  /// \param ranges  [begin, end) of each sample, at most `length` long
  PaddedRows(const std::vector<std::pair<int64_t, int64_t>>& ranges, int64_t length,
             const at::Device& device)
      : samples_(std::ssize(ranges)), length_(length) {
    std::vector<int64_t> rows;
    std::vector<int64_t> places;
    for (const auto& [begin, end] : ranges) {
      for (int64_t i = 0; i < length; ++i) {
        if (begin + i < end) {
          places.push_back(std::ssize(rows));
          own_.push_back(begin + i);
        }
        rows.push_back(std::min(begin + i, end - 1));
      }
    }
    rows_ = at::tensor(at::ArrayRef<int64_t>(rows), at::kLong).to(device);
    places_ = at::tensor(at::ArrayRef<int64_t>(places), at::kLong).to(device);
    own_rows_ = at::tensor(at::ArrayRef<int64_t>(own_), at::kLong).to(device);
  }

  /// [T, heads, D] -> [samples, heads, length, D]
  [[nodiscard]] at::Tensor gather(const at::Tensor& x) const {
    return x.index_select(0, rows_).view({samples_, length_, x.size(1), x.size(2)}).transpose(1, 2);
  }
  /// The same with zeros as padding.
  [[nodiscard]] at::Tensor gather_gradient(const at::Tensor& x) const {
    at::Tensor padded = at::zeros({samples_ * length_, x.size(1), x.size(2)}, x.options());
    padded.index_copy_(0, places_, x.index_select(0, own_rows_));
    return padded.view({samples_, length_, x.size(1), x.size(2)}).transpose(1, 2);
  }
  /// Puts the samples' own rows of a batch to their places in `to` [T, heads, D].
  void scatter(const at::Tensor& batch, at::Tensor& to) const {
    const at::Tensor rows = batch.transpose(1, 2).reshape({-1, to.size(1), to.size(2)});
    to.index_copy_(0, own_rows_, rows.index_select(0, places_));
  }

 private:
  int64_t samples_;
  int64_t length_;
  std::vector<int64_t> own_;
  at::Tensor rows_;      ///< for each place of the batch, a row of the packed tensor
  at::Tensor places_;    ///< the places that are no padding
  at::Tensor own_rows_;  ///< and their rows
};

/// So short a sample's gradients come from a loop that keeps all its probabilities. Its own length
/// alone decides: what a sample gives does not depend on its neighbours.
constexpr int64_t kShortKeys = 128;

bool is_short(const AttentionSegment& segment) {
  return segment.key_end - segment.key_begin <= kShortKeys &&
         segment.query_end - segment.query_begin <= kShortKeys;
}

/// The gradients of q, k and v at short samples, in one parallel region over samples and kv heads.
template <typename Number>
void add_short(std::span<const AttentionSegment> segments, const variable_list& inputs,
               const at::Tensor& gradient, const AttentionOptions& options, variable_list& result) {
  const auto& [q, k, v] = std::tie(inputs[0], inputs[1], inputs[2]);
  const int64_t kv_heads = k.size(1);
  const int64_t group = q.size(1) / kv_heads;
  const int64_t size = q.size(2);
  int64_t room = 0;
  for (const AttentionSegment& s : segments) {
    room = std::max(room, loops::gradient_room(s.query_end - s.query_begin, s.key_end - s.key_begin,
                                               group, size));
  }
  const auto heads = [&](const at::Tensor& x, int64_t row, int64_t head) {
    return loops::Heads<Number>{.data = numbers<Number>(x) + row * x.stride(0) + head * x.stride(1),
                                .row_stride = x.stride(0),
                                .head_stride = x.stride(1)};
  };
  const auto rows = [&](const at::Tensor& x, int64_t row, int64_t head) {
    return loops::Rows<Number>{.data = numbers<Number>(x) + row * x.stride(0) + head * x.stride(1),
                               .stride = x.stride(0)};
  };
  auto* d_q = mutable_numbers<Number>(result[0]);
  auto* d_k = mutable_numbers<Number>(result[1]);
  auto* d_v = mutable_numbers<Number>(result[2]);
  for_each_task(std::ssize(segments) * kv_heads, room * static_cast<int64_t>(sizeof(float)),
                [&](int64_t task, void* scratch) {
                  const AttentionSegment& own = segments[static_cast<std::size_t>(task / kv_heads)];
                  const int64_t head = task % kv_heads;
                  const int64_t d_key = (own.key_begin * kv_heads + head) * size;
                  loops::run(
                      loops::AttentionGradient<Number>{
                          .q = heads(q, own.query_begin, head * group),
                          .k = rows(k, own.key_begin, head),
                          .v = rows(v, own.key_begin, head),
                          .gradient = heads(gradient, own.query_begin, head * group),
                          .queries = own.query_end - own.query_begin,
                          .keys = own.key_end - own.key_begin,
                          .group = group,
                          .size = size,
                          .scale = static_cast<float>(options.scale),
                          .causal = options.causal,
                          .d_q = d_q + (own.query_begin * q.size(1) + head * group) * size,
                          .d_k = d_k + d_key,
                          .d_v = d_v + d_key,
                          .q_stride = q.size(1) * size,
                          .kv_stride = kv_heads * size},
                      static_cast<float*>(scratch));
                });
}

/// The same in bfloat16 for samples of any length.
void add_avx512(std::span<const AttentionSegment> segments, const variable_list& inputs,
                const at::Tensor& gradient, const AttentionOptions& options,
                variable_list& result) {
  const auto& [q, k, v] = std::tie(inputs[0], inputs[1], inputs[2]);
  const auto shape_of = [&](const AttentionSegment& s) {
    return avx512::AttentionShape{.tokens = s.query_end - s.query_begin,
                                  .keys = s.key_end - s.key_begin,
                                  .heads = q.size(1),
                                  .kv_heads = k.size(1),
                                  .head_dim = q.size(2),
                                  .scale = options.scale,
                                  .causal = options.causal};
  };
  const auto rows = [](const at::Tensor& x, int64_t row) {
    return avx512::HeadRows{
        .data = static_cast<const uint16_t*>(x.const_data_ptr()) + row * x.stride(0),
        .token_stride = x.stride(0),
        .head_stride = x.stride(1)};
  };
  const auto to = [](const at::Tensor& x, int64_t row) {
    return static_cast<uint16_t*>(x.mutable_data_ptr()) + row * x.stride(0);
  };
  int64_t room = 0;
  for (const AttentionSegment& s : segments) {
    room = std::max(room, avx512::backward_scratch_bytes(shape_of(s)));
  }
  for_each_task(std::ssize(segments) * k.size(1), room, [&](int64_t task, void* scratch) {
    const AttentionSegment& own = segments[static_cast<std::size_t>(task / k.size(1))];
    avx512::attend_backward(shape_of(own),
                            {.queries = rows(q, own.query_begin),
                             .keys = rows(k, own.key_begin),
                             .values = rows(v, own.key_begin),
                             .gradient = rows(gradient, own.query_begin)},
                            task % k.size(1), scratch,
                            {.queries = to(result[0], own.query_begin),
                             .keys = to(result[1], own.key_begin),
                             .values = to(result[2], own.key_begin)});
  });
}

struct AttentionFunction : Function<AttentionFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& q, const at::Tensor& k,
                            const at::Tensor& v, const std::vector<AttentionSegment>& segments,
                            const AttentionOptions& options) {
    context->save_for_backward({q, k, v});
    std::vector<int64_t> borders;
    for (const AttentionSegment& s : segments) {
      borders.insert(borders.end(), {s.query_begin, s.query_end, s.key_begin, s.key_end});
    }
    context->saved_data["borders"] = borders;
    context->saved_data["scale"] = options.scale;
    context->saved_data["causal"] = options.causal;
    return espalier::attention(q, k, v, segments, options);
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const variable_list saved = context->get_saved_variables();
    const AttentionOptions options{.scale = context->saved_data["scale"].toDouble(),
                                   .causal = context->saved_data["causal"].toBool()};
    const auto borders = context->saved_data["borders"].toIntVector();
    std::vector<AttentionSegment> segments;
    for (std::size_t i = 0; i < borders.size(); i += 4) {
      segments.push_back({.query_begin = borders[i],
                          .query_end = borders[i + 1],
                          .key_begin = borders[i + 2],
                          .key_end = borders[i + 3]});
    }
    const at::Tensor gradient = gradients[0].view(saved[0].sizes());
    variable_list result(5);
    for (std::size_t i = 0; i < 3; ++i) result[i] = at::zeros(saved[i].sizes(), saved[i].options());
    const bool loops_read =
        readable(saved[0]) && readable(saved[1]) && readable(saved[2]) && readable(gradient) &&
        gradient.is_cpu() &&
        (gradient.scalar_type() == at::kFloat || gradient.scalar_type() == at::kBFloat16);
    const bool avx512 = loops_read && has_avx512_bf16() && options.scale > 0.0 &&
                        gradient.scalar_type() == at::kBFloat16 && gradient.size(2) % 2 == 0;
    if (avx512) {
      add_avx512(segments, saved, gradient, options, result);
      return result;
    }
    if (loops_read) {
      const auto rest = std::ranges::stable_partition(segments, is_short);
      const std::span<const AttentionSegment> own(segments.begin(), rest.begin());
      if (!own.empty()) {
        with_number(gradient, [&]<typename Number>(Number) {
          add_short<Number>(own, saved, gradient, options, result);
        });
      }
      segments.erase(segments.begin(), rest.begin());
    }
    for (const SegmentGroup& group : groups_of(segments, options.causal)) {
      add_group(group, saved, gradient, options, result);
    }
    return result;
  }

 private:
  static void add_group(const SegmentGroup& group, const variable_list& saved,
                        const at::Tensor& gradient, const AttentionOptions& options,
                        variable_list& result) {
    std::vector<std::pair<int64_t, int64_t>> queries;
    std::vector<std::pair<int64_t, int64_t>> keys;
    for (const AttentionSegment& segment : group.segments) {
      queries.emplace_back(segment.query_begin, segment.query_end);
      keys.emplace_back(segment.key_begin, segment.key_end);
    }
    const PaddedRows query_rows(queries, group.queries, gradient.device());
    const PaddedRows key_rows(keys, group.keys, gradient.device());
    const variable_list inputs{query_rows.gather(saved[0]), key_rows.gather(saved[1]),
                               key_rows.gather(saved[2])};
    std::optional<at::Tensor> mask;
    const bool square = group.queries == group.keys;
    if (options.causal && !square) {
      mask = at::ones({group.queries, group.keys}, gradient.options().dtype(at::kBool))
                 .tril(group.keys - group.queries);
    }
    const variable_list batch =
        by_autograd(inputs, query_rows.gather_gradient(gradient), [&](const variable_list& leaves) {
          return at::scaled_dot_product_attention(
              leaves[0], leaves[1], leaves[2], mask, /*dropout_p=*/0.0, options.causal && square,
              options.scale, /*enable_gqa=*/leaves[0].size(1) != leaves[1].size(1));
        });
    query_rows.scatter(batch[0], result[0]);
    key_rows.scatter(batch[1], result[1]);
    key_rows.scatter(batch[2], result[2]);
  }
};

}  // namespace

at::Tensor linear(const at::Tensor& x, const at::Tensor& weight,
                  const std::optional<at::Tensor>& bias) {
  return LinearFunction::apply(x, weight, bias);
}

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  return RmsNormFunction::apply(x, weight, eps);
}

at::Tensor norm_and_rotate(const at::Tensor& x, const at::Tensor& weight, double eps,
                           const at::Tensor& cos, const at::Tensor& sin) {
  return NormAndRotateFunction::apply(x, weight, eps, cos, sin);
}

at::Tensor swiglu(const at::Tensor& gate, const at::Tensor& up) {
  return SwigluFunction::apply(gate, up);
}

at::Tensor rotate(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin) {
  return RotateFunction::apply(x, cos, sin);
}

at::Tensor gelu_tanh(const at::Tensor& x) { return GeluTanhFunction::apply(x); }

at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                     std::span<const AttentionSegment> segments, const AttentionOptions& options) {
  return AttentionFunction::apply(
      q, k, v, std::vector<AttentionSegment>(segments.begin(), segments.end()), options);
}

}  // namespace espalier::differentiable
