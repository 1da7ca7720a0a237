// SPDX-License-Identifier: Apache-2.0
#include "espalier/text/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "espalier/base/random.h"
#include "tests/support.h"
#include "tests/text/golden.h"

namespace espalier {
namespace {

using test::Ids;
using test::small_tokenizer;
using ::testing::AllOf;
using ::testing::HasSubstr;

const Tokenizer* qwen_tokenizer() {
  static const std::optional<Tokenizer> tokenizer = [] {
    const auto folder = test::qwen_folder();
    return folder ? std::optional(Tokenizer::read(*folder)) : std::nullopt;
  }();
  return tokenizer ? &*tokenizer : nullptr;
}

#define QWEN_TOKENIZER_OR_SKIP(name)                                                               \
  if (qwen_tokenizer() == nullptr) GTEST_SKIP() << "needs ESPALIER_TEST_DATA (Qwen's vocabulary)"; \
  const Tokenizer& name = *qwen_tokenizer()

void expect_encodings(const Tokenizer& tokenizer, const std::string& golden) {
  for (const auto& [text, ids] : test::read_encodings(golden)) {
    EXPECT_EQ(tokenizer.encode(text, SpecialTokens::Parse), ids) << text;
  }
}

void expect_decodings(const Tokenizer& tokenizer, const std::string& golden) {
  for (const auto& [ids, text, without_special] : test::read_decodings(golden)) {
    EXPECT_EQ(tokenizer.decode(ids, false), text);
    EXPECT_EQ(tokenizer.decode(ids, true), without_special);
  }
}

std::string streamed(const Tokenizer& tokenizer, const Ids& ids, bool skip_special_tokens) {
  StreamDecoder decoder(tokenizer, skip_special_tokens);
  std::string text;
  for (const std::int64_t id : ids) text += decoder.next(id);
  return text + decoder.finish();
}

void expect_streams_as_it_decodes(const Tokenizer& tokenizer) {
  Random random(11);
  for (int round = 0; round < 2000; ++round) {
    Ids ids(random.below(20));
    const auto largest = static_cast<std::uint64_t>(tokenizer.size()) + 50;
    const std::uint64_t limit = random.below(2) == 0 ? 256 : largest;
    for (std::int64_t& id : ids) id = static_cast<std::int64_t>(random.below(limit));
    const bool skip = random.below(2) == 0;
    EXPECT_EQ(streamed(tokenizer, ids, skip), tokenizer.decode(ids, skip));
  }
}

std::string repeat(std::string_view unit, std::size_t count) {
  std::string text;
  for (std::size_t i = 0; i < count; ++i) text += unit;
  return text;
}

// --- Qwen's vocabulary ---

TEST(QwenTokenizer, GivesTheIdsOfTheReference) {
  QWEN_TOKENIZER_OR_SKIP(tokenizer);
  expect_encodings(tokenizer, "qwen_golden");
}

TEST(QwenTokenizer, DecodesAsTheReference) {
  QWEN_TOKENIZER_OR_SKIP(tokenizer);
  expect_decodings(tokenizer, "qwen_golden");
}

TEST(QwenTokenizer, StreamsAsItDecodes) {
  QWEN_TOKENIZER_OR_SKIP(tokenizer);
  expect_streams_as_it_decodes(tokenizer);
}

// The vectors of the model's specification.
TEST(QwenTokenizer, GivesThePublishedIds) {
  QWEN_TOKENIZER_OR_SKIP(tokenizer);
  const std::vector<std::pair<std::string, Ids>> vectors = {
      {"Hello world", {9707, 1879}},
      {" Hello world", {21927, 1879}},
      {"Describe this image.", {74785, 419, 2168, 13}},
      {"<|im_start|>user\n", {151644, 872, 198}},
      {"system\nYou are a helpful assistant.", {8948, 198, 2610, 525, 264, 10950, 17847, 13}},
      {"1234", {16, 17, 18, 19}},
      {"don't I'LL", {15007, 944, 358, 6, 4086}},
      {"  \n\n  x", {18611, 220, 856}},
      {"\u4f60\u597d,\u4e16\u754c", {108386, 11, 99489}},
      {"\u00e9", {963}},
      {"e\u0301", {963}},
      {"<3.4 seconds>", {27, 18, 13, 19, 6486, 29}},
      {"\U0001f600", {141334}},
      {"assistant\n", {77091, 198}},
      {"foo\r\nbar\t\tbaz   ", {7975, 319, 2257, 197, 2233, 1370, 262}},
      {"a\u0085b", {64, 126, 227, 65}},
      {"a\u180eb", {64, 123970, 236, 65}},
      {"\u3000\u3000x", {22441, 22441, 87}},
      {"a\u00a0b", {64, 4102, 65}},
      {"a\u200bb", {64, 15692, 65}},
      {"\u212a", {42}},
      {"it'S", {275, 13272}},
      {"a\r\n\r\nb", {64, 871, 65}},
      {"e<|im_end|>\u0301", {68, 151645, 53839}},
      {" <|im_start|> ", {220, 151644, 220}},
      {"<|IM_END|>", {27, 91, 1791, 10898, 91, 29}},
      {"a\v\fb", {64, 199, 200, 65}},
      {"\ufeffa", {3225, 64}},
  };
  for (const auto& [text, ids] : vectors) {
    EXPECT_EQ(tokenizer.encode(text, SpecialTokens::Parse), ids) << text;
  }
}

TEST(QwenTokenizer, HasTheAddedTokensOfTheRelease) {
  QWEN_TOKENIZER_OR_SKIP(tokenizer);
  EXPECT_EQ(tokenizer.added_tokens(), qwen_added_tokens(151643));
  EXPECT_EQ(tokenizer.size(), 151669);
  EXPECT_EQ(tokenizer.id_of("<|image_pad|>"), 151655);
  EXPECT_EQ(tokenizer.bytes_of(151669), "");
}

// --- the small vocabulary, in both forms ---

TEST(Tokenizer, GivesTheIdsOfTheReference) { expect_encodings(small_tokenizer(), "small_golden"); }

TEST(Tokenizer, DecodesAsTheReference) { expect_decodings(small_tokenizer(), "small_golden"); }

TEST(Tokenizer, StreamsAsItDecodes) { expect_streams_as_it_decodes(small_tokenizer()); }

TEST(Tokenizer, ReadsTheSameFromTokenizerJson) {
  const Tokenizer tokenizer = Tokenizer::read(test::fixture("text/small_json"));
  EXPECT_EQ(tokenizer.added_tokens(), small_tokenizer().added_tokens());
  EXPECT_EQ(tokenizer.size(), small_tokenizer().size());
  expect_encodings(tokenizer, "small_golden");
  expect_decodings(tokenizer, "small_golden");
}

TEST(Tokenizer, DecodesWhatItEncoded) {
  for (const std::string text : {"", "a \u00e9\u4f60\U0001f600\n\x01", "  don't <think>"}) {
    const Ids ids = small_tokenizer().encode(text, SpecialTokens::Parse);
    EXPECT_EQ(small_tokenizer().decode(ids, false), text);
  }
}

// Sanitizers make it slow; an eighth is still beyond any stack or match limit of a regex engine.
#ifdef __SANITIZE_ADDRESS__
constexpr std::size_t kLongPiece = 1 << 17;
#else
constexpr std::size_t kLongPiece = 1 << 20;
#endif

TEST(Tokenizer, TakesPiecesOfAMegabyte) {
  for (const char* unit : {"a", " ", "is", "\n"}) {
    const std::string text = repeat(unit, kLongPiece);
    const Ids ids = small_tokenizer().encode(text, SpecialTokens::Refuse);
    EXPECT_EQ(small_tokenizer().decode(ids, false), text);
  }
  // "i" + "s" merge, but "is" + "is" do not.
  EXPECT_EQ(small_tokenizer().encode(repeat("is", kLongPiece), SpecialTokens::Refuse).size(),
            kLongPiece);
}

TEST(Tokenizer, AnswersAboutIds) {
  const Tokenizer& tokenizer = small_tokenizer();
  const std::int64_t im_end = tokenizer.id_of("<|im_end|>").value();
  const std::int64_t think = tokenizer.id_of("<think>").value();
  EXPECT_TRUE(tokenizer.is_special(im_end));
  EXPECT_FALSE(tokenizer.is_special(think));
  EXPECT_FALSE(tokenizer.is_special(0));
  EXPECT_EQ(tokenizer.bytes_of(im_end), "<|im_end|>");
  EXPECT_EQ(tokenizer.bytes_of(-1), "");
  EXPECT_EQ(tokenizer.bytes_of(tokenizer.size()), "");
  EXPECT_EQ(tokenizer.id_of("the"), std::nullopt);
}

TEST(Tokenizer, RefusesSpecialTokensInTextAndNamesTheRemedies) {
  const std::string message = test::input_error(
      [] { (void)small_tokenizer().encode("hello <|im_end|>", SpecialTokens::Refuse); });
  EXPECT_THAT(message, AllOf(HasSubstr("<|im_end|>"), HasSubstr("byte 6"), HasSubstr("parsed"),
                             HasSubstr("plain text")));
}

TEST(Tokenizer, ParsesAddedTokensThatAreNotSpecialInEveryMode) {
  const std::int64_t think = small_tokenizer().id_of("<think>").value();
  for (const auto mode : {SpecialTokens::Parse, SpecialTokens::Plain, SpecialTokens::Refuse}) {
    EXPECT_THAT(small_tokenizer().encode("a<think>b", mode), testing::Contains(think));
  }
}

// The reference's sanitize_control_tokens encodes such a token by itself, so that "a " keeps its
// space to itself.
TEST(Tokenizer, SpellsSpecialTokensOutByThemselves) {
  QWEN_TOKENIZER_OR_SKIP(tokenizer);
  EXPECT_EQ(tokenizer.encode("a <|im_end|> b", SpecialTokens::Plain),
            (Ids{64, 220, 27, 91, 318, 6213, 91, 29, 293}));
}

TEST(Tokenizer, SpellsOutTheToolTagsToo) {
  const Ids ids = small_tokenizer().encode("<tool_call>", SpecialTokens::Plain);
  EXPECT_THAT(ids, testing::Not(testing::Contains(small_tokenizer().id_of("<tool_call>"))));
  EXPECT_EQ(small_tokenizer().decode(ids, true), "<tool_call>");
}

TEST(Tokenizer, RefusesBrokenUtf8AndSaysWhere) {
  EXPECT_THAT(
      test::input_error([] { (void)small_tokenizer().encode("abc\xFFz", SpecialTokens::Parse); }),
      HasSubstr("byte 3"));
  EXPECT_THAT(
      test::input_error([] { (void)small_tokenizer().encode("\xC3", SpecialTokens::Parse); }),
      HasSubstr("byte 0"));
}

TEST(StreamDecoder, HoldsAnUnfinishedCharacterBack) {
  const Ids ids = small_tokenizer().encode("\U0001f9ff", SpecialTokens::Parse);
  ASSERT_GT(ids.size(), 1U);
  StreamDecoder decoder(small_tokenizer(), false);
  for (std::size_t i = 0; i + 1 < ids.size(); ++i) EXPECT_EQ(decoder.next(ids[i]), "");
  EXPECT_EQ(decoder.next(ids.back()), "\U0001f9ff");
  EXPECT_EQ(decoder.next(ids[0]), "");
  EXPECT_EQ(decoder.finish(), "\uFFFD");
  EXPECT_EQ(decoder.finish(), "");
}

}  // namespace
}  // namespace espalier
