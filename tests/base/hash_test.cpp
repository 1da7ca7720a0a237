// SPDX-License-Identifier: Apache-2.0
#include "espalier/base/hash.h"

#include <gtest/gtest.h>

#include <stdexcept>

namespace espalier {
namespace {

// The vectors of FIPS 180-4's examples.
TEST(Sha256, HashesTheStandardsExamples) {
  Sha256 empty;
  EXPECT_EQ(empty.finish(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  Sha256 abc;
  abc.update("abc");
  EXPECT_EQ(abc.finish(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(Sha256, DoesNotDependOnThePieces) {
  Sha256 pieces;
  pieces.update("a");
  pieces.update("");
  pieces.update("bc");
  EXPECT_EQ(pieces.finish(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(Sha256, IsFinishedOnce) {
  Sha256 hash;
  hash.update("abc");
  const std::string digest = hash.finish();
  EXPECT_EQ(digest.size(), 64U);
  EXPECT_THROW(static_cast<void>(hash.finish()), std::logic_error);
}

}  // namespace
}  // namespace espalier
