// SPDX-License-Identifier: Apache-2.0
#include "tests/png.h"

#include <algorithm>

namespace espalier::test {

namespace {

constexpr std::size_t kSignatureBytes = 8;
constexpr std::size_t kFrameBytes = 12;  // of a chunk: length, name, checksum

std::size_t read_big_endian(std::string_view bytes) {
  std::size_t value = 0;
  for (const char byte : bytes.substr(0, 4)) value = value << 8 | static_cast<std::uint8_t>(byte);
  return value;
}

/// PNG's checksum (CRC-32), bit by bit.
std::size_t checksum(std::string_view bytes) {
  std::uint32_t crc = 0xFFFFFFFF;
  for (const char byte : bytes) {
    crc ^= static_cast<std::uint8_t>(byte);
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0xEDB88320 : 0);
  }
  return crc ^ 0xFFFFFFFF;
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

std::string big_endian(std::size_t value) {
  std::string bytes;
  for (int shift = 24; shift >= 0; shift -= 8) bytes += static_cast<char>(value >> shift);
  return bytes;
}

std::string png_chunk(std::string_view name, std::string_view data) {
  const std::string body = std::string(name) + std::string(data);
  return big_endian(data.size()) + body + big_endian(checksum(body));
}

std::string with_png_chunk(std::string png, std::string_view name, std::string_view data) {
  return png.insert(png.find("IDAT") - 4, png_chunk(name, data));
}

std::string with_valid_checksums(std::string png) {
  std::size_t at = kSignatureBytes;
  while (at + kFrameBytes <= png.size()) {
    const std::size_t bytes = read_big_endian(std::string_view(png).substr(at));
    if (bytes > png.size() - at - kFrameBytes) break;
    const std::string_view body = std::string_view(png).substr(at + 4, bytes + 4);
    const std::string sum = big_endian(checksum(body));
    png.replace(at + 8 + bytes, 4, sum);
    at += bytes + kFrameBytes;
  }
  return png;
}

std::string png_bytes(std::uint32_t width, std::uint32_t height, std::uint32_t rows, char shade) {
  const std::string row = std::string(1, '\0') + std::string(rows == 0 ? 0 : width, shade);
  std::string pixels;
  for (std::uint32_t y = 0; y < rows; ++y) pixels += row;
  const std::string header =
      big_endian(width) + big_endian(height) + std::string("\x08\x00\x00\x00\x00", 5);
  return "\x89PNG\r\n\x1a\n" + png_chunk("IHDR", header) + png_chunk("IDAT", stored(pixels)) +
         png_chunk("IEND", "");
}

}  // namespace espalier::test
