// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace espalier {

/// SHA-256 over pieces, for fingerprints and checksums.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;

  void update(std::span<const std::byte> bytes);
  void update(std::string_view text);
  /// 64 lower-case hexadecimal digits. Call once, last.
  [[nodiscard]] std::string finish();

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

/// XXH3-128 over pieces, one after another, in the canonical (big-endian) order of its bytes: a
/// fast name for what need not withstand an attacker.
std::array<std::uint8_t, 16> xxh3_128(std::initializer_list<std::span<const std::byte>> pieces);

/// Two lower-case hexadecimal digits a byte.
std::string to_hexadecimal(std::span<const std::uint8_t> bytes);

}  // namespace espalier
