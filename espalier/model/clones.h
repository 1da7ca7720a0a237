// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cstdint>

/// What sources of plain loops share that are compiled for several levels of x86-64: one source,
/// one machine code for each level, chosen when the program starts. clang-tidy sees the plain one.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define ESPALIER_CLONES \
  __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define ESPALIER_CLONES
#endif
/// What a clone calls must become part of it, or it would run the plain code.
#define ESPALIER_INLINE __attribute__((always_inline)) inline

namespace espalier::loops {

/// A bfloat16 as it lies in memory.
struct Bfloat16 {
  std::uint16_t bits;
};

ESPALIER_INLINE float wide(float x) { return x; }

ESPALIER_INLINE float wide(Bfloat16 x) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(x.bits) << 16);
}

}  // namespace espalier::loops
