// SPDX-License-Identifier: Apache-2.0
#include "espalier/model/kernels.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <vector>

#include "espalier/base/error.h"
#include "espalier/model/dispatch.h"
#include "espalier/model/fused_loops.h"
#include "espalier/model/gradients.h"
#include "espalier/model/loop_calls.h"
#include "espalier/model/product_avx512.h"
#include "espalier/model/tasks.h"

namespace espalier {
namespace {

using loops::Bfloat16;

bool is_float(const at::Tensor& x) { return x.scalar_type() == at::kFloat; }
bool is_bfloat16(const at::Tensor& x) { return x.scalar_type() == at::kBFloat16; }

/// Whether our loops take all of these: readable, of one dtype that they know, and not empty.
template <typename... Tensors>
bool fusible(const at::Tensor& x, const Tensors&... others) {
  return (is_float(x) || is_bfloat16(x)) && x.numel() > 0 && readable(x) &&
         ((readable(others) && others.scalar_type() == x.scalar_type()) && ...);
}

template <typename Number>
loops::Rows<Number> rows(const at::Tensor& x) {
  return {.data = numbers<Number>(x), .stride = x.stride(0)};
}

template <typename Number>
loops::Heads<Number> heads(const at::Tensor& x) {
  return {.data = numbers<Number>(x), .row_stride = x.stride(0), .head_stride = x.stride(1)};
}

/// One angle for each row of x [rows, heads, D] and each of its columns.
bool has_angles(const at::Tensor& x, const at::Tensor& angles) {
  return angles.dim() == 2 && angles.size(0) == x.size(0) && angles.size(1) == x.size(2);
}

at::Tensor dense_like(const at::Tensor& x) { return at::empty(x.sizes(), x.options()); }

/// Whether the products of our own take this.
bool multiplies(const at::Tensor& x, const at::Tensor& weight,
                const std::optional<at::Tensor>& bias) {
  const int64_t in = weight.size(1);
  return has_avx512_bf16() && is_bfloat16(x) && fusible(x, weight) && weight.is_contiguous() &&
         in > 0 && in % 2 == 0 && x.size(-1) == in && x.numel() > 0 &&
         (!bias || (fusible(*bias, x) && bias->is_contiguous()));
}

/// A few tokens: the weight is read once, each output on its own.
void multiply_few(const avx512::Product& product) {
  at::parallel_for(0, product.out, std::max<int64_t>(1, 65536 / product.in),
                   [&](int64_t begin, int64_t end) { avx512::row_dot(product, begin, end); });
}

/// How many outputs a task computes: about 96, whose weights and sums fit into the second cache,
/// such that all threads are busy to the end. Whole tiles of 6.
int64_t outputs_of_task(int64_t outputs, int64_t threads) {
  constexpr int64_t kMost = 96;
  const int64_t rounds = (outputs + kMost * threads - 1) / (kMost * threads);
  const int64_t even = (outputs + rounds * threads - 1) / (rounds * threads);
  return (even + 5) / 6 * 6;
}

/// Many tokens: they are packed in panels, then blocks of outputs are computed for all of them.
void multiply_many(const avx512::Product& product) {
  const int64_t panels = (product.tokens + avx512::kPanelTokens - 1) / avx512::kPanelTokens;
  const int64_t panel_words = avx512::packed_panel_words(product);
  const at::Tensor packed = at::empty({panels * panel_words}, at::kInt);
  auto* words = static_cast<uint32_t*>(packed.mutable_data_ptr());
  at::parallel_for(0, panels, 1, [&](int64_t begin, int64_t end) {
    for (int64_t panel = begin; panel < end; ++panel) {
      avx512::pack_tokens(product, panel, words + panel * panel_words);
    }
  });
  const int64_t outputs = outputs_of_task(product.out, at::get_num_threads());
  const int64_t tasks = (product.out + outputs - 1) / outputs;
  for_each_task(tasks, avx512::product_scratch_bytes(product, outputs),
                [&](int64_t task, void* scratch) {
                  const int64_t begin = task * outputs;
                  avx512::multiply_block(product, words, begin,
                                         std::min(product.out, begin + outputs), scratch);
                });
}

at::Tensor multiply(const at::Tensor& x, const at::Tensor& weight,
                    const std::optional<at::Tensor>& bias) {
  const int64_t in = weight.size(1);
  const int64_t out = weight.size(0);
  const at::Tensor tokens = x.reshape({-1, in});
  std::vector<int64_t> shape = x.sizes().vec();
  shape.back() = out;
  at::Tensor result = at::empty(shape, x.options());
  const avx512::Product product{.x = numbers<uint16_t>(tokens),
                                .x_stride = tokens.stride(0),
                                .tokens = tokens.size(0),
                                .weight = numbers<uint16_t>(weight),
                                .in = in,
                                .out = out,
                                .bias = bias ? numbers<uint16_t>(*bias) : nullptr,
                                .result = mutable_numbers<uint16_t>(result)};
  product.tokens <= avx512::kRowDotTokens ? multiply_few(product) : multiply_many(product);
  return result;
}

}  // namespace

at::Tensor linear(const at::Tensor& x, const at::Tensor& weight,
                  const std::optional<at::Tensor>& bias) {
  if (recorded(x, weight, bias.value_or(at::Tensor()))) {
    return differentiable::linear(x, weight, bias);
  }
  return multiplies(x, weight, bias) ? multiply(x, weight, bias)
                                     : composed::linear(x, weight, bias);
}

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  if (recorded(x, weight)) return differentiable::rms_norm(x, weight, eps);
  if (!fusible(x, weight)) return composed::rms_norm(x, weight, eps);
  const int64_t size = x.size(-1);
  assume(weight.numel() == size, "rms_norm: one weight a column");
  const at::Tensor flat = x.reshape({-1, size});
  at::Tensor out = dense_like(x);
  with_number(x, [&]<typename Number>(Number) {
    const loops::RmsNorm<Number> loop{.x = rows<Number>(flat),
                                      .weight = numbers<Number>(weight),
                                      .eps = static_cast<float>(eps),
                                      .size = size,
                                      .out = mutable_numbers<Number>(out)};
    run_parallel(loop, flat.size(0), size);
  });
  return out;
}

at::Tensor norm_and_rotate(const at::Tensor& x, const at::Tensor& weight, double eps,
                           const at::Tensor& cos, const at::Tensor& sin) {
  assume(x.dim() == 3 && x.size(2) % 2 == 0, "norm_and_rotate: x is [T, heads, D], D even");
  assume(weight.numel() == x.size(2), "norm_and_rotate: one weight a column");
  assume(has_angles(x, cos) && has_angles(x, sin), "norm_and_rotate: cos and sin are [T, D]");
  if (recorded(x, weight)) return differentiable::norm_and_rotate(x, weight, eps, cos, sin);
  if (!fusible(x, weight, cos, sin)) return composed::norm_and_rotate(x, weight, eps, cos, sin);
  at::Tensor out = dense_like(x);
  with_number(x, [&]<typename Number>(Number) {
    const loops::NormAndRotate<Number> loop{.x = heads<Number>(x),
                                            .weight = numbers<Number>(weight),
                                            .eps = static_cast<float>(eps),
                                            .cos = rows<Number>(cos),
                                            .sin = rows<Number>(sin),
                                            .heads = x.size(1),
                                            .size = x.size(2),
                                            .out = mutable_numbers<Number>(out)};
    run_parallel(loop, x.size(0), x.size(1) * x.size(2));
  });
  return out;
}

at::Tensor swiglu(const at::Tensor& gate, const at::Tensor& up) {
  assume(gate.sizes() == up.sizes(), "swiglu: gate and up have one shape");
  if (recorded(gate, up)) return differentiable::swiglu(gate, up);
  if (gate.dim() != 2 || !fusible(gate, up)) return composed::swiglu(gate, up);
  at::Tensor out = dense_like(gate);
  with_number(gate, [&]<typename Number>(Number) {
    const loops::Swiglu<Number> loop{.gate = rows<Number>(gate),
                                     .up = rows<Number>(up),
                                     .size = gate.size(1),
                                     .out = mutable_numbers<Number>(out)};
    run_parallel(loop, gate.size(0), gate.size(1));
  });
  return out;
}

at::Tensor rotate(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin) {
  assume(x.dim() == 3 && x.size(2) % 2 == 0, "rotate: x is [N, heads, D], D even");
  assume(has_angles(x, cos) && has_angles(x, sin), "rotate: cos and sin are [N, D]");
  if (recorded(x)) return differentiable::rotate(x, cos, sin);
  const bool angles = is_float(cos) && is_float(sin) && readable(cos) && readable(sin);
  if (!angles || !fusible(x)) return composed::rotate(x, cos, sin);
  at::Tensor out = dense_like(x);
  with_number(x, [&]<typename Number>(Number) {
    const loops::Rotate<Number> loop{.x = heads<Number>(x),
                                     .cos = rows<float>(cos),
                                     .sin = rows<float>(sin),
                                     .heads = x.size(1),
                                     .size = x.size(2),
                                     .out = mutable_numbers<Number>(out)};
    run_parallel(loop, x.size(0), x.size(1) * x.size(2));
  });
  return out;
}

at::Tensor gelu_tanh(const at::Tensor& x) {
  if (recorded(x)) return differentiable::gelu_tanh(x);
  if (!is_bfloat16(x) || !fusible(x) || !x.is_contiguous()) return composed::gelu_tanh(x);
  at::Tensor out = dense_like(x);
  const loops::GeluTanh<Bfloat16> loop{.x = numbers<Bfloat16>(x),
                                       .out = mutable_numbers<Bfloat16>(out)};
  run_parallel(loop, x.numel(), 1);
  return out;
}

at::Tensor dropout_mask(at::IntArrayRef shape, at::ScalarType dtype, double probability,
                        std::uint64_t seed) {
  at::Tensor mask = at::empty(shape, dtype);
  if (mask.numel() == 0) return mask;
  with_number(mask, [&]<typename Number>(Number) {
    const loops::DropoutMask<Number> loop{
        .seed = seed,
        .threshold = static_cast<uint32_t>(probability * 4294967296.0),
        .scale = static_cast<float>(1.0 / (1.0 - probability)),
        .out = mutable_numbers<Number>(mask)};
    run_parallel(loop, mask.numel(), 1);
  });
  return mask;
}

/// The mergers alone use it, on a fourth of the patches: ATen's is fast enough.
at::Tensor gelu_erf(const at::Tensor& x) { return composed::gelu_erf(x); }

namespace composed {
namespace {

/// (a, b) -> (-b, a) by halves of the last dimension.
at::Tensor rotate_half(const at::Tensor& x) {
  const auto halves = x.chunk(2, -1);
  return at::cat({-halves[1], halves[0]}, -1);
}

/// [rows, D] -> [rows, 1, D]: the same angles for every head.
at::Tensor over_heads(const at::Tensor& angles) { return angles.unsqueeze(1); }

}  // namespace

at::Tensor linear(const at::Tensor& x, const at::Tensor& weight,
                  const std::optional<at::Tensor>& bias) {
  return at::linear(x, weight, bias);
}

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  const at::Tensor wide = x.to(at::kFloat);
  const at::Tensor variance = wide.pow(2).mean(-1, /*keepdim=*/true);
  return weight * (wide * at::rsqrt(variance + eps)).to(x.scalar_type());
}

at::Tensor norm_and_rotate(const at::Tensor& x, const at::Tensor& weight, double eps,
                           const at::Tensor& cos, const at::Tensor& sin) {
  const at::Tensor y = composed::rms_norm(x, weight, eps);
  return y * over_heads(cos) + rotate_half(y) * over_heads(sin);
}

at::Tensor swiglu(const at::Tensor& gate, const at::Tensor& up) { return at::silu(gate) * up; }

at::Tensor rotate(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin) {
  const at::Tensor wide = x.to(at::kFloat);
  const at::Tensor turned = wide * over_heads(cos) + rotate_half(wide) * over_heads(sin);
  return turned.to(x.scalar_type()).contiguous();
}

at::Tensor gelu_tanh(const at::Tensor& x) { return at::gelu(x, "tanh"); }

at::Tensor gelu_erf(const at::Tensor& x) { return at::gelu(x, "none"); }

}  // namespace composed

}  // namespace espalier
