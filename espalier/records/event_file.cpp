// SPDX-License-Identifier: Apache-2.0
#include "espalier/records/event_file.h"

#include <array>
#include <bit>
#include <string>

#include "espalier/base/error.h"

namespace espalier {

namespace {

/// The remainders of all bytes: a bit shifted out brings the reflected polynomial in.
constexpr std::array<std::uint32_t, 256> make_table() {
  constexpr std::uint32_t kPolynomial = 0x82F63B78;
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t byte = 0; byte < table.size(); ++byte) {
    std::uint32_t remainder = byte;
    for (int bit = 0; bit < 8; ++bit) {
      remainder = (remainder >> 1U) ^ ((remainder & 1U) != 0 ? kPolynomial : 0);
    }
    table[byte] = remainder;
  }
  return table;
}

constexpr std::array<std::uint32_t, 256> kTable = make_table();

/// A number in so many bytes, the least significant first.
std::string little_endian(std::uint64_t value, int bytes) {
  std::string text;
  for (int i = 0; i < bytes; ++i) text += static_cast<char>(value >> (8 * i) & 0xFF);
  return text;
}

// --- protocol buffers: a field is a key (its number and how it is written), then its value -------

std::string varint(std::uint64_t value) {
  std::string text;
  for (; value >= 0x80; value >>= 7U) text += static_cast<char>((value & 0x7FU) | 0x80U);
  return text += static_cast<char>(value);
}

std::string key(unsigned field, unsigned form) { return varint(field << 3U | form); }

std::string varint_field(unsigned field, std::int64_t value) {
  return key(field, 0) + varint(static_cast<std::uint64_t>(value));
}

std::string double_field(unsigned field, double value) {
  return key(field, 1) + little_endian(std::bit_cast<std::uint64_t>(value), 8);
}

/// A text, or a message within a message.
std::string bytes_field(unsigned field, std::string_view bytes) {
  return key(field, 2) + varint(bytes.size()) + std::string(bytes);
}

std::string float_field(unsigned field, float value) {
  return key(field, 5) + little_endian(std::bit_cast<std::uint32_t>(value), 4);
}

// --- TensorFlow's messages (tensorflow/core/util/event.proto, framework/summary.proto)
// ------------

std::string event(double wall_time, std::int64_t step, const std::string& what) {
  return double_field(1, wall_time) + (step == 0 ? "" : varint_field(2, step)) + what;
}

std::string file_version() { return bytes_field(3, "brain.Event:2"); }

std::string scalar(std::string_view tag, float value) {
  const std::string one = bytes_field(1, tag) + float_field(2, value);
  return bytes_field(5, bytes_field(1, one));
}

/// That a session starts: TensorBoard forgets what it has of the event's step and of later ones.
std::string session_start() {
  constexpr std::int64_t kStart = 1;
  return bytes_field(7, varint_field(1, kStart));
}

/// Rotated and shifted, since a checksum over bytes that hold their checksum says little.
std::uint32_t masked(std::uint32_t checksum) { return std::rotr(checksum, 15) + 0xA282EAD8U; }

std::filesystem::path check_new(const std::filesystem::path& file) {
  require(!path_exists(file), "{}: exists already; event files are never replaced", file.string());
  return file;
}

}  // namespace

std::uint32_t crc32c(std::string_view bytes) {
  std::uint32_t remainder = 0xFFFFFFFF;
  for (const char byte : bytes) {
    remainder = kTable[(remainder ^ static_cast<std::uint8_t>(byte)) & 0xFFU] ^ (remainder >> 8U);
  }
  return ~remainder;
}

EventFileWriter::EventFileWriter(const std::filesystem::path& file, const EventFileOptions& options)
    : file_(check_new(file), 0) {
  add_record(event(options.wall_time, 0, file_version()));
  if (options.resumed_after) {
    add_record(event(options.wall_time, *options.resumed_after + 1, session_start()));
  }
}

void EventFileWriter::add_scalar(std::string_view tag, std::int64_t step, double value,
                                 double wall_time) {
  add_record(event(wall_time, step, scalar(tag, static_cast<float>(value))));
}

void EventFileWriter::add_record(std::string_view event) {
  const std::string length = little_endian(event.size(), 8);
  file_.append(length + little_endian(masked(crc32c(length)), 4) + std::string(event) +
               little_endian(masked(crc32c(event)), 4));
}

}  // namespace espalier
