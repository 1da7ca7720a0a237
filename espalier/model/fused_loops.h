// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "espalier/model/clones.h"

/// The insides of `kernels.cpp`: loops over pointers, compiled for several levels of x86-64 and
/// chosen when the program starts. Every step is rounded where the reference rounds it; nothing is
/// contracted to a fused multiply-add.
namespace espalier::loops {

/// [rows, heads, D] in memory, the last dimension dense; strides in elements.
template <typename Number>
struct Heads {
  const Number* data;
  std::int64_t row_stride;
  std::int64_t head_stride;
};

/// [rows, D] in memory, the last dimension dense.
template <typename Number>
struct Rows {
  const Number* data;
  std::int64_t stride;
};

/// A part of the work: the rows begin .. end - 1.
struct Range {
  std::int64_t begin;
  std::int64_t end;
};

/// What kernels.h says of `rms_norm`, for rows of D numbers; out is dense.
template <typename Number>
struct RmsNorm {
  Rows<Number> x;
  const Number* weight;
  float eps;
  std::int64_t size;
  Number* out;
};

template <typename Number>
struct NormAndRotate {
  Heads<Number> x;
  const Number* weight;
  float eps;
  Rows<Number> cos;
  Rows<Number> sin;
  std::int64_t heads;
  std::int64_t size;  ///< D, even
  Number* out;        ///< [rows, heads, D], dense
};

template <typename Number>
struct Swiglu {
  Rows<Number> gate;
  Rows<Number> up;
  std::int64_t size;
  Number* out;
};

template <typename Number>
struct Rotate {
  Heads<Number> x;
  Rows<float> cos;
  Rows<float> sin;
  std::int64_t heads;
  std::int64_t size;  ///< D, even
  Number* out;        ///< [rows, heads, D], dense
};

/// x and out dense: rows are single numbers.
template <typename Number>
struct GeluTanh {
  const Number* x;
  Number* out;
};

/// What attention.h says, for one query and the group of heads that read one kv head.
template <typename Number>
struct OneQuery {
  const Number* q;  ///< [group, D]
  std::int64_t q_head_stride;
  Rows<Number> k;  ///< [keys, D]
  Rows<Number> v;  ///< [keys, D]
  std::int64_t group;
  std::int64_t keys;
  std::int64_t size;  ///< D
  float scale;
  Number* out;  ///< [group, D], dense
};

/// \param room  `keys` + `size` numbers of the caller's
void run(const OneQuery<float>& loop, float* room);
void run(const OneQuery<Bfloat16>& loop, float* room);
/// The gradient of a norm's input. With r = 1 / rms(x) and g = gradient * weight it is
/// r (g - x r^2 mean(g x)), in float32, rounded once. Everything is dense.
template <typename Number>
struct RmsNormBackward {
  const Number* x;
  const Number* weight;
  const Number* gradient;
  float eps;
  std::int64_t size;
  Number* out;
};

/// A mask that sets some numbers to zero and scales the others up; rows are single numbers. What
/// becomes of a number depends on the seed and its place alone, not on who draws before: a hash of
/// both (Wellons' lowbias32 over the place, twice keyed) below a share of 2^32 drops it.
template <typename Number>
struct DropoutMask {
  std::uint64_t seed;
  std::uint32_t threshold;  ///< the probability times 2^32
  float scale;              ///< what the others become
  Number* out;
};

/// The gradients of `swiglu`'s factors; everything is dense, rows are single numbers.
template <typename Number>
struct SwigluBackward {
  const Number* gate;
  const Number* up;
  const Number* gradient;
  Number* d_gate;
  Number* d_up;
};

void run(const RmsNormBackward<float>& loop, Range rows);
void run(const RmsNormBackward<Bfloat16>& loop, Range rows);
void run(const DropoutMask<float>& loop, Range rows);
void run(const DropoutMask<Bfloat16>& loop, Range rows);
void run(const SwigluBackward<float>& loop, Range rows);
void run(const SwigluBackward<Bfloat16>& loop, Range rows);
void run(const RmsNorm<float>& loop, Range rows);
void run(const RmsNorm<Bfloat16>& loop, Range rows);
void run(const NormAndRotate<float>& loop, Range rows);
void run(const NormAndRotate<Bfloat16>& loop, Range rows);
void run(const Swiglu<float>& loop, Range rows);
void run(const Swiglu<Bfloat16>& loop, Range rows);
void run(const Rotate<float>& loop, Range rows);
void run(const Rotate<Bfloat16>& loop, Range rows);
void run(const GeluTanh<Bfloat16>& loop, Range rows);

}  // namespace espalier::loops
