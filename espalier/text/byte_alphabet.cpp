// SPDX-License-Identifier: Apache-2.0
#include "espalier/text/byte_alphabet.h"

namespace espalier {
namespace {

constexpr int kFirstSpareCodePoint = 256;
constexpr int kSpareCodePoints = 68;

constexpr bool stands_for_itself(int byte) {
  return (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
}

constexpr std::array<int, 256> make_code_points() {
  std::array<int, 256> code_points{};
  int spare = kFirstSpareCodePoint;
  for (int byte = 0; byte < 256; ++byte) {
    code_points[static_cast<std::size_t>(byte)] = stands_for_itself(byte) ? byte : spare++;
  }
  return code_points;
}

constexpr std::array<int, 256> kCodePoints = make_code_points();

/// The byte of each code point below U+0144, or -1.
constexpr std::array<int, kFirstSpareCodePoint + kSpareCodePoints> make_bytes() {
  std::array<int, kFirstSpareCodePoint + kSpareCodePoints> bytes{};
  for (int& byte : bytes) byte = -1;
  for (int byte = 0; byte < 256; ++byte) {
    bytes[static_cast<std::size_t>(kCodePoints[static_cast<std::size_t>(byte)])] = byte;
  }
  return bytes;
}

constexpr auto kBytes = make_bytes();

/// All characters of the alphabet have one or two bytes in UTF-8.
std::string utf8_of(int code_point) {
  if (code_point < 0x80) return {static_cast<char>(code_point)};
  return {static_cast<char>(0xC0 | (code_point >> 6)),
          static_cast<char>(0x80 | (code_point & 0x3F))};
}

std::array<std::string, 256> make_symbols() {
  std::array<std::string, 256> symbols;
  for (std::size_t byte = 0; byte < 256; ++byte) symbols[byte] = utf8_of(kCodePoints[byte]);
  return symbols;
}

}  // namespace

const std::array<std::string, 256>& byte_symbols() {
  static const std::array<std::string, 256> symbols = make_symbols();
  return symbols;
}

bool append_bytes_of_symbols(std::string_view token, std::string& out) {
  const std::size_t before = out.size();
  for (std::size_t i = 0; i < token.size(); ++i) {
    auto code_point = static_cast<unsigned char>(token[i]) + 0U;
    if (code_point >= 0x80 && i + 1 < token.size()) {
      code_point = ((code_point & 0x1F) << 6) | (static_cast<unsigned char>(token[++i]) & 0x3FU);
      // A lead byte of three or four bytes is in no character of the alphabet.
      if (static_cast<unsigned char>(token[i - 1]) >= 0xE0) code_point = 0;
    }
    if (code_point >= kBytes.size() || kBytes[code_point] < 0) {
      out.resize(before);
      return false;
    }
    out += static_cast<char>(kBytes[code_point]);
  }
  return true;
}

}  // namespace espalier
