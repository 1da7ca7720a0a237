// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "espalier/text/chat_template.h"
#include "espalier/text/tokenizer.h"

namespace espalier::test {

using Ids = std::vector<std::int64_t>;

/// The fixtures of tests/reference/make_tokenizer_fixtures.py; folders below fixtures/text.
struct EncodingCase {
  std::string text;
  Ids ids;
};
std::vector<EncodingCase> read_encodings(const std::string& folder);

struct DecodingCase {
  Ids ids;
  std::string text;
  std::string without_special;
};
std::vector<DecodingCase> read_decodings(const std::string& folder);

struct ChatCase {
  std::vector<Message> messages;
  Ids parse;
  Ids plain;
};
std::vector<ChatCase> read_chats(const std::string& folder);

/// Qwen's own tokenizer folder, which stands beside the test data; nothing without test data.
std::optional<std::filesystem::path> qwen_folder();

/// The tokenizer of fixtures/text/small, read once.
const Tokenizer& small_tokenizer();

}  // namespace espalier::test
