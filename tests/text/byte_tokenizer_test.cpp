// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "espalier/text/chat_template.h"
#include "espalier/text/tokenizer.h"
#include "tests/support.h"

namespace espalier {
namespace {

using ::testing::HasSubstr;
using Ids = std::vector<std::int64_t>;

TEST(ByteTokenizer, GivesEachByteItsValueAsId) {
  const test::TemporaryDirectory folder;
  write_byte_tokenizer(folder.path(), qwen_added_tokens(151643));
  const Tokenizer tokenizer = Tokenizer::read(folder.path());
  EXPECT_EQ(tokenizer.encode("Az \u00e9<|im_end|>\n", SpecialTokens::Parse),
            (Ids{0x41, 0x7A, 0x20, 0xC3, 0xA9, 151645, 0x0A}));
  EXPECT_EQ(tokenizer.added_tokens(), qwen_added_tokens(151643));
  EXPECT_EQ(tokenizer.size(), 151669);
}

TEST(ByteTokenizer, TakesAddedTokensAnywhereBehindTheBytes) {
  for (const std::int64_t first : {256, 300}) {
    const test::TemporaryDirectory folder;
    write_byte_tokenizer(folder.path(), qwen_added_tokens(first));
    EXPECT_EQ(Tokenizer::read(folder.path()).added_tokens(), qwen_added_tokens(first));
  }
  const test::TemporaryDirectory folder;
  EXPECT_THAT(
      test::input_error([&] { write_byte_tokenizer(folder.path(), qwen_added_tokens(255)); }),
      HasSubstr("<|endoftext|>"));
}

TEST(ByteTokenizer, BringsTheChatTemplate) {
  const test::TemporaryDirectory folder;
  write_byte_tokenizer(folder.path(), qwen_added_tokens(256));
  EXPECT_NO_THROW(check_chat_template(folder.path()));
  EXPECT_TRUE(std::filesystem::exists(folder / "chat_template.json"));
}

}  // namespace
}  // namespace espalier
