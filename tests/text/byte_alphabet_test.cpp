// SPDX-License-Identifier: Apache-2.0
#include "espalier/text/byte_alphabet.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace espalier {
namespace {

std::string symbol(unsigned char byte) { return byte_symbols()[byte]; }

TEST(ByteAlphabet, IsGpt2s) {
  EXPECT_EQ(symbol('!'), "!");
  EXPECT_EQ(symbol(' '), "\u0120");
  EXPECT_EQ(symbol('\n'), "\u010a");
  EXPECT_EQ(symbol(0), "\u0100");
  EXPECT_EQ(symbol(0x7F), "\u0121");
  EXPECT_EQ(symbol(0xAD), "\u0143");
  EXPECT_EQ(symbol(0xFF), "\u00ff");
}

TEST(ByteAlphabet, GoesBothWaysForEveryByte) {
  std::string all;
  std::string bytes;
  for (int byte = 0; byte < 256; ++byte) {
    all += symbol(static_cast<unsigned char>(byte));
    bytes += static_cast<char>(byte);
  }
  std::string back;
  EXPECT_TRUE(append_bytes_of_symbols(all, back));
  EXPECT_EQ(back, bytes);
  EXPECT_EQ(std::set(byte_symbols().begin(), byte_symbols().end()).size(), 256U);
}

TEST(ByteAlphabet, RefusesOtherCharacters) {
  for (const std::string token : {" ", "a b", "\n", "\u0144", "\u00ad", "a\u4f60", "\U0001f600"}) {
    std::string out = "x";
    EXPECT_FALSE(append_bytes_of_symbols(token, out)) << token;
    EXPECT_EQ(out, "x");
  }
}

}  // namespace
}  // namespace espalier
