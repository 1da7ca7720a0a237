// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "espalier/text/chat_template.h"

namespace espalier {

/// A conversation to train on, as its row says it; pictures are not opened.
struct Conversation {
  std::vector<Message> messages;
  std::vector<bool> labelled;  ///< one a message: the assistant's, unless it says "loss": false
  std::vector<std::filesystem::path> images;  ///< in order of their places in the messages
  std::string source;                         ///< the row's "source", or nothing
  std::string id;     ///< the row's "id", a number as its digits, or nothing
  std::string place;  ///< for errors: file:line
  bool operator==(const Conversation&) const = default;
};

/// How rows are read.
struct ConversationOptions {
  std::filesystem::path image_root;  ///< what paths of pictures are relative to; empty: the file
  /// Takes the error of a row that cannot be used, which is then left out; none: it is thrown.
  std::function<void(const std::string& reason)> on_bad_row;
};

/// Reads a JSONL file of conversations, one a line. Two forms:
///
/// * `{"messages": [{"role": "system|user|assistant", "content": C}, ...]}`, C a text in which
///   `<image>` marks the place of each picture, or a list of parts `{"type": "text", "text": T}`,
///   `{"type": "image"}`, `{"type": "image", "image": PATH}` and
///   `{"type": "image_url", "image_url": {"url": PATH}}`; an assistant's message may say
///   `"loss": false`. The paths of pictures without one of their own stand in `"images"` or
///   `"image"`, a path or a list of paths, in order.
/// * LLaVA's `{"conversations": [{"from": "human|gpt|system", "value": TEXT}, ...]}` with the same
///   `"image"` or `"images"`.
///
/// Both may have "source" and "id". Texts are kept as they stand; in a list of parts `<image>` is
/// text. Other keys are ignored, but for those that would make another conversation of it (tools,
/// videos).
///
/// \throws InputError  naming file and line: broken JSON, none or both of the two forms, an unknown
///                     role, no message, an address instead of a path, pictures and their places
///                     that differ in number, a picture outside a user's message, a missing
///                     picture, no assistant's message to train on; or the file has no row
std::vector<Conversation> read_conversations(const std::filesystem::path& file,
                                             const ConversationOptions& options = {});

}  // namespace espalier
