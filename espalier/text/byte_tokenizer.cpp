// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "espalier/base/error.h"
#include "espalier/base/files.h"
#include "espalier/text/byte_alphabet.h"
#include "espalier/text/chat_template.h"
#include "espalier/text/tokenizer.h"

namespace espalier {
namespace {

using nlohmann::json;

constexpr std::int64_t kByteTokens = 256;
constexpr std::size_t kSpecialTokens = 14;
constexpr std::string_view kQwenAddedTokens[] = {"<|endoftext|>",
                                                 "<|im_start|>",
                                                 "<|im_end|>",
                                                 "<|object_ref_start|>",
                                                 "<|object_ref_end|>",
                                                 "<|box_start|>",
                                                 "<|box_end|>",
                                                 "<|quad_start|>",
                                                 "<|quad_end|>",
                                                 "<|vision_start|>",
                                                 "<|vision_end|>",
                                                 "<|vision_pad|>",
                                                 "<|image_pad|>",
                                                 "<|video_pad|>",
                                                 "<tool_call>",
                                                 "</tool_call>",
                                                 "<|fim_prefix|>",
                                                 "<|fim_middle|>",
                                                 "<|fim_suffix|>",
                                                 "<|fim_pad|>",
                                                 "<|repo_name|>",
                                                 "<|file_sep|>",
                                                 "<tool_response>",
                                                 "</tool_response>",
                                                 "<think>",
                                                 "</think>"};

/// The vocabulary in the order of its ids, a line each.
std::string vocabulary_text(const std::vector<AddedToken>& added_tokens) {
  std::string text = "{";
  const auto add = [&](std::string_view token, std::int64_t id) {
    text += (text.size() > 1 ? ",\n" : "\n") + json(std::string(token)).dump() + ':' +
            std::to_string(id);
  };
  for (std::int64_t id = 0; id < kByteTokens; ++id) {
    add(byte_symbols()[static_cast<std::size_t>(id)], id);
  }
  for (const AddedToken& token : added_tokens) add(token.content, token.id);
  return text + "\n}\n";
}

json decoder_of(const std::vector<AddedToken>& added_tokens) {
  json decoder = json::object();
  for (const AddedToken& token : added_tokens) {
    decoder[std::to_string(token.id)] = {{"content", token.content}, {"lstrip", false},
                                         {"normalized", false},      {"rstrip", false},
                                         {"single_word", false},     {"special", token.special}};
  }
  return decoder;
}

/// The token, or null where it is not among the special ones.
json special_or_null(const std::vector<AddedToken>& added_tokens, std::string_view content) {
  const auto is_it = [&](const AddedToken& token) {
    return token.special && token.content == content;
  };
  return std::ranges::any_of(added_tokens, is_it) ? json(std::string(content)) : json(nullptr);
}

/// tokenizer_config.json as the released checkpoints have it.
json config_of(const std::vector<AddedToken>& added_tokens) {
  json additional = json::array();
  for (const AddedToken& token : added_tokens) {
    if (token.special && token.content != "<|endoftext|>") additional.push_back(token.content);
  }
  return {{"add_bos_token", false},
          {"add_prefix_space", false},
          {"added_tokens_decoder", decoder_of(added_tokens)},
          {"additional_special_tokens", std::move(additional)},
          {"bos_token", nullptr},
          {"chat_template", std::string(qwen3_vl_chat_template())},
          {"clean_up_tokenization_spaces", false},
          {"eos_token", special_or_null(added_tokens, "<|im_end|>")},
          {"errors", "replace"},
          {"model_max_length", 262144},
          {"pad_token", special_or_null(added_tokens, "<|endoftext|>")},
          {"split_special_tokens", false},
          {"tokenizer_class", "Qwen2Tokenizer"},
          {"unk_token", nullptr}};
}

std::string text_of(const json& value) { return value.dump(4) + '\n'; }

}  // namespace

void write_byte_tokenizer(const std::filesystem::path& folder,
                          std::span<const AddedToken> added_tokens) {
  std::vector<AddedToken> sorted(added_tokens.begin(), added_tokens.end());
  std::ranges::stable_sort(sorted, {}, &AddedToken::id);
  for (std::int64_t previous = kByteTokens - 1; const AddedToken& token : sorted) {
    require(token.id > previous,
            "added token \"{}\" has id {}, which is taken: the bytes have 0 to 255", token.content,
            token.id);
    previous = token.id;
  }
  const json chat_template = {{"chat_template", std::string(qwen3_vl_chat_template())}};
  write_file(folder / "vocab.json", vocabulary_text(sorted), false);
  write_file(folder / "merges.txt", "", false);
  write_file(folder / "tokenizer_config.json", text_of(config_of(sorted)), false);
  write_file(folder / "chat_template.json", text_of(chat_template), false);
}

std::vector<AddedToken> qwen_added_tokens(std::int64_t first_id) {
  std::vector<AddedToken> tokens;
  for (const std::string_view content : kQwenAddedTokens) {
    tokens.push_back({.id = first_id + static_cast<std::int64_t>(tokens.size()),
                      .content = std::string(content),
                      .special = tokens.size() < kSpecialTokens});
  }
  return tokens;
}

}  // namespace espalier
