// SPDX-License-Identifier: Apache-2.0
#include "espalier/text/chat_template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "espalier/base/files.h"
#include "espalier/base/json.h"
#include "tests/support.h"
#include "tests/text/golden.h"

namespace espalier {
namespace {

using nlohmann::json;
using test::Ids;
using test::small_tokenizer;
using ::testing::AllOf;
using ::testing::HasSubstr;

Message user(std::vector<MessagePart> parts) {
  return {.role = Message::Role::User, .parts = std::move(parts)};
}

// --- check_chat_template ---

std::string template_text() { return std::string(qwen3_vl_chat_template()); }

void write_json_template(const test::TemporaryDirectory& folder, const std::string& file,
                         const std::string& text) {
  write_file(folder / file, json{{"chat_template", text}}.dump(), true);
}

std::string check_error(const test::TemporaryDirectory& folder) {
  return test::input_error([&] { check_chat_template(folder.path()); });
}

TEST(ChatTemplate, IsFoundInEachOfItsThreePlaces) {
  for (const char* file : {"chat_template.json", "tokenizer_config.json"}) {
    const test::TemporaryDirectory folder;
    write_json_template(folder, file, template_text());
    EXPECT_NO_THROW(check_chat_template(folder.path())) << file;
  }
  const test::TemporaryDirectory folder;
  write_file(folder / "chat_template.jinja", template_text(), false);
  EXPECT_NO_THROW(check_chat_template(folder.path()));
}

TEST(ChatTemplate, IsTheReleasedOne) {
  const auto folder = test::qwen_folder();
  if (!folder) GTEST_SKIP() << "needs ESPALIER_TEST_DATA (Qwen's chat template)";
  EXPECT_NO_THROW(check_chat_template(*folder));
  EXPECT_EQ(read_json(*folder / "chat_template.json").at("chat_template"), template_text());
}

TEST(ChatTemplate, MayDifferInWhatJinjaDrops) {
  const test::TemporaryDirectory folder;
  std::string text = template_text();
  ASSERT_TRUE(text.ends_with("%}\n"));
  write_file(folder / "chat_template.jinja", text + "\n", true);
  EXPECT_NO_THROW(check_chat_template(folder.path()));
  text.pop_back();
  write_file(folder / "chat_template.jinja", text, true);
  EXPECT_NO_THROW(check_chat_template(folder.path()));
  // A third line end would be written behind every conversation.
  write_file(folder / "chat_template.jinja", text + "\n\n\n", true);
  EXPECT_THAT(check_error(folder), HasSubstr("not the chat template"));
}

TEST(ChatTemplate, RefusesAnotherOneNoneAndContradictions) {
  const test::TemporaryDirectory folder;
  EXPECT_THAT(check_error(folder), HasSubstr("no chat template"));
  write_json_template(folder, "chat_template.json", template_text() + "{{ 'x' }}");
  EXPECT_THAT(check_error(folder), AllOf(HasSubstr("chat_template.json"), HasSubstr("only one")));
  write_json_template(folder, "tokenizer_config.json", template_text());
  EXPECT_THAT(check_error(folder),
              AllOf(HasSubstr("chat_template.json"), HasSubstr("tokenizer_config.json"),
                    HasSubstr("different")));
}

// --- encode_chat ---

void expect_chats(const Tokenizer& tokenizer, const std::string& golden) {
  for (const auto& chat : test::read_chats(golden)) {
    EXPECT_EQ(encode_chat(tokenizer, chat.messages, {.special_tokens = SpecialTokens::Parse}),
              chat.parse);
    EXPECT_EQ(encode_chat(tokenizer, chat.messages, {.special_tokens = SpecialTokens::Plain}),
              chat.plain);
  }
}

TEST(EncodeChat, GivesTheIdsOfTheReference) { expect_chats(small_tokenizer(), "small_golden"); }

TEST(EncodeChat, GivesTheIdsOfTheReferenceWithQwensVocabulary) {
  const auto folder = test::qwen_folder();
  if (!folder) GTEST_SKIP() << "needs ESPALIER_TEST_DATA (Qwen's vocabulary)";
  expect_chats(Tokenizer::read(*folder), "qwen_golden");
}

TEST(EncodeChat, OpensTheAssistantsTurnOnRequestOnly) {
  const std::vector<Message> messages = {user({TextPart{"Hi"}})};
  const Ids with = encode_chat(small_tokenizer(), messages);
  const Ids without = encode_chat(small_tokenizer(), messages, {.add_generation_prompt = false});
  EXPECT_EQ(small_tokenizer().decode(without, false), "<|im_start|>user\nHi<|im_end|>\n");
  EXPECT_EQ(small_tokenizer().decode(with, false),
            "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
}

TEST(EncodeChat, RefusesSpecialTokensInAMessageByDefault) {
  // Also where they come together from two parts only.
  for (const auto& parts : {std::vector<MessagePart>{TextPart{"a<|im_end|>b"}},
                            std::vector<MessagePart>{TextPart{"a<|im_"}, TextPart{"end|>"}}}) {
    EXPECT_THAT(test::input_error([&] { encode_chat(small_tokenizer(), {user(parts)}); }),
                HasSubstr("<|im_end|>"));
  }
}

TEST(EncodeChat, SpellsOutTokensThatComeTogetherFromTwoParts) {
  const Ids ids = encode_chat(small_tokenizer(), {user({TextPart{"<|im_"}, TextPart{"end|>"}})},
                              {.special_tokens = SpecialTokens::Plain});
  EXPECT_EQ(std::ranges::count(ids, small_tokenizer().id_of("<|im_end|>").value()), 1);
}

TEST(EncodeChat, RefusesWhatTheTemplateDropsSilently) {
  const Message system{.role = Message::Role::System, .parts = {TextPart{"x"}}};
  const Message picture{.role = Message::Role::Assistant, .parts = {ImagePart{}}};
  EXPECT_THAT(test::input_error([&] { encode_chat(small_tokenizer(), {}); }),
              HasSubstr("at least one"));
  EXPECT_THAT(test::input_error([&] {
                encode_chat(small_tokenizer(), {user({}), system});
              }),
              HasSubstr("message 1"));
  EXPECT_THAT(test::input_error([&] {
                encode_chat(small_tokenizer(), {user({}), picture});
              }),
              AllOf(HasSubstr("message 1"), HasSubstr("assistant")));
}

// --- expand_placeholders ---

TEST(ExpandPlaceholders, RepeatsEachAsOftenAsItsPictureSays) {
  EXPECT_EQ(expand_placeholders({1, 9, 2, 9, 9}, 9, {3, 1, 2}), (Ids{1, 9, 9, 9, 2, 9, 9, 9}));
  EXPECT_EQ(expand_placeholders({1, 2}, 9, {}), (Ids{1, 2}));
}

TEST(ExpandPlaceholders, RefusesAnotherNumberOfPictures) {
  EXPECT_THAT(test::input_error([] {
                expand_placeholders({9, 9}, 9, {4});
              }),
              AllOf(HasSubstr("2 picture placeholders"), HasSubstr("1 pictures")));
  EXPECT_THAT(test::input_error([] { expand_placeholders({9}, 9, {0}); }), HasSubstr("picture 0"));
}

}  // namespace
}  // namespace espalier
