// SPDX-License-Identifier: Apache-2.0
#include "espalier/data/encoder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <span>

#include "tests/support.h"
#include "tests/text/golden.h"

namespace espalier {
namespace {

using test::small_tokenizer;
using ::testing::AllOf;
using ::testing::HasSubstr;

EncoderOptions qwen_options() {
  return {.limits = {.factor = 32, .min_pixels = 65536, .max_pixels = 16777216},
          .patch_size = 16,
          .merge_size = 2,
          .image_token_id = small_tokenizer().id_of("<|image_pad|>").value(),
          .chat = {}};
}

Image grey(int width, int height) {
  return {.width = width,
          .height = height,
          .rgb = std::vector<std::uint8_t>(3 * static_cast<std::size_t>(width * height), 128)};
}

std::vector<Message> ask_about(int pictures) {
  Message message{.role = Message::Role::User, .parts = {}};
  for (int i = 0; i < pictures; ++i) message.parts.emplace_back(ImagePart{});
  message.parts.emplace_back(TextPart{"Describe this image."});
  return {message};
}

EncodedExample encode_two() {
  return encode(small_tokenizer(), ask_about(2), {grey(512, 320), grey(320, 320)}, {"a", "b"},
                qwen_options());
}

TEST(Encoder, CountsPatchesAndMergedTokens) {
  const EncodedExample example = encode_two();
  EXPECT_EQ(example.target_sizes, (std::vector<Size>{{512, 320}, {320, 320}}));
  EXPECT_EQ(example.grids, (std::vector<ImageGrid>{{1, 20, 32}, {1, 20, 20}}));
  // 20 * 32 / 4 + 20 * 20 / 4 = 160 + 100.
  EXPECT_EQ(std::ranges::count(example.ids, qwen_options().image_token_id), 260);
}

TEST(Encoder, KeepsThePicturesAtTheirSize) {
  const EncodedExample example = encode_two();
  ASSERT_EQ(example.images.size(), 2U);
  EXPECT_EQ(example.images[0], grey(512, 320));
}

TEST(Encoder, EncodesTheConversationAsEncodeChatDoes) {
  const EncodedExample example = encode(small_tokenizer(), ask_about(0), {}, {}, qwen_options());
  EXPECT_EQ(example.ids, encode_chat(small_tokenizer(), ask_about(0)));
}

TEST(Encoder, KnowsTheAnswersPlaceBehindThePictures) {
  std::vector<Message> messages = ask_about(1);
  messages.push_back({.role = Message::Role::Assistant, .parts = {TextPart{"A square."}}});
  const EncodedChat chat = encode_turns(small_tokenizer(), messages, {{1, 4, 4}}, qwen_options());
  ASSERT_EQ(chat.assistant_turns.size(), 1U);
  const TurnSpan turn = chat.assistant_turns.front();
  EXPECT_EQ(small_tokenizer().decode(
                std::span(chat.ids).subspan(static_cast<std::size_t>(turn.begin),
                                            static_cast<std::size_t>(turn.end - turn.begin)),
                false),
            "A square.<|im_end|>");
  EXPECT_EQ(chat.ids, encode_ids(small_tokenizer(), messages, {{1, 4, 4}}, qwen_options()));
}

TEST(Encoder, RefusesAnotherNumberOfPicturesAndNamesBoth) {
  EXPECT_THAT(test::input_error([] {
                encode(small_tokenizer(), ask_about(2), {grey(320, 320)}, {"a"}, qwen_options());
              }),
              AllOf(HasSubstr("2 picture"), HasSubstr("1 pictures")));
}

TEST(Encoder, NamesThePictureThatCannotBeResized) {
  EXPECT_THAT(test::input_error([] {
                encode(small_tokenizer(), ask_about(1), {grey(1000, 1)}, {"thin.png"},
                       qwen_options());
              }),
              HasSubstr("thin.png"));
}

TEST(Encoder, RefusesOptionsThatContradictTheTokenizerOrEachOther) {
  EncoderOptions options = qwen_options();
  options.image_token_id = 5;
  EXPECT_THAT(test::input_error([&] { encode(small_tokenizer(), ask_about(0), {}, {}, options); }),
              HasSubstr("<|image_pad|>"));
  options = qwen_options();
  options.merge_size = 1;
  EXPECT_THAT(test::input_error([&] { encode(small_tokenizer(), ask_about(0), {}, {}, options); }),
              HasSubstr("factor"));
}

}  // namespace
}  // namespace espalier
