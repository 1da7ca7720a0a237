// SPDX-License-Identifier: Apache-2.0
#include "espalier/text/tokenizer_files.h"

#include <simdjson.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "espalier/base/error.h"
#include "espalier/base/files.h"
#include "espalier/base/json.h"
#include "espalier/text/pretokenizer.h"

namespace espalier {
namespace {

namespace dom = simdjson::dom;
namespace fs = std::filesystem;
using nlohmann::json;

constexpr std::uint64_t kMaxFileBytes = 256 << 20;

// --- the vocabulary and its merges -------------------------------------------------------------

/// Parses a large JSON file and hands the document to `use`. What simdjson finds wrong becomes an
/// InputError that names the file.
template <typename Use>
auto with_large_json(const fs::path& path, Use use) {
  const std::string text = read_file(path, kMaxFileBytes);
  try {
    dom::parser parser;
    return use(dom::element(parser.parse(text)));
  } catch (const simdjson::simdjson_error& error) {
    throw InputError(fmt::format("{}: {}", path.string(), error.what()));
  }
}

using Token = VocabularyText::Token;
using Merge = VocabularyText::Merge;

std::vector<Token> read_tokens(const dom::object& vocabulary, const std::string& source) {
  std::vector<Token> tokens;
  tokens.reserve(vocabulary.size());
  for (const dom::key_value_pair field : vocabulary) {
    std::int64_t id = 0;
    require(field.value.get(id) == simdjson::SUCCESS, "{}: the id of token \"{}\" is no integer",
            source, field.key);
    tokens.push_back({.symbols = field.key, .id = id});
  }
  return tokens;
}

/// A merge that is written as one string, its parts apart by one space.
Merge split_merge(std::string_view merge, std::size_t number, const std::string& source) {
  const std::size_t space = merge.find(' ');
  require(space != std::string_view::npos && merge.find(' ', space + 1) == std::string_view::npos,
          "{}: merge {} is \"{}\"; wanted two tokens and one space between them", source, number,
          merge);
  return {.left = merge.substr(0, space), .right = merge.substr(space + 1)};
}

/// merges.txt: a merge a line. Lines of the header's form ("#version: 0.2") are skipped wherever
/// they stand, as in the reference.
std::vector<Merge> read_merges_text(std::string_view text, const std::string& source) {
  std::vector<Merge> merges;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    std::string_view line = text.substr(begin, end - begin);
    begin = end + 1;
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.starts_with("#version")) continue;
    merges.push_back(split_merge(line, merges.size(), source));
  }
  return merges;
}

/// tokenizer.json: each merge "a b" (older) or ["a", "b"] (newer).
std::vector<Merge> read_merges_array(const dom::array& array, const std::string& source) {
  std::vector<Merge> merges;
  merges.reserve(array.size());
  for (const dom::element merge : array) {
    std::string_view text;
    dom::array parts;
    Merge pair;
    if (merge.get(text) == simdjson::SUCCESS) {
      pair = split_merge(text, merges.size(), source);
    } else {
      const bool is_pair = merge.get(parts) == simdjson::SUCCESS && parts.size() == 2 &&
                           parts.at(0).get(pair.left) == simdjson::SUCCESS &&
                           parts.at(1).get(pair.right) == simdjson::SUCCESS;
      require(is_pair, "{}: merge {} is neither a string nor an array of two strings", source,
              merges.size());
    }
    merges.push_back(pair);
  }
  return merges;
}

// --- added tokens ------------------------------------------------------------------------------

AddedToken read_added_token(const JsonObject& token, std::int64_t id) {
  AddedToken result{
      .id = id, .content = token.string("content"), .special = token.boolean("special")};
  require(!result.content.empty(), "{}: an added token without content", token.place());
  for (const char* key : {"lstrip", "rstrip", "single_word", "normalized"}) {
    require(!token.boolean(key),
            "{}: \"{}\" has {} = true; only tokens that are matched verbatim "
            "(false) are supported",
            token.place(), result.content, key);
  }
  return result;
}

std::vector<AddedToken> sorted_by_id(std::vector<AddedToken> tokens) {
  std::ranges::stable_sort(tokens, {}, &AddedToken::id);
  return tokens;
}

/// `added_tokens` of tokenizer.json.
std::vector<AddedToken> read_added_tokens_array(const JsonObject& file) {
  std::vector<AddedToken> tokens;
  const json& array = file.at("added_tokens");
  require(array.is_array(), "{}: added_tokens must be an array", file.place());
  for (const json& value : array) {
    const JsonObject token(value, file.place() + ": added_tokens");
    tokens.push_back(read_added_token(token, token.integer("id")));
  }
  return sorted_by_id(std::move(tokens));
}

/// `added_tokens_decoder` of tokenizer_config.json: an object whose keys are the ids.
std::vector<AddedToken> read_added_tokens_decoder(const JsonObject& config) {
  std::vector<AddedToken> tokens;
  const std::string place = config.place() + ": added_tokens_decoder";
  const json& decoder = config.at("added_tokens_decoder");
  require(decoder.is_object(), "{} must be an object", place);
  for (const auto& [key, value] : decoder.items()) {
    std::int64_t id = -1;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
    require(error == std::errc() && end == key.data() + key.size(), "{}: key \"{}\" is no id",
            place, key);
    tokens.push_back(read_added_token(JsonObject(value, place), id));
  }
  return sorted_by_id(std::move(tokens));
}

/// Checks that the reference gives every added token the id that the file declares: the one in the
/// vocabulary, or whatever the file says the next behind it.
void check_added_ids(const std::vector<AddedToken>& tokens, const BytePairEncoding& pairs,
                     const std::string& source) {
  std::map<std::string_view, std::int64_t> ids;
  std::int64_t largest_id = -1;
  for (const AddedToken& token : tokens) {
    require(ids.emplace(token.content, token.id).second,
            "{}: added token \"{}\" stands there twice", source, token.content);
    require(token.id != largest_id, "{}: two added tokens have id {}: \"{}\" is the second", source,
            token.id, token.content);
    if (const auto in_vocabulary = pairs.find_token(token.content)) {
      require(*in_vocabulary == token.id,
              "{}: added token \"{}\" has id {}, but {} in the vocabulary", source, token.content,
              token.id, *in_vocabulary);
    } else {
      require(pairs.bytes_of(token.id).empty(),
              "{}: added token \"{}\" has id {}, which another token of the vocabulary has", source,
              token.content, token.id);
      const std::int64_t expected = std::max(pairs.token_count(), largest_id + 1);
      require(
          token.id == expected,
          "{}: added token \"{}\" has id {}, but other readers number added tokens on from the "
          "vocabulary and give it {}; a token with an id of its own must stand in the vocabulary "
          "too",
          source, token.content, token.id, expected);
    }
    largest_id = token.id;
  }
}

// --- tokenizer_config.json ---------------------------------------------------------------------

/// The contents of the tokens that a key names: a string, an object with "content", or a list or
/// object of these.
std::vector<std::string> named_tokens(const JsonObject& config, std::string_view key) {
  std::vector<std::string> names;
  const auto add = [&](const json& value) {
    if (value.is_string()) {
      names.push_back(value.get<std::string>());
    } else {
      names.push_back(
          JsonObject(value, fmt::format("{}: {}", config.place(), key)).string("content"));
    }
  };
  if (!config.has(key)) return names;
  const json& value = config.at(key);
  if (value.is_array() || (value.is_object() && !value.contains("content"))) {
    for (const json& item : value) add(item);
  } else {
    add(value);
  }
  return names;
}

/// The reference makes a special token of whatever these keys name.
void check_named_tokens(const JsonObject& config, const std::vector<AddedToken>& tokens) {
  for (const char* key :
       {"bos_token", "eos_token", "pad_token", "unk_token", "cls_token", "sep_token", "mask_token",
        "additional_special_tokens", "extra_special_tokens"}) {
    for (const std::string& name : named_tokens(config, key)) {
      const auto found = std::ranges::find(tokens, name, &AddedToken::content);
      require(found != tokens.end() && found->special,
              "{}: {} names \"{}\", which is no added token with special = true", config.place(),
              key, name);
    }
  }
}

/// Checks what would change ids or decoded text. Other keys cannot.
void check_config(const JsonObject& config) {
  const std::string& place = config.place();
  for (const char* key : {"add_bos_token", "add_eos_token", "add_prefix_space",
                          "split_special_tokens", "clean_up_tokenization_spaces"}) {
    require(!config.has(key) || !config.boolean(key), "{}: {} is true; only false is supported",
            place, key);
  }
  if (config.has("errors")) {
    const std::string errors = config.string("errors");
    require(errors == "replace", "{}: errors is \"{}\"; only \"replace\" is supported", place,
            errors);
  }
  if (config.has("tokenizer_class")) {
    const std::string name = config.string("tokenizer_class");
    require(name == "Qwen2Tokenizer" || name == "Qwen2TokenizerFast" ||
                name == "PreTrainedTokenizerFast" || name == "TokenizersBackend",
            "{}: tokenizer_class is \"{}\"; Qwen2Tokenizer is what is supported", place, name);
  }
}

std::vector<AddedToken> read_config(const fs::path& path) {
  const json value = read_json(path);
  const JsonObject config(value, path.string());
  check_config(config);
  std::vector<AddedToken> tokens = read_added_tokens_decoder(config);
  check_named_tokens(config, tokens);
  return tokens;
}

/// Checks tokenizer_config.json, where there is one, against the tokens of tokenizer.json.
void check_config_beside(const fs::path& path, const std::vector<AddedToken>& tokens) {
  if (!fs::exists(path)) return;
  const json value = read_json(path);
  const JsonObject config(value, path.string());
  check_config(config);
  check_named_tokens(config, tokens);
  if (!config.has("added_tokens_decoder")) return;
  require(read_added_tokens_decoder(config) == tokens,
          "{}: added_tokens_decoder differs from added_tokens of tokenizer.json", path.string());
}

// --- tokenizer.json ----------------------------------------------------------------------------

void require_type(const JsonObject& part, std::string_view wanted) {
  const std::string type = part.string("type");
  require(type == wanted, "{}: type is \"{}\"; only \"{}\" is supported", part.place(), type,
          wanted);
}

void check_pre_tokenizer(const JsonObject& sequence) {
  require_type(sequence, "Sequence");
  const json& steps = sequence.at("pretokenizers");
  require(steps.is_array() && steps.size() == 2,
          "{}: wanted two steps, Split and ByteLevel, in pretokenizers", sequence.place());
  const JsonObject split(steps[0], sequence.place() + ": pretokenizers[0]");
  require_type(split, "Split");
  const std::string pattern = split.object("pattern").string("Regex");
  require(pattern == kQwen2SplitPattern, "{}: the pattern is not Qwen2's: {}", split.place(),
          pattern);
  const std::string behavior = split.string("behavior");
  require(behavior == "Isolated" && !split.boolean("invert"),
          "{}: behavior is \"{}\"; only \"Isolated\" without invert is supported", split.place(),
          behavior);
  const JsonObject bytes(steps[1], sequence.place() + ": pretokenizers[1]");
  require_type(bytes, "ByteLevel");
  require(!bytes.boolean("add_prefix_space") && !bytes.boolean("use_regex"),
          "{}: only add_prefix_space = false and use_regex = false are supported", bytes.place());
}

/// A post-processor may only leave the ids as they are.
void check_post_processor(const JsonObject& processor) {
  const std::string type = processor.string("type");
  if (type == "TemplateProcessing") {
    require(processor.at("special_tokens").empty(),
            "{}: adds special tokens, which is not supported", processor.place());
  } else {
    require(type == "ByteLevel", "{}: type \"{}\" is not supported", processor.place(), type);
  }
}

void check_model(const JsonObject& model) {
  require_type(model, "BPE");
  for (const char* key : {"dropout", "unk_token"}) {
    require(!model.has(key), "{}: {} must be null", model.place(), key);
  }
  for (const char* key : {"byte_fallback", "ignore_merges"}) {
    require(!model.has(key) || !model.boolean(key), "{}: {} must be false", model.place(), key);
  }
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    require(!model.has(key) || model.string(key).empty(), "{}: {} must be empty", model.place(),
            key);
  }
  model.ignore({"dropout", "unk_token", "byte_fallback", "ignore_merges", "fuse_unk",
                "continuing_subword_prefix", "end_of_word_suffix"});
  model.refuse_unread();
}

void check_pipeline(const JsonObject& file) {
  require_type(file.object("normalizer"), "NFC");
  check_pre_tokenizer(file.object("pre_tokenizer"));
  require_type(file.object("decoder"), "ByteLevel");
  if (file.has("post_processor")) check_post_processor(file.object("post_processor"));
  check_model(file.object("model"));
  // Callers of the reference set truncation and padding anew for each call.
  file.ignore({"version", "truncation", "padding", "post_processor", "added_tokens"});
  file.refuse_unread();
}

/// An object as JSON text, where `write` gives the text of a value, or nothing to leave the key
/// out. Repeated keys stay, for the strict reader to find.
template <typename Write>
std::string text_of(const dom::object& object, Write write) {
  std::string text = "{";
  for (const dom::key_value_pair field : object) {
    const std::optional<std::string> value = write(field);
    if (!value) continue;
    if (text.size() > 1) text += ',';
    text += json(std::string(field.key)).dump() + ':' + *value;
  }
  return text + '}';
}

/// tokenizer.json in two: the large members of its model, and the rest for the ordinary reader.
struct TokenizerJson {
  std::optional<dom::object> vocabulary;
  std::optional<dom::array> merges;
  std::string rest;
};

TokenizerJson take_apart(const dom::object& file, const std::string& source) {
  TokenizerJson parts;
  const auto write_model_value = [&](const dom::key_value_pair& field) {
    const bool repeated =
        (field.key == "vocab" && parts.vocabulary) || (field.key == "merges" && parts.merges);
    require(!repeated, "{}: model: two keys \"{}\"", source, field.key);
    if (field.key == "vocab") parts.vocabulary = dom::object(field.value);
    if (field.key == "merges") parts.merges = dom::array(field.value);
    const bool large = field.key == "vocab" || field.key == "merges";
    return large ? std::nullopt : std::optional(simdjson::to_string(field.value));
  };
  parts.rest = text_of(file, [&](const dom::key_value_pair& field) {
    return std::optional(field.key == "model" ? text_of(dom::object(field.value), write_model_value)
                                              : simdjson::to_string(field.value));
  });
  require(parts.vocabulary && parts.merges, "{}: model: vocab or merges is missing", source);
  return parts;
}

TokenizerFiles read_tokenizer_json(const fs::path& path) {
  const std::string source = path.string();
  return with_large_json(path, [&](const dom::element& root) {
    const TokenizerJson parts = take_apart(dom::object(root), source);
    const json rest = parse_json(parts.rest, source);
    const JsonObject file(rest, source);
    check_pipeline(file);
    const VocabularyText vocabulary{.tokens_source = source,
                                    .tokens = read_tokens(*parts.vocabulary, source),
                                    .merges_source = source,
                                    .merges = read_merges_array(*parts.merges, source)};
    return TokenizerFiles{BytePairEncoding(vocabulary), read_added_tokens_array(file)};
  });
}

// --- the folder --------------------------------------------------------------------------------

TokenizerFiles read_vocabulary_and_merges(const fs::path& folder) {
  const fs::path tokens = folder / "vocab.json";
  require(fs::exists(tokens), "{}: no tokenizer: neither tokenizer.json nor vocab.json is there",
          folder.string());
  const fs::path merges = folder / "merges.txt";
  require(fs::exists(merges),
          "{} is missing beside vocab.json; a tokenizer without merges has an empty one",
          merges.string());
  const std::string merges_text = read_file(merges, kMaxFileBytes);
  return with_large_json(tokens, [&](const dom::element& root) {
    const VocabularyText vocabulary{.tokens_source = tokens.string(),
                                    .tokens = read_tokens(dom::object(root), tokens.string()),
                                    .merges_source = merges.string(),
                                    .merges = read_merges_text(merges_text, merges.string())};
    return TokenizerFiles{BytePairEncoding(vocabulary),
                          read_config(folder / "tokenizer_config.json")};
  });
}

}  // namespace

TokenizerFiles read_tokenizer_files(const fs::path& folder) {
  const fs::path single = folder / "tokenizer.json";
  const fs::path config = folder / "tokenizer_config.json";
  const bool has_single = fs::exists(single);
  TokenizerFiles files =
      has_single ? read_tokenizer_json(single) : read_vocabulary_and_merges(folder);
  if (has_single) check_config_beside(config, files.added_tokens);
  check_added_ids(files.added_tokens, files.pairs, (has_single ? single : config).string());
  return files;
}

}  // namespace espalier
