// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace espalier {

/// 128 bits; the compilers have it, ISO C++ does not.
__extension__ using UInt128 = unsigned __int128;

/// PCG64 (PCG XSL RR 128/64 of O'Neill 2014): small, fast, and the same on every machine. The
/// standard library's distributions differ between implementations, so we bring our own.
class Random {
 public:
  explicit Random(std::uint64_t seed, std::uint64_t stream = 0);

  std::uint64_t next();                  ///< uniform over all 64-bit words
  double uniform();                      ///< in [0, 1), 53 random bits
  double normal();                       ///< mean 0, variance 1 (Box-Muller)
  std::uint64_t below(std::uint64_t n);  ///< uniform in [0, n) without bias; n > 0

 private:
  UInt128 state_;
  UInt128 increment_;
  double spare_ = 0.0;
  bool has_spare_ = false;
};

}  // namespace espalier
