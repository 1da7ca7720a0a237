// SPDX-License-Identifier: Apache-2.0
#include "tests/cli/png.h"

#include <algorithm>

namespace espalier::test {

namespace {

std::string big_endian(std::uint32_t value) {
  std::string bytes;
  for (int shift = 24; shift >= 0; shift -= 8) bytes += static_cast<char>(value >> shift & 0xFF);
  return bytes;
}

std::uint32_t crc32(const std::string& bytes) {
  std::uint32_t crc = 0xFFFFFFFF;
  for (const char byte : bytes) {
    crc ^= static_cast<std::uint8_t>(byte);
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ ((crc & 1) != 0 ? 0xEDB88320 : 0);
  }
  return ~crc;
}

std::string chunk(const std::string& type, const std::string& data) {
  return big_endian(static_cast<std::uint32_t>(data.size())) + type + data +
         big_endian(crc32(type + data));
}

/// A zlib stream of stored blocks.
std::string stored(const std::string& data) {
  std::string stream = "\x78\x01";
  std::uint32_t a = 1;
  std::uint32_t b = 0;
  for (const char byte : data) {
    a = (a + static_cast<std::uint8_t>(byte)) % 65521;
    b = (b + a) % 65521;
  }
  for (std::size_t at = 0; at == 0 || at < data.size(); at += 65535) {
    const auto length = static_cast<std::uint16_t>(std::min<std::size_t>(65535, data.size() - at));
    stream += static_cast<char>(at + length == data.size() ? 1 : 0);
    for (const std::uint16_t field : {length, static_cast<std::uint16_t>(~length)}) {
      stream += static_cast<char>(field & 0xFF);
      stream += static_cast<char>(field >> 8);
    }
    stream += data.substr(at, length);
  }
  return stream + big_endian(b << 16 | a);
}

}  // namespace

std::string png_bytes(std::uint32_t width, std::uint32_t height, std::uint32_t rows) {
  const std::string row = std::string(1, '\0') + std::string(rows == 0 ? 0 : width, '\x55');
  std::string pixels;
  for (std::uint32_t y = 0; y < rows; ++y) pixels += row;
  const std::string header =
      big_endian(width) + big_endian(height) + std::string("\x08\x00\x00\x00\x00", 5);
  return "\x89PNG\r\n\x1a\n" + chunk("IHDR", header) + chunk("IDAT", stored(pixels)) +
         chunk("IEND", "");
}

}  // namespace espalier::test
