// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "espalier/base/files.h"
#include "espalier/base/json.h"
#include "espalier/text/tokenizer.h"
#include "tests/support.h"
#include "tests/text/golden.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;

/// A copy of one of the small tokenizers, for a test to spoil.
class TokenizerFolder {
 public:
  explicit TokenizerFolder(const std::string& name) {
    fs::copy(test::fixture("text/" + name), folder_.path(), fs::copy_options::recursive);
  }

  TokenizerFolder& edit(const std::string& file, const std::function<void(json&)>& change) {
    json value = read_json(folder_ / file);
    change(value);
    return write(file, value.dump());
  }
  TokenizerFolder& write(const std::string& file, const std::string& text) {
    write_file(folder_ / file, text, true);
    return *this;
  }
  TokenizerFolder& remove(const std::string& file) {
    fs::remove(folder_ / file);
    return *this;
  }
  [[nodiscard]] std::string text_of(const std::string& file) const {
    return read_file(folder_ / file);
  }

  [[nodiscard]] Tokenizer read() const { return Tokenizer::read(folder_.path()); }
  [[nodiscard]] std::string error() const {
    return test::input_error([this] { (void)read(); });
  }

 private:
  test::TemporaryDirectory folder_;
};

void expect_small(const Tokenizer& tokenizer) {
  EXPECT_EQ(tokenizer.added_tokens(), test::small_tokenizer().added_tokens());
  for (const auto& [text, ids] : test::read_encodings("small_golden")) {
    EXPECT_EQ(tokenizer.encode(text, SpecialTokens::Parse), ids) << text;
  }
}

// --- vocab.json and merges.txt ---

TEST(TokenizerFiles, TakesMergesWithAndWithoutHeaderAndWithEitherLineEnd) {
  TokenizerFolder folder("small");
  const std::string merges = folder.text_of("merges.txt");
  ASSERT_TRUE(merges.starts_with("#version"));
  std::string without_header = merges.substr(merges.find('\n') + 1);
  expect_small(folder.write("merges.txt", without_header).read());
  without_header.pop_back();  // the last line end
  expect_small(folder.write("merges.txt", without_header).read());
  std::string dos;
  for (const char c : merges) dos += c == '\n' ? std::string("\r\n") : std::string(1, c);
  expect_small(folder.write("merges.txt", dos).read());
}

TEST(TokenizerFiles, TakesAnEmptyMergesFileButNotAMissingOne) {
  TokenizerFolder folder("small");
  const Tokenizer tokenizer = folder.write("merges.txt", "").read();
  EXPECT_EQ(tokenizer.encode("the", SpecialTokens::Parse).size(), 3U);
  EXPECT_THAT(folder.remove("merges.txt").error(),
              AllOf(HasSubstr("merges.txt"), HasSubstr("empty")));
}

TEST(TokenizerFiles, SaysWhenThereIsNoTokenizer) {
  const test::TemporaryDirectory folder;
  EXPECT_THAT(test::input_error([&] { (void)Tokenizer::read(folder.path()); }),
              AllOf(HasSubstr("tokenizer.json"), HasSubstr("vocab.json")));
}

TEST(TokenizerFiles, RefusesBrokenMerges) {
  TokenizerFolder folder("small");
  EXPECT_THAT(folder.write("merges.txt", "i s\nis\n").error(), HasSubstr("merge 1 is \"is\""));
  EXPECT_THAT(folder.write("merges.txt", "i  s\n").error(), HasSubstr("merge 0"));
  EXPECT_THAT(folder.write("merges.txt", "i s\n\ni s\n").error(), HasSubstr("merge 1"));
  EXPECT_THAT(folder.write("merges.txt", "q q\n").error(), HasSubstr("one is not"));
  EXPECT_THAT(folder.write("merges.txt", "qq t\n").error(), HasSubstr("one is not"));
  EXPECT_THAT(folder.write("merges.txt", "i s\ni s\n").error(), HasSubstr("repeats merge 0"));
}

TEST(TokenizerFiles, RefusesABrokenVocabulary) {
  TokenizerFolder folder("small");
  const std::string whole = folder.text_of("vocab.json");
  EXPECT_THAT(folder.write("vocab.json", whole.substr(0, 500)).error(), HasSubstr("vocab.json"));
  EXPECT_THAT(folder.write("vocab.json", "[]").error(), HasSubstr("vocab.json"));
  EXPECT_THAT(folder.write("vocab.json", "{\"a\": \"1\"}").error(), HasSubstr("no integer"));
  EXPECT_THAT(folder.write("vocab.json", "{\"a\": -1}").error(), HasSubstr("-1"));
  EXPECT_THAT(folder.write("vocab.json", "{\"a\": 99999999}").error(), HasSubstr("99999999"));
  EXPECT_THAT(folder.write("vocab.json", "{\"a\": 1, \"b\": 1}").error(), HasSubstr("have id 1"));
  EXPECT_THAT(folder.write("vocab.json", "{\"a\": 1, \"a\": 2}").error(), HasSubstr("twice"));
  EXPECT_THAT(folder.write("vocab.json", "{\"\": 1}").error(), HasSubstr("empty token"));
}

TEST(TokenizerFiles, RefusesAVocabularyThatLacksBytes) {
  TokenizerFolder folder("small");
  folder.write("merges.txt", "");
  folder.edit("tokenizer_config.json", [](json& config) {
    config = {{"added_tokens_decoder", json::object()}};
  });
  folder.edit("vocab.json", [](json& vocabulary) { vocabulary.erase("\u0120"); });
  EXPECT_THAT(folder.error(), AllOf(HasSubstr("1 of the 256"), HasSubstr("0x20")));
}

TEST(TokenizerFiles, KeepsTokensOutsideTheByteAlphabetForDecodingOnly) {
  TokenizerFolder folder("small");
  folder.write("merges.txt", "");
  folder.edit("tokenizer_config.json", [](json& config) {
    config = {{"added_tokens_decoder", json::object()}};
  });
  folder.edit("vocab.json", [](json& vocabulary) { vocabulary["a \u4f60"] = 5000; });
  const Tokenizer tokenizer = folder.read();
  EXPECT_EQ(tokenizer.bytes_of(5000), "a \u4f60");
  EXPECT_EQ(tokenizer.encode("a \u4f60", SpecialTokens::Parse).size(), 5U);
}

// --- added tokens ---

TEST(TokenizerFiles, RefusesAddedTokensThatAreNotMatchedVerbatim) {
  for (const std::string key : {"lstrip", "rstrip", "single_word", "normalized"}) {
    TokenizerFolder folder("small");
    folder.edit("tokenizer_config.json",
                [&](json& config) { config["added_tokens_decoder"].begin().value()[key] = true; });
    EXPECT_THAT(folder.error(), AllOf(HasSubstr(key), HasSubstr("<|endoftext|>")));
  }
}

/// A tokenizer_config.json with one added token.
json config_with(const std::string& content, std::int64_t id) {
  const json token = {{"content", content}, {"lstrip", false},      {"normalized", false},
                      {"rstrip", false},    {"single_word", false}, {"special", true}};
  return {{"added_tokens_decoder", {{std::to_string(id), token}}}};
}

TEST(TokenizerFiles, RefusesAddedIdsThatOtherReadersWouldNumberAnew) {
  TokenizerFolder folder("small");
  folder.write("tokenizer_config.json", config_with("<new>", 5000).dump());
  EXPECT_THAT(folder.error(), AllOf(HasSubstr("<new>"), HasSubstr("5000"), HasSubstr("390")));
  // In the vocabulary too, every reader agrees.
  folder.edit("vocab.json", [](json& vocabulary) { vocabulary["<new>"] = 5000; });
  const Tokenizer tokenizer = folder.read();
  EXPECT_EQ(tokenizer.id_of("<new>"), 5000);
  EXPECT_EQ(tokenizer.size(), 5001);
  EXPECT_EQ(tokenizer.encode("<new>", SpecialTokens::Plain).size(), 5U);
}

TEST(TokenizerFiles, RefusesAddedTokensThatCollide) {
  TokenizerFolder folder("small");
  folder.write("tokenizer_config.json", config_with("<new>", 7).dump());
  EXPECT_THAT(folder.error(), AllOf(HasSubstr("<new>"), HasSubstr("another token")));
  folder.write("tokenizer_config.json", config_with("is", 390).dump());
  EXPECT_THAT(folder.error(), AllOf(HasSubstr("\"is\" has id 390"), HasSubstr("vocabulary")));

  TokenizerFolder twice("small");
  twice.edit("tokenizer_config.json", [](json& config) {
    json& decoder = config["added_tokens_decoder"];
    decoder["416"] = decoder.begin().value();
  });
  EXPECT_THAT(twice.error(), AllOf(HasSubstr("<|endoftext|>"), HasSubstr("twice")));
}

TEST(TokenizerFiles, RefusesOptionsThatChangeIdsOrText) {
  for (const std::string key : {"add_bos_token", "add_prefix_space", "split_special_tokens",
                                "clean_up_tokenization_spaces"}) {
    TokenizerFolder folder("small");
    folder.edit("tokenizer_config.json", [&](json& config) { config[key] = true; });
    EXPECT_THAT(folder.error(), HasSubstr(key));
  }
  TokenizerFolder folder("small");
  folder.edit("tokenizer_config.json", [](json& config) { config["errors"] = "strict"; });
  EXPECT_THAT(folder.error(), HasSubstr("strict"));
  TokenizerFolder other("small");
  other.edit("tokenizer_config.json", [](json& c) { c["tokenizer_class"] = "LlamaTokenizer"; });
  EXPECT_THAT(other.error(), HasSubstr("LlamaTokenizer"));
}

TEST(TokenizerFiles, RefusesNamedTokensThatAreNotSpecial) {
  TokenizerFolder folder("small");
  folder.edit("tokenizer_config.json", [](json& config) { config["eos_token"] = "<think>"; });
  EXPECT_THAT(folder.error(), AllOf(HasSubstr("eos_token"), HasSubstr("<think>")));
}

// --- tokenizer.json ---

TEST(TokenizerFiles, TakesMergesAsStringsToo) {
  TokenizerFolder folder("small_json");
  folder.edit("tokenizer.json", [](json& file) {
    for (json& merge : file["model"]["merges"]) {
      merge = merge[0].get<std::string>() + " " + merge[1].get<std::string>();
    }
  });
  expect_small(folder.read());
}

TEST(TokenizerFiles, PrefersTokenizerJson) {
  TokenizerFolder folder("small_json");
  folder.write("vocab.json", "not even JSON");
  expect_small(folder.read());
}

TEST(TokenizerFiles, TakesTokenizerJsonAlone) {
  TokenizerFolder folder("small_json");
  expect_small(folder.remove("tokenizer_config.json").read());
}

TEST(TokenizerFiles, RefusesAnotherKindOfTokenizer) {
  struct Change {
    const char* pointer;
    json value;
    const char* named;
  };
  const std::vector<Change> changes = {
      {"/normalizer/type", "NFKC", "NFKC"},
      {"/pre_tokenizer/pretokenizers/0/pattern/Regex", "\\p{L}+", "pattern"},
      {"/pre_tokenizer/pretokenizers/0/behavior", "Removed", "Removed"},
      {"/pre_tokenizer/pretokenizers/0/invert", true, "invert"},
      {"/pre_tokenizer/pretokenizers/1/use_regex", true, "use_regex"},
      {"/pre_tokenizer/pretokenizers/1/add_prefix_space", true, "add_prefix_space"},
      {"/pre_tokenizer/pretokenizers/2", json::object(), "two steps"},
      {"/post_processor/special_tokens", {{"<s>", 1}}, "special tokens"},
      {"/post_processor/type", "BertProcessing", "BertProcessing"},
      {"/decoder/type", "Metaspace", "Metaspace"},
      {"/model/type", "Unigram", "Unigram"},
      {"/model/dropout", 0.1, "dropout"},
      {"/model/unk_token", "<unk>", "unk_token"},
      {"/model/byte_fallback", true, "byte_fallback"},
      {"/model/ignore_merges", true, "ignore_merges"},
      {"/model/end_of_word_suffix", "</w>", "end_of_word_suffix"},
      {"/model/novelty", 1, "novelty"},
      {"/novelty", 1, "novelty"},
      {"/model/merges/3", 5, "merge 3"},
      {"/model/merges/3", {"a", "b", "c"}, "merge 3"},
      {"/model/vocab", json::array(), "tokenizer.json"},
      {"/added_tokens/0/normalized", true, "normalized"},
  };
  for (const Change& change : changes) {
    TokenizerFolder folder("small_json");
    folder.edit("tokenizer.json",
                [&](json& file) { file[json::json_pointer(change.pointer)] = change.value; });
    EXPECT_THAT(folder.error(), HasSubstr(change.named)) << change.pointer;
  }
}

TEST(TokenizerFiles, RefusesMissingAndRepeatedMembers) {
  for (const std::string key : {"normalizer", "pre_tokenizer", "decoder", "model"}) {
    TokenizerFolder folder("small_json");
    folder.edit("tokenizer.json", [&](json& file) { file.erase(key); });
    EXPECT_NE(folder.error(), "") << key;
  }
  TokenizerFolder merges("small_json");
  merges.edit("tokenizer.json", [](json& file) { file["model"].erase("merges"); });
  EXPECT_THAT(merges.error(), HasSubstr("merges"));

  TokenizerFolder repeated("small_json");
  std::string text = repeated.text_of("tokenizer.json");
  text.insert(text.find("\"merges\""), "\"merges\":[],");
  EXPECT_THAT(repeated.write("tokenizer.json", text).error(), HasSubstr("two keys"));
  TokenizerFolder outside("small_json");
  text = outside.text_of("tokenizer.json");
  text.insert(text.find("\"normalizer\""), "\"normalizer\":{\"type\":\"NFC\"},");
  EXPECT_THAT(outside.write("tokenizer.json", text).error(), HasSubstr("normalizer"));
}

TEST(TokenizerFiles, RefusesAConfigThatContradictsTokenizerJson) {
  TokenizerFolder folder("small_json");
  folder.edit("tokenizer_config.json",
              [](json& config) { config["added_tokens_decoder"] = json::object(); });
  EXPECT_THAT(folder.error(), AllOf(HasSubstr("added_tokens_decoder"), HasSubstr("differs")));
}

}  // namespace
}  // namespace espalier
