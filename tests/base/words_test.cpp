// SPDX-License-Identifier: Apache-2.0
#include "espalier/base/words.h"

#include <gmock/gmock.h>

namespace espalier {
namespace {

using ::testing::ElementsAre;

TEST(Words, AreJoinedAsAlternatives) {
  EXPECT_EQ(alternatives({"a"}), "a");
  EXPECT_EQ(alternatives({"a", "b"}), "a or b");
  EXPECT_EQ(alternatives({"a", "b", "c"}), "a, b or c");
}

TEST(Words, AreSuggestedWhereFewLettersDifferOrTheBeginningIsTheSame) {
  const std::vector<std::string> known = {"topk", "triplets", "contiguous"};
  EXPECT_EQ(suggestion("topn", known), "topk");  // one letter of four
  EXPECT_EQ(suggestion("tripl", known), "triplets");
  EXPECT_EQ(suggestion("kpot", known), std::nullopt);  // four letters of four
  EXPECT_EQ(suggestion("contiguus", known), "contiguous");
}

TEST(Words, AreSortedByHowLikelyTheyAreMeant) {
  EXPECT_THAT(nearest_first("cka", {"random", "ckb", "cka-sample", "cka"}),
              ElementsAre("cka", "cka-sample", "ckb", "random"));
}

TEST(Words, ThatAreUnknownAreNamedWithTheAlternatives) {
  EXPECT_EQ(unknown_word("rule", "topn", {"topk", "gap"}),
            "unknown rule topn (did you mean topk?); wanted topk or gap");
  EXPECT_EQ(unknown_word("rule", "xyz", {"topk"}), "unknown rule xyz; wanted topk");
}

TEST(Words, AreSplitAtCommas) {
  EXPECT_THAT(split_at_commas(""), ElementsAre(""));
  EXPECT_THAT(split_at_commas("a"), ElementsAre("a"));
  EXPECT_THAT(split_at_commas("a,b c"), ElementsAre("a", "b c"));
  EXPECT_THAT(split_at_commas(",a,,b,"), ElementsAre("", "a", "", "b", ""));
}

}  // namespace
}  // namespace espalier
