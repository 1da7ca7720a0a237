// SPDX-License-Identifier: Apache-2.0
#include "espalier/text/nfc.h"

#include <gtest/gtest.h>

namespace espalier {
namespace {

TEST(Nfc, ComposesAndReorders) {
  EXPECT_EQ(to_nfc("plain"), "plain");
  EXPECT_EQ(to_nfc("e\u0301"), "\u00e9");
  EXPECT_EQ(to_nfc("q\u0307\u0323"), "q\u0323\u0307");
  EXPECT_EQ(to_nfc("\u212b"), "\u00c5");
  EXPECT_EQ(to_nfc("\u0958"), "\u0915\u093c");
  EXPECT_EQ(to_nfc("\u1112\u1161\u11ab"), "\ud55c");
}

TEST(Nfc, LeavesCharactersThatCameAfterUnicode9AsTheReferenceDoes) {
  // Composes in Unicode 13.
  EXPECT_EQ(to_nfc("\U00011935\U00011930"), "\U00011935\U00011930");
  // U+1E130 (Unicode 12) has class 230, and would stand behind U+0323 (220).
  EXPECT_EQ(to_nfc("a\U0001e130\u0323"), "a\U0001e130\u0323");
  // In the same text, older characters do compose.
  EXPECT_EQ(to_nfc("e\u0301\U0001e130e\u0301"), "\u00e9\U0001e130\u00e9");
}

}  // namespace
}  // namespace espalier
