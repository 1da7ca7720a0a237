// SPDX-License-Identifier: Apache-2.0
#include "tests/image/pictures.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>

#include "espalier/base/files.h"
#include "tests/support.h"

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

}  // namespace

std::string read_picture(const std::string& name) { return read_file(fixture("images/" + name)); }

Image decode(std::string_view bytes, const DecodeOptions& options) {
  return decode_image(std::as_bytes(std::span(bytes)), "the picture", options);
}

std::string decode_error(std::string_view bytes, const DecodeOptions& options) {
  std::string error = input_error([&] { decode(bytes, options); });
  EXPECT_THAT(error, testing::StartsWith("the picture: "));
  return error;
}

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

}  // namespace espalier::test
