// SPDX-License-Identifier: Apache-2.0
#include "espalier/model/fused_loops.h"

#include <cmath>
#include <limits>
#include <vector>

#include "espalier/model/loop_numbers.h"

namespace espalier::loops {
namespace {

using std::int64_t;

// ---- rows ----

/// 1 / sqrt(mean(x^2) + eps)
template <typename Number>
ESPALIER_INLINE float inverse_rms(const Number* x, int64_t size, float eps) {
  float squares = 0.0F;
#pragma omp simd reduction(+ : squares)
  for (int64_t i = 0; i < size; ++i) squares += wide(x[i]) * wide(x[i]);
  return 1.0F / std::sqrt(squares / static_cast<float>(size) + eps);
}

template <typename Number>
ESPALIER_INLINE void normalize(const RmsNorm<Number>& loop, Range rows) {
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    const Number* x = loop.x.data + row * loop.x.stride;
    Number* out = loop.out + row * loop.size;
    const float scale = inverse_rms(x, loop.size, loop.eps);
#pragma omp simd
    for (int64_t i = 0; i < loop.size; ++i) {
      out[i] = narrow<Number>(wide(loop.weight[i]) * rounded<Number>(wide(x[i]) * scale));
    }
  }
}

/// y cos + rotate_half(y) sin, every step rounded.
template <typename Number>
ESPALIER_INLINE void turn(const float* y, const Number* cos, const Number* sin, int64_t half,
                          Number* out) {
#pragma omp simd
  for (int64_t i = 0; i < half; ++i) {
    const float first = y[i];
    const float second = y[i + half];
    out[i] = narrow<Number>(rounded<Number>(first * wide(cos[i])) -
                            rounded<Number>(second * wide(sin[i])));
    out[i + half] = narrow<Number>(rounded<Number>(second * wide(cos[i + half])) +
                                   rounded<Number>(first * wide(sin[i + half])));
  }
}

/// \param normalized  room for one head
template <typename Number>
ESPALIER_INLINE void normalize_and_rotate(const NormAndRotate<Number>& loop, Range rows,
                                          float* normalized) {
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    for (int64_t head = 0; head < loop.heads; ++head) {
      const Number* x = loop.x.data + row * loop.x.row_stride + head * loop.x.head_stride;
      const float scale = inverse_rms(x, loop.size, loop.eps);
#pragma omp simd
      for (int64_t i = 0; i < loop.size; ++i) {
        normalized[i] = rounded<Number>(wide(loop.weight[i]) * rounded<Number>(wide(x[i]) * scale));
      }
      turn(normalized, loop.cos.data + row * loop.cos.stride, loop.sin.data + row * loop.sin.stride,
           loop.size / 2, loop.out + (row * loop.heads + head) * loop.size);
    }
  }
}

template <typename Number>
ESPALIER_INLINE void gate(const Swiglu<Number>& loop, Range rows) {
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    const Number* gates = loop.gate.data + row * loop.gate.stride;
    const Number* up = loop.up.data + row * loop.up.stride;
    Number* out = loop.out + row * loop.size;
#pragma omp simd
    for (int64_t i = 0; i < loop.size; ++i) {
      const float x = wide(gates[i]);
      out[i] = narrow<Number>(rounded<Number>(x / (1.0F + exponential(-x))) * wide(up[i]));
    }
  }
}

template <typename Number>
ESPALIER_INLINE void rotate(const Rotate<Number>& loop, Range rows) {
  const int64_t half = loop.size / 2;
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    const float* cos = loop.cos.data + row * loop.cos.stride;
    const float* sin = loop.sin.data + row * loop.sin.stride;
    for (int64_t head = 0; head < loop.heads; ++head) {
      const Number* x = loop.x.data + row * loop.x.row_stride + head * loop.x.head_stride;
      Number* out = loop.out + (row * loop.heads + head) * loop.size;
#pragma omp simd
      for (int64_t i = 0; i < half; ++i) {
        const float first = wide(x[i]);
        const float second = wide(x[i + half]);
        out[i] = narrow<Number>(first * cos[i] - second * sin[i]);
        out[i + half] = narrow<Number>(second * cos[i + half] + first * sin[i + half]);
      }
    }
  }
}

/// x / 2 (1 + tanh u) is x / (1 + e^(-2 u)), u = sqrt(2 / pi) (x + 0.044715 x^3): one exponential,
/// and no difference of nearly equal numbers where x is far below 0.
template <typename Number>
ESPALIER_INLINE void gelu(const GeluTanh<Number>& loop, Range rows) {
  constexpr float kTwice = 1.5957691216F;  // 2 sqrt(2 / pi)
#pragma omp simd
  for (int64_t i = rows.begin; i < rows.end; ++i) {
    const float x = wide(loop.x[i]);
    const float u = kTwice * x * std::fma(0.044715F * x, x, 1.0F);
    loop.out[i] = narrow<Number>(x / (1.0F + exponential(-u)));
  }
}

/// softmax(scale * k q), not yet divided by its sum.
///
/// \return  the sum
template <typename Number>
ESPALIER_INLINE float weigh_keys(const OneQuery<Number>& loop, const Number* q, float* weights) {
  float largest = -std::numeric_limits<float>::infinity();
  for (int64_t key = 0; key < loop.keys; ++key) {
    const Number* k = loop.k.data + key * loop.k.stride;
    float score = 0.0F;
#pragma omp simd reduction(+ : score)
    for (int64_t i = 0; i < loop.size; ++i) score += wide(q[i]) * wide(k[i]);
    weights[key] = score * loop.scale;
    largest = weights[key] > largest ? weights[key] : largest;
  }
  float sum = 0.0F;
#pragma omp simd reduction(+ : sum)
  for (int64_t key = 0; key < loop.keys; ++key) {
    weights[key] = exponential(weights[key] - largest);
    sum += weights[key];
  }
  return sum;
}

template <typename Number>
ESPALIER_INLINE void attend(const OneQuery<Number>& loop, float* room) {
  float* mean = room + loop.keys;
  for (int64_t head = 0; head < loop.group; ++head) {
    const float scale = 1.0F / weigh_keys(loop, loop.q + head * loop.q_head_stride, room);
    for (int64_t i = 0; i < loop.size; ++i) mean[i] = 0.0F;
    for (int64_t key = 0; key < loop.keys; ++key) {
      const Number* v = loop.v.data + key * loop.v.stride;
      const float weight = rounded<Number>(room[key] * scale);
#pragma omp simd
      for (int64_t i = 0; i < loop.size; ++i) mean[i] += weight * wide(v[i]);
    }
    Number* out = loop.out + head * loop.size;
#pragma omp simd
    for (int64_t i = 0; i < loop.size; ++i) out[i] = narrow<Number>(mean[i]);
  }
}

template <typename Number>
ESPALIER_INLINE void normalize_backward(const RmsNormBackward<Number>& loop, Range rows) {
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    const Number* x = loop.x + row * loop.size;
    const Number* gradient = loop.gradient + row * loop.size;
    Number* out = loop.out + row * loop.size;
    const float scale = inverse_rms(x, loop.size, loop.eps);
    float dot = 0.0F;
#pragma omp simd reduction(+ : dot)
    for (int64_t i = 0; i < loop.size; ++i) {
      dot += wide(gradient[i]) * wide(loop.weight[i]) * wide(x[i]);
    }
    const float along = dot * scale * scale / static_cast<float>(loop.size);
#pragma omp simd
    for (int64_t i = 0; i < loop.size; ++i) {
      out[i] =
          narrow<Number>(scale * (wide(gradient[i]) * wide(loop.weight[i]) - wide(x[i]) * along));
    }
  }
}

ESPALIER_INLINE std::uint32_t mixed(std::uint32_t x) {
  x ^= x >> 16;
  x *= 0x7feb352dU;
  x ^= x >> 15;
  x *= 0x846ca68bU;
  return x ^ (x >> 16);
}

template <typename Number>
ESPALIER_INLINE void draw_mask(const DropoutMask<Number>& loop, Range rows) {
  const auto low = static_cast<std::uint32_t>(loop.seed);
  const auto high = static_cast<std::uint32_t>(loop.seed >> 32);
#pragma omp simd
  for (int64_t i = rows.begin; i < rows.end; ++i) {
    const std::uint32_t draw = mixed(mixed(static_cast<std::uint32_t>(i) + low) ^ high);
    loop.out[i] = narrow<Number>(draw < loop.threshold ? 0.0F : loop.scale);
  }
}

/// With s = 1 / (1 + e^-x): silu(x) = x s, and its slope is s (1 + x (1 - s)).
template <typename Number>
ESPALIER_INLINE void gate_backward(const SwigluBackward<Number>& loop, Range rows) {
#pragma omp simd
  for (int64_t i = rows.begin; i < rows.end; ++i) {
    const float x = wide(loop.gate[i]);
    const float sigmoid = 1.0F / (1.0F + exponential(-x));
    const float gradient = wide(loop.gradient[i]);
    loop.d_up[i] = narrow<Number>(gradient * rounded<Number>(x * sigmoid));
    loop.d_gate[i] =
        narrow<Number>(gradient * wide(loop.up[i]) * sigmoid * (1.0F + x * (1.0F - sigmoid)));
  }
}

}  // namespace

ESPALIER_CLONES void run(const OneQuery<float>& loop, float* room) { attend(loop, room); }
ESPALIER_CLONES void run(const OneQuery<Bfloat16>& loop, float* room) { attend(loop, room); }
ESPALIER_CLONES void run(const RmsNormBackward<float>& loop, Range rows) {
  normalize_backward(loop, rows);
}
ESPALIER_CLONES void run(const RmsNormBackward<Bfloat16>& loop, Range rows) {
  normalize_backward(loop, rows);
}
ESPALIER_CLONES void run(const DropoutMask<float>& loop, Range rows) { draw_mask(loop, rows); }
ESPALIER_CLONES void run(const DropoutMask<Bfloat16>& loop, Range rows) { draw_mask(loop, rows); }
ESPALIER_CLONES void run(const SwigluBackward<float>& loop, Range rows) {
  gate_backward(loop, rows);
}
ESPALIER_CLONES void run(const SwigluBackward<Bfloat16>& loop, Range rows) {
  gate_backward(loop, rows);
}

ESPALIER_CLONES void run(const RmsNorm<float>& loop, Range rows) { normalize(loop, rows); }
ESPALIER_CLONES void run(const RmsNorm<Bfloat16>& loop, Range rows) { normalize(loop, rows); }

ESPALIER_CLONES static void run_with(const NormAndRotate<float>& loop, Range rows, float* room) {
  normalize_and_rotate(loop, rows, room);
}
ESPALIER_CLONES static void run_with(const NormAndRotate<Bfloat16>& loop, Range rows, float* room) {
  normalize_and_rotate(loop, rows, room);
}
void run(const NormAndRotate<float>& loop, Range rows) {
  std::vector<float> room(static_cast<std::size_t>(loop.size));
  run_with(loop, rows, room.data());
}
void run(const NormAndRotate<Bfloat16>& loop, Range rows) {
  std::vector<float> room(static_cast<std::size_t>(loop.size));
  run_with(loop, rows, room.data());
}

ESPALIER_CLONES void run(const Swiglu<float>& loop, Range rows) { gate(loop, rows); }
ESPALIER_CLONES void run(const Swiglu<Bfloat16>& loop, Range rows) { gate(loop, rows); }

ESPALIER_CLONES void run(const Rotate<float>& loop, Range rows) { rotate(loop, rows); }
ESPALIER_CLONES void run(const Rotate<Bfloat16>& loop, Range rows) { rotate(loop, rows); }

ESPALIER_CLONES void run(const GeluTanh<Bfloat16>& loop, Range rows) { gelu(loop, rows); }

}  // namespace espalier::loops
