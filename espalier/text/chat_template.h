// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "espalier/text/tokenizer.h"

namespace espalier {

/// A piece of a message: a text, or the place of the next picture.
struct TextPart {
  std::string text;
  bool operator==(const TextPart&) const = default;
};
struct ImagePart {
  bool operator==(const ImagePart&) const = default;
};
using MessagePart = std::variant<TextPart, ImagePart>;

/// One turn of a conversation.
struct Message {
  enum class Role { System, User, Assistant };
  Role role;
  std::vector<MessagePart> parts;
  bool operator==(const Message&) const = default;
};

/// How a conversation becomes ids.
struct ChatOptions {
  bool add_generation_prompt = true;  ///< end with the opening of the assistant's turn
  /// What a special token inside a message's own text means; by default it is refused.
  SpecialTokens special_tokens = SpecialTokens::Refuse;
};

/// Checks that the folder's chat template is Qwen3-VL-Instruct's, which we implement as code: by
/// content, in chat_template.json, chat_template.jinja or tokenizer_config.json. Line ends of DOS,
/// and up to two at the end, which Jinja drops, make no difference.
///
/// \throws InputError if there is none, two differ, or it is another template
void check_chat_template(const std::filesystem::path& folder);

/// Qwen3-VL-Instruct's chat template as it ships with the released checkpoints.
std::string_view qwen3_vl_chat_template();

/// Token ids of a conversation, the placeholder of each picture once (`<|vision_start|>`,
/// `<|image_pad|>`, `<|vision_end|>`): the reference's template, then its tokenizer, except that
/// only the template itself can make special tokens unless the options say otherwise.
///
/// \throws InputError  for no messages, a system message that is not the first, a picture outside
///                     a user's turn (the reference drops these silently), or a special token in
///                     a text as the options say
std::vector<std::int64_t> encode_chat(const Tokenizer& tokenizer,
                                      const std::vector<Message>& messages,
                                      const ChatOptions& options = {});

/// Where an assistant's turn stands among the ids of a conversation.
struct TurnSpan {
  std::size_t message;  ///< number of the message, from 0
  /// ids[begin, end): the tokens of the message's content and the `<|im_end|>` behind them. The
  /// opening `<|im_start|>assistant\n` and the line end after `<|im_end|>` do not belong to it.
  std::int64_t begin;
  std::int64_t end;
  bool operator==(const TurnSpan&) const = default;
};

/// A conversation as ids, with the places of what the assistant says in it.
struct EncodedChat {
  std::vector<std::int64_t> ids;
  std::vector<TurnSpan> assistant_turns;  ///< in order of the messages
  bool operator==(const EncodedChat&) const = default;
};

/// What encode_chat gives, and which ids are the assistant's: found while the template is written,
/// not by looking for tokens afterwards, so that no text can be taken for a turn. A content that
/// begins with a blank line shares its first token with the line end of the opening; that token
/// then belongs to the turn.
///
/// \throws InputError as encode_chat does
EncodedChat encode_chat_turns(const Tokenizer& tokenizer, const std::vector<Message>& messages,
                              const ChatOptions& options = {});

/// Repeats each placeholder as often as its picture has merged visual tokens.
///
/// \param tokens_per_image  one count a picture, in order of appearance
/// \throws InputError       if the numbers of placeholders and pictures differ
std::vector<std::int64_t> expand_placeholders(const std::vector<std::int64_t>& ids,
                                              std::int64_t image_token_id,
                                              const std::vector<std::int64_t>& tokens_per_image);

/// The same for a conversation whose turns are known; they move with their tokens.
EncodedChat expand_placeholders(const EncodedChat& chat, std::int64_t image_token_id,
                                const std::vector<std::int64_t>& tokens_per_image);

}  // namespace espalier
