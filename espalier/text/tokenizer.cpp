// SPDX-License-Identifier: Apache-2.0
#include "espalier/text/tokenizer.h"

#include <algorithm>
#include <utility>

#include "espalier/base/error.h"
#include "espalier/text/added_tokens.h"
#include "espalier/text/byte_pair_encoding.h"
#include "espalier/text/nfc.h"
#include "espalier/text/pretokenizer.h"
#include "espalier/text/tokenizer_files.h"
#include "espalier/text/utf8.h"

namespace espalier {

struct Tokenizer::State {
  explicit State(TokenizerFiles files)
      : pairs(std::move(files.pairs)), added_tokens(std::move(files.added_tokens)) {}

  BytePairEncoding pairs;
  AddedTokenMatcher added_tokens;
  Pretokenizer pretokenizer;

  /// Appends the ids of a text in which added tokens are ordinary text.
  void encode_plain(std::string_view text, BytePairEncoding::Scratch& scratch,
                    std::vector<std::int64_t>& ids) const {
    const std::string composed = to_nfc(text);
    pretokenizer.split(composed,
                       [&](std::string_view piece) { pairs.encode(piece, scratch, ids); });
  }
};

Tokenizer::Tokenizer(std::unique_ptr<const State> state) : state_(std::move(state)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

Tokenizer Tokenizer::read(const std::filesystem::path& folder) {
  return Tokenizer(std::make_unique<const State>(read_tokenizer_files(folder)));
}

std::vector<std::int64_t> Tokenizer::encode(std::string_view text, SpecialTokens special) const {
  require(text.size() < INT32_MAX, "the text has {} bytes; at most 2 GiB can be encoded",
          text.size());
  const std::size_t valid = valid_utf8_prefix(text);
  require(valid == text.size(), "the text is not valid UTF-8 at byte {}", valid);
  std::vector<std::int64_t> ids;
  BytePairEncoding::Scratch scratch;
  for (std::size_t position = 0; position < text.size();) {
    const auto [begin, token] = state_->added_tokens.find(text, position);
    state_->encode_plain(text.substr(position, begin - position), scratch, ids);
    if (token == nullptr) break;
    require(
        special != SpecialTokens::Refuse || !token->special,
        "the text holds the special token {} at byte {}; take it out, or say whether it is to be "
        "parsed into the token or spelled out as plain text",
        token->content, begin);
    if (special == SpecialTokens::Plain && is_control_token(*token)) {
      state_->encode_plain(token->content, scratch, ids);
    } else {
      ids.push_back(token->id);
    }
    position = begin + token->content.size();
  }
  return ids;
}

std::string Tokenizer::decode(std::span<const std::int64_t> ids, bool skip_special_tokens) const {
  StreamDecoder decoder(*this, skip_special_tokens);
  std::string text;
  for (const std::int64_t id : ids) text += decoder.next(id);
  return text + decoder.finish();
}

std::string_view Tokenizer::bytes_of(std::int64_t id) const {
  const AddedToken* token = state_->added_tokens.with_id(id);
  return token != nullptr ? token->content : state_->pairs.bytes_of(id);
}

std::optional<std::int64_t> Tokenizer::id_of(std::string_view added_token) const {
  const AddedToken* token = state_->added_tokens.with_content(added_token);
  return token != nullptr ? std::optional(token->id) : std::nullopt;
}

const std::vector<AddedToken>& Tokenizer::added_tokens() const {
  return state_->added_tokens.tokens();
}

bool Tokenizer::is_special(std::int64_t id) const {
  const AddedToken* token = state_->added_tokens.with_id(id);
  return token != nullptr && token->special;
}

std::int64_t Tokenizer::size() const {
  const auto& tokens = added_tokens();
  return std::max(state_->pairs.size(), tokens.empty() ? 0 : tokens.back().id + 1);
}

StreamDecoder::StreamDecoder(const Tokenizer& tokenizer, bool skip_special_tokens)
    : tokenizer_(&tokenizer), skip_special_tokens_(skip_special_tokens) {}

std::string StreamDecoder::next(std::int64_t id) {
  if (skip_special_tokens_ && tokenizer_->is_special(id)) return {};
  waiting_ += tokenizer_->bytes_of(id);
  std::string text;
  waiting_.erase(0, append_valid_utf8(waiting_, text));
  return text;
}

std::string StreamDecoder::finish() {
  const bool unfinished = !std::exchange(waiting_, {}).empty();
  return std::string(unfinished ? kReplacementCharacter : std::string_view());
}

}  // namespace espalier
