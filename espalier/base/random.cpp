// SPDX-License-Identifier: Apache-2.0
#include "espalier/base/random.h"

#include <bit>
#include <cmath>
#include <numbers>

#include "espalier/base/error.h"

namespace espalier {

namespace {

constexpr UInt128 kMultiplier =
    (static_cast<UInt128>(0x2360ED051FC65DA4ULL) << 64) | 0x4385DF649FCCF645ULL;

}  // namespace

Random::Random(std::uint64_t seed, std::uint64_t stream)
    : state_(0), increment_((static_cast<UInt128>(stream) << 1) | 1) {
  // As pcg_setseq_128_srandom_r: a step from 0, the seed, a step.
  state_ = increment_ + seed;
  state_ = state_ * kMultiplier + increment_;
}

std::uint64_t Random::next() {
  state_ = state_ * kMultiplier + increment_;
  const auto folded = static_cast<std::uint64_t>(state_ >> 64) ^ static_cast<std::uint64_t>(state_);
  return std::rotr(folded, static_cast<int>(state_ >> 122));
}

double Random::uniform() { return static_cast<double>(next() >> 11) * 0x1.0p-53; }

double Random::normal() {
  if (has_spare_) {
    has_spare_ = false;
    return spare_;
  }
  // 1 - uniform() is in (0, 1], so that the logarithm is finite.
  const double radius = std::sqrt(-2.0 * std::log(1.0 - uniform()));
  const double angle = 2.0 * std::numbers::pi * uniform();
  spare_ = radius * std::sin(angle);
  has_spare_ = true;
  return radius * std::cos(angle);
}

std::uint64_t Random::below(std::uint64_t n) {
  assume(n > 0, "a choice needs something to choose from");
  // Lemire 2019: the high word of next() * n is the answer; the low words below 2^64 mod n would
  // make some answers too likely.
  const std::uint64_t threshold = (0 - n) % n;
  for (;;) {
    const UInt128 product = static_cast<UInt128>(next()) * n;
    if (static_cast<std::uint64_t>(product) >= threshold) {
      return static_cast<std::uint64_t>(product >> 64);
    }
  }
}

}  // namespace espalier
