// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

#include "espalier/model/clones.h"

/// Numbers of the loops that are compiled in clones.
namespace espalier::loops {

/// The nearest number of that type, of two the even one.
template <typename Number>
Number narrow(float x);

template <>
ESPALIER_INLINE float narrow<float>(float x) {
  return x;
}

template <>
ESPALIER_INLINE Bfloat16 narrow<Bfloat16>(float x) {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  const std::uint32_t nearest = (bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16;
  const bool is_nan = (bits & 0x7fffffffU) > 0x7f800000U;
  return {static_cast<std::uint16_t>(is_nan ? 0x7fc0U : nearest)};
}

/// x as a variable of that type would keep it.
template <typename Number>
ESPALIER_INLINE float rounded(float x) {
  return wide(narrow<Number>(x));
}

/// e^x, relative error 2e-7, for x in [-87, 88]; outside as at the nearer end: the sigmoids below
/// are 0 or 1 there up to 1e-38. (A fused multiply-add is one instruction in all but the plain
/// code.)
ESPALIER_INLINE float exponential(float x) {
  x = x < -87.0F ? -87.0F : x;
  x = x > 88.0F ? 88.0F : x;
  // Adding and taking away 1.5 * 2^23 rounds to a whole number.
  const float whole = std::fma(x, 1.44269504F, 12582912.0F) - 12582912.0F;
  const float rest = std::fma(whole, -0.693147182F, x) + whole * 1.90465421e-9F;
  float y = 1.9875691500e-4F;
  y = std::fma(y, rest, 1.3981999507e-3F);
  y = std::fma(y, rest, 8.3334519073e-3F);
  y = std::fma(y, rest, 4.1665795894e-2F);
  y = std::fma(y, rest, 1.6666665459e-1F);
  y = std::fma(y, rest, 5.0000001201e-1F);
  y = std::fma(y * rest, rest, rest) + 1.0F;
  const auto exponent = static_cast<std::uint32_t>(static_cast<std::int32_t>(whole) + 127);
  return y * std::bit_cast<float>(exponent << 23);
}

}  // namespace espalier::loops
