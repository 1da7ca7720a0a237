// SPDX-License-Identifier: Apache-2.0
#include "espalier/text/utf8.h"

#include <cstdint>
#include <cstring>

namespace espalier {
namespace {

using State = Utf8Sequence::State;

unsigned char byte_at(std::string_view bytes, std::size_t index) {
  return static_cast<unsigned char>(bytes[index]);
}

/// What a lead byte asks for: the length of its character, and the range of the second byte, which
/// leaves out overlong forms, surrogates and code points above U+10FFFF.
struct Lead {
  std::size_t length;
  unsigned char low = 0x80;
  unsigned char high = 0xBF;
};

Lead lead_of(unsigned char byte) {
  if (byte < 0x80) return {.length = 1};
  if (byte < 0xC2) return {.length = 0};
  if (byte < 0xE0) return {.length = 2};
  if (byte == 0xE0) return {.length = 3, .low = 0xA0};
  if (byte == 0xED) return {.length = 3, .high = 0x9F};
  if (byte < 0xF0) return {.length = 3};
  if (byte == 0xF0) return {.length = 4, .low = 0x90};
  if (byte < 0xF4) return {.length = 4};
  if (byte == 0xF4) return {.length = 4, .high = 0x8F};
  return {.length = 0};
}

/// The number of ASCII bytes at the start, a word at a time.
std::size_t ascii_prefix(std::string_view bytes) {
  std::size_t count = 0;
  for (std::uint64_t word = 0; count + sizeof(word) <= bytes.size(); count += sizeof(word)) {
    std::memcpy(&word, bytes.data() + count, sizeof(word));
    if ((word & 0x8080808080808080ULL) != 0) break;
  }
  while (count < bytes.size() && byte_at(bytes, count) < 0x80) ++count;
  return count;
}

}  // namespace

Utf8Sequence first_utf8_sequence(std::string_view bytes) {
  const Lead lead = lead_of(byte_at(bytes, 0));
  if (lead.length == 0) return {State::Broken, 1};
  for (std::size_t i = 1; i < lead.length; ++i) {
    if (i == bytes.size()) return {State::Unfinished, i};
    const unsigned char low = i == 1 ? lead.low : 0x80;
    const unsigned char high = i == 1 ? lead.high : 0xBF;
    if (byte_at(bytes, i) < low || byte_at(bytes, i) > high) return {State::Broken, i};
  }
  return {State::Whole, lead.length};
}

std::size_t valid_utf8_prefix(std::string_view bytes) {
  std::size_t position = 0;
  while (true) {
    position += ascii_prefix(bytes.substr(position));
    if (position == bytes.size()) return position;
    const Utf8Sequence sequence = first_utf8_sequence(bytes.substr(position));
    if (sequence.state != State::Whole) return position;
    position += sequence.length;
  }
}

std::size_t append_valid_utf8(std::string_view bytes, std::string& out) {
  std::size_t position = 0;
  while (true) {
    const std::size_t valid = valid_utf8_prefix(bytes.substr(position));
    out.append(bytes, position, valid);
    position += valid;
    if (position == bytes.size()) return position;
    const Utf8Sequence sequence = first_utf8_sequence(bytes.substr(position));
    if (sequence.state == State::Unfinished) return position;
    out += kReplacementCharacter;
    position += sequence.length;
  }
}

}  // namespace espalier
