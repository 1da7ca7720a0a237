// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace espalier {

/// A token outside the byte-pair vocabulary, matched verbatim in the raw text.
struct AddedToken {
  std::int64_t id;
  std::string content;
  bool special;  ///< left out of decoded text on request; a user's text must not become one
  bool operator==(const AddedToken&) const = default;
};

/// What a text that is encoded may become. Added tokens that are not special (`<think>`) become
/// their ids in every mode, as in the reference.
enum class SpecialTokens {
  Parse,  ///< special tokens in the text become their ids (the reference's default)
  /// Special tokens and the tool tags, which the chat template writes too, are spelled out, each by
  /// itself: the ids of the reference's `sanitize_control_tokens`.
  Plain,
  Refuse,  ///< a special token in the text is an InputError that names it and both remedies
};

/// Qwen's byte-level byte-pair encoding (GPT-2's alphabet, NFC, Qwen2's split pattern), equal to
/// the reference's tokenizer (transformers 5.23, tokenizers 0.23) on any valid UTF-8.
class Tokenizer {
 public:
  /// Reads `tokenizer.json` if the folder has one, else `vocab.json` + `merges.txt` with the added
  /// tokens of `tokenizer_config.json`.
  ///
  /// \throws InputError  for a missing or broken file, another kind of tokenizer (its model,
  ///                     normalizer or pre-tokenizer), merges of unknown tokens, ids that collide
  ///                     or that other readers would number anew
  static Tokenizer read(const std::filesystem::path& folder);

  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  /// Token ids of a text.
  ///
  /// \throws InputError  if the text is not valid UTF-8 (with the byte's offset), or holds a
  ///                     special token and `special` is Refuse
  [[nodiscard]] std::vector<std::int64_t> encode(std::string_view text,
                                                 SpecialTokens special) const;

  /// The text of token ids; broken UTF-8 becomes U+FFFD as Python's "replace" does. Ids without a
  /// token decode to nothing.
  [[nodiscard]] std::string decode(std::span<const std::int64_t> ids,
                                   bool skip_special_tokens) const;

  /// The raw bytes of one id: a byte-level token's bytes, an added token's content, or nothing.
  [[nodiscard]] std::string_view bytes_of(std::int64_t id) const;

  [[nodiscard]] std::optional<std::int64_t> id_of(std::string_view added_token) const;
  [[nodiscard]] const std::vector<AddedToken>& added_tokens() const;  ///< by ascending id
  [[nodiscard]] bool is_special(std::int64_t id) const;
  /// One more than the largest id.
  [[nodiscard]] std::int64_t size() const;

 private:
  struct State;
  explicit Tokenizer(std::unique_ptr<const State> state);
  std::unique_ptr<const State> state_;
};

/// Turns a stream of ids into text that is valid at every step: bytes of an unfinished UTF-8
/// character wait for the next id.
class StreamDecoder {
 public:
  /// \param tokenizer must outlive this object
  StreamDecoder(const Tokenizer& tokenizer, bool skip_special_tokens);

  /// The text that became certain with this id; may be empty.
  [[nodiscard]] std::string next(std::int64_t id);
  /// What is left at the end, with U+FFFD for an unfinished character.
  [[nodiscard]] std::string finish();

 private:
  const Tokenizer* tokenizer_;
  bool skip_special_tokens_;
  std::string waiting_;
};

/// Writes the files of a tokenizer of 256 byte tokens (a byte's value is its id) without merges, in
/// the style of the released checkpoints: vocab.json, an empty merges.txt, tokenizer_config.json
/// and chat_template.json. The added tokens stand in vocab.json too, so that every reader gives
/// them these ids.
///
/// \throws InputError if a file exists or cannot be written, or an id is below 256 or repeats
void write_byte_tokenizer(const std::filesystem::path& folder,
                          std::span<const AddedToken> added_tokens);

/// Qwen's 26 added tokens (`<|endoftext|>` ... `</think>`) numbered from `first_id`.
std::vector<AddedToken> qwen_added_tokens(std::int64_t first_id);

}  // namespace espalier
