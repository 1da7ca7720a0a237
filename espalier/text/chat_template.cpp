// SPDX-License-Identifier: Apache-2.0
#include "espalier/text/chat_template.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "espalier/base/error.h"
#include "espalier/base/files.h"
#include "espalier/base/json.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// --- recognising the template ------------------------------------------------------------------

/// Jinja reads CR LF as LF, and drops two line ends at the end of this template: one behind the
/// last block (trim_blocks), one at the end of the file.
std::string as_jinja_reads_it(std::string text) {
  for (std::size_t at = 0; (at = text.find("\r\n", at)) != std::string::npos;) text.erase(at, 1);
  for (int i = 0; i < 2 && text.ends_with('\n'); ++i) text.pop_back();
  return text;
}

struct FoundTemplate {
  std::string place;
  std::string text;
};

/// A template inside a JSON file, under "chat_template"; nothing if the file or the key is missing.
std::optional<FoundTemplate> template_in_json(const fs::path& path) {
  if (!fs::exists(path)) return std::nullopt;
  const json value = read_json(path);
  const JsonObject file(value, path.string());
  if (!file.has("chat_template")) return std::nullopt;
  return FoundTemplate{path.string(), file.string("chat_template")};
}

std::vector<FoundTemplate> find_templates(const fs::path& folder) {
  std::vector<FoundTemplate> found;
  if (fs::exists(folder / "chat_template.jinja")) {
    const fs::path path = folder / "chat_template.jinja";
    found.push_back({path.string(), read_file(path, 1 << 20)});
  }
  for (const char* name : {"chat_template.json", "tokenizer_config.json"}) {
    if (auto one = template_in_json(folder / name)) found.push_back(*std::move(one));
  }
  for (FoundTemplate& one : found) one.text = as_jinja_reads_it(std::move(one.text));
  return found;
}

// --- the template as code ----------------------------------------------------------------------

/// The tokens that only the template writes.
struct TemplateTokens {
  explicit TemplateTokens(const Tokenizer& tokenizer)
      : im_start(id_of(tokenizer, "<|im_start|>")),
        im_end(id_of(tokenizer, "<|im_end|>")),
        vision_start(id_of(tokenizer, "<|vision_start|>")),
        image_pad(id_of(tokenizer, "<|image_pad|>")),
        vision_end(id_of(tokenizer, "<|vision_end|>")) {}

  static std::int64_t id_of(const Tokenizer& tokenizer, std::string_view content) {
    if (const auto id = tokenizer.id_of(content)) return *id;
    throw InputError(
        fmt::format("the tokenizer has no token {}, which the chat template needs", content));
  }

  std::int64_t im_start;
  std::int64_t im_end;
  std::int64_t vision_start;
  std::int64_t image_pad;
  std::int64_t vision_end;
};

std::string_view name_of(Message::Role role) {
  switch (role) {
    case Message::Role::System:
      return "system";
    case Message::Role::User:
      return "user";
    case Message::Role::Assistant:
      return "assistant";
  }
  throw std::logic_error("a role without a name");
}

/// Collects ids. Text waits until a token of the template ends it, so that the template's own words
/// and the message's are encoded as the one text that they are.
class ChatEncoder {
 public:
  ChatEncoder(const Tokenizer& tokenizer, SpecialTokens special)
      : tokenizer_(tokenizer), special_(special), tokens_(tokenizer) {}

  void add_message(const Message& message, std::size_t number) {
    open_turn(name_of(message.role));
    const std::size_t first = chat_.ids.size();
    const std::size_t opening_bytes = text_.size();
    for (const MessagePart& part : message.parts) {
      if (const auto* text = std::get_if<TextPart>(&part)) {
        text_ += text->text;
      } else {
        add_image();
      }
    }
    add_token(tokens_.im_end);
    if (message.role == Message::Role::Assistant) {
      chat_.assistant_turns.push_back({.message = number,
                                       .begin = first_beyond(first, opening_bytes),
                                       .end = std::ssize(chat_.ids)});
    }
    text_ += '\n';
  }

  void open_turn(std::string_view role) {
    add_token(tokens_.im_start);
    text_ += role;
    text_ += '\n';
  }

  EncodedChat finish() {
    flush_text();
    return std::move(chat_);
  }

 private:
  void add_image() {
    add_token(tokens_.vision_start);
    add_token(tokens_.image_pad);
    add_token(tokens_.vision_end);
  }

  void add_token(std::int64_t id) {
    flush_text();
    chat_.ids.push_back(id);
  }

  /// The first id from `first` on whose bytes reach beyond so many. The turn's opening is ASCII and
  /// the tokens' bytes are its own, so counting is exact there.
  [[nodiscard]] std::int64_t first_beyond(std::size_t first, std::size_t bytes) const {
    std::size_t at = first;
    for (std::size_t seen = 0; seen < bytes; ++at) {
      seen += tokenizer_.bytes_of(chat_.ids[at]).size();
      if (seen > bytes) break;
    }
    return static_cast<std::int64_t>(at);
  }

  void flush_text() {
    const auto ids = tokenizer_.encode(std::exchange(text_, {}), special_);
    chat_.ids.insert(chat_.ids.end(), ids.begin(), ids.end());
  }

  const Tokenizer& tokenizer_;
  SpecialTokens special_;
  TemplateTokens tokens_;
  std::string text_;
  EncodedChat chat_;
};

void check_message(const Message& message, std::size_t index) {
  require(message.role != Message::Role::System || index == 0,
          "message {} is a system message; only the first may be one", index);
  const auto is_image = [](const MessagePart& part) {
    return std::holds_alternative<ImagePart>(part);
  };
  require(message.role == Message::Role::User || std::ranges::none_of(message.parts, is_image),
          "message {} ({}) holds a picture; only a user's message may", index,
          name_of(message.role));
}

}  // namespace

void check_chat_template(const fs::path& folder) {
  const std::vector<FoundTemplate> found = find_templates(folder);
  require(
      !found.empty(),
      "{}: no chat template: wanted chat_template.jinja, chat_template.json, or chat_template in "
      "tokenizer_config.json",
      folder.string());
  for (const FoundTemplate& one : found) {
    require(one.text == found.front().text, "{} and {} hold different chat templates",
            found.front().place, one.place);
  }
  require(found.front().text == as_jinja_reads_it(std::string(qwen3_vl_chat_template())),
          "{}: this is not the chat template of Qwen3-VL-Instruct, the only one that is supported",
          found.front().place);
}

EncodedChat encode_chat_turns(const Tokenizer& tokenizer, const std::vector<Message>& messages,
                              const ChatOptions& options) {
  require(!messages.empty(), "a conversation needs at least one message");
  ChatEncoder encoder(tokenizer, options.special_tokens);
  for (std::size_t i = 0; i < messages.size(); ++i) {
    check_message(messages[i], i);
    encoder.add_message(messages[i], i);
  }
  if (options.add_generation_prompt) encoder.open_turn("assistant");
  return encoder.finish();
}

std::vector<std::int64_t> encode_chat(const Tokenizer& tokenizer,
                                      const std::vector<Message>& messages,
                                      const ChatOptions& options) {
  return encode_chat_turns(tokenizer, messages, options).ids;
}

std::vector<std::int64_t> expand_placeholders(const std::vector<std::int64_t>& ids,
                                              std::int64_t image_token_id,
                                              const std::vector<std::int64_t>& tokens_per_image) {
  return expand_placeholders(EncodedChat{.ids = ids, .assistant_turns = {}}, image_token_id,
                             tokens_per_image)
      .ids;
}

EncodedChat expand_placeholders(const EncodedChat& chat, std::int64_t image_token_id,
                                const std::vector<std::int64_t>& tokens_per_image) {
  const auto placeholders = std::ranges::count(chat.ids, image_token_id);
  require(std::cmp_equal(placeholders, tokens_per_image.size()),
          "the conversation has {} picture placeholders, but {} pictures are given", placeholders,
          tokens_per_image.size());
  EncodedChat result;
  std::vector<std::int64_t> moved;  // where each id came to stand, and the end
  moved.reserve(chat.ids.size() + 1);
  std::size_t picture = 0;
  for (const std::int64_t id : chat.ids) {
    moved.push_back(std::ssize(result.ids));
    const std::int64_t count = id == image_token_id ? tokens_per_image[picture++] : 1;
    require(count > 0, "picture {} has {} visual tokens; wanted at least 1", picture - 1, count);
    result.ids.insert(result.ids.end(), static_cast<std::size_t>(count), id);
  }
  moved.push_back(std::ssize(result.ids));
  for (const TurnSpan& turn : chat.assistant_turns) {
    result.assistant_turns.push_back({.message = turn.message,
                                      .begin = moved[static_cast<std::size_t>(turn.begin)],
                                      .end = moved[static_cast<std::size_t>(turn.end)]});
  }
  return result;
}

}  // namespace espalier
