// SPDX-License-Identifier: Apache-2.0
#include "tests/text/golden.h"

#include <nlohmann/json.hpp>

#include "espalier/base/json.h"
#include "tests/support.h"

namespace espalier::test {
namespace {

using nlohmann::json;

json read_golden(const std::string& folder, const std::string& file) {
  return read_json(fixture("text/" + folder) / file);
}

Message message_of(const json& value) {
  const std::string role = value.at("role");
  Message message{.role = role == "system" ? Message::Role::System
                          : role == "user" ? Message::Role::User
                                           : Message::Role::Assistant,
                  .parts = {}};
  for (const json& part : value.at("content")) {
    if (part.at("type") == "image") {
      message.parts.emplace_back(ImagePart{});
    } else {
      message.parts.emplace_back(TextPart{part.at("text")});
    }
  }
  return message;
}

}  // namespace

std::vector<EncodingCase> read_encodings(const std::string& folder) {
  std::vector<EncodingCase> cases;
  for (const json& item : read_golden(folder, "encodings.json")) {
    cases.push_back({.text = item.at("text"), .ids = item.at("ids")});
  }
  return cases;
}

std::vector<DecodingCase> read_decodings(const std::string& folder) {
  std::vector<DecodingCase> cases;
  for (const json& item : read_golden(folder, "decodings.json")) {
    cases.push_back({.ids = item.at("ids"),
                     .text = item.at("text"),
                     .without_special = item.at("without_special")});
  }
  return cases;
}

std::vector<ChatCase> read_chats(const std::string& folder) {
  std::vector<ChatCase> cases;
  for (const json& item : read_golden(folder, "chats.json")) {
    ChatCase chat{.messages = {}, .parse = item.at("parse"), .plain = item.at("plain")};
    for (const json& message : item.at("messages")) chat.messages.push_back(message_of(message));
    cases.push_back(std::move(chat));
  }
  return cases;
}

std::optional<std::filesystem::path> qwen_folder() {
  const auto data = test_data();
  if (!data) return std::nullopt;
  for (const char* place : {"../qwen3_vl_4b_config", "qwen3_vl_4b_config"}) {
    if (std::filesystem::exists(*data / place / "vocab.json")) return *data / place;
  }
  return std::nullopt;
}

const Tokenizer& small_tokenizer() {
  static const Tokenizer tokenizer = Tokenizer::read(fixture("text/small"));
  return tokenizer;
}

}  // namespace espalier::test
