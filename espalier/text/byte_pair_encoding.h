// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace espalier {

/// A vocabulary as its files have it, tokens spelled in GPT-2's byte alphabet. The texts belong to
/// somebody else.
struct VocabularyText {
  struct Token {
    std::string_view symbols;
    std::int64_t id;
  };
  struct Merge {
    std::string_view left;
    std::string_view right;
  };
  std::string tokens_source;  ///< the file, for errors
  std::vector<Token> tokens;
  std::string merges_source;
  std::vector<Merge> merges;  ///< in order of rank
};

/// A byte-level vocabulary and its ranked merges. May be used from several threads.
class BytePairEncoding {
 public:
  /// Larger ids are refused, so that a broken file cannot make us allocate for them.
  static constexpr std::int64_t kLargestId = (1 << 22) - 1;

  /// A token that leaves the byte alphabet is kept for decoding, as it stands, and is never made
  /// from a text.
  ///
  /// \throws InputError  if a token or id repeats, an id is out of range, one of the 256 bytes has
  ///                     no token, a merge repeats, or its parts or whole are no byte-level tokens
  explicit BytePairEncoding(const VocabularyText& vocabulary);

  /// The id of a token, spelled as in the file.
  [[nodiscard]] std::optional<std::int64_t> find_token(std::string_view symbols) const;

  /// Memory for `encode` to reuse from piece to piece.
  struct Scratch {
    struct Symbol {
      std::uint32_t id;
      std::int32_t previous;
      std::int32_t next;
    };
    struct Candidate {
      std::uint32_t rank;
      std::int32_t position;
      std::uint32_t left;
      std::uint32_t right;
    };
    std::vector<Symbol> symbols;
    std::vector<Candidate> heap;
  };

  /// Appends the ids of a piece: of all neighbours that merge the pair of lowest rank goes first,
  /// of equals the leftmost, until none merges. n log n in the length of the piece.
  void encode(std::string_view piece, Scratch& scratch, std::vector<std::int64_t>& ids) const;

  /// The bytes of a token; empty if the id has none.
  [[nodiscard]] std::string_view bytes_of(std::int64_t id) const;
  [[nodiscard]] std::int64_t token_count() const { return token_count_; }
  /// One more than the largest id.
  [[nodiscard]] std::int64_t size() const { return static_cast<std::int64_t>(spans_.size()); }

 private:
  struct Span {
    std::uint32_t begin = 0;
    std::uint32_t length = 0;
    bool in_alphabet = true;
  };
  struct TokenSlot {
    std::uint32_t hash = 0;
    std::uint32_t id = kNone;
    Span span;
  };
  struct MergeSlot {
    std::uint64_t pair = UINT64_MAX;
    std::uint32_t rank = kNone;
    std::uint32_t id = kNone;
  };
  static constexpr std::uint32_t kNone = UINT32_MAX;

  struct MergeKey;

  [[nodiscard]] std::vector<std::uint32_t> add_tokens(const VocabularyText& vocabulary);
  void index_tokens(const VocabularyText& vocabulary, const std::vector<std::uint32_t>& hashes);
  void find_bytes(const VocabularyText& vocabulary);
  void prepare(const VocabularyText::Merge& merge, MergeKey& key) const;
  [[nodiscard]] MergeSlot resolve(const MergeKey& key) const;
  [[nodiscard]] std::vector<MergeSlot> find_merges(const VocabularyText& vocabulary) const;
  void index_merges(const VocabularyText& vocabulary, const std::vector<MergeSlot>& merges);

  [[nodiscard]] std::string_view bytes_in(Span span) const;
  [[nodiscard]] std::size_t token_slot(std::string_view bytes, bool in_alphabet,
                                       std::uint32_t hash) const;
  [[nodiscard]] std::uint32_t id_of(std::string_view bytes, bool in_alphabet) const;
  [[nodiscard]] std::size_t home_of(std::uint64_t pair) const;
  [[nodiscard]] std::size_t merge_slot(std::uint64_t pair) const;
  [[nodiscard]] const MergeSlot* merge_of(std::uint32_t left, std::uint32_t right) const;
  void add_candidate(std::int32_t position, Scratch& scratch) const;
  void merge_at(std::int32_t position, std::uint32_t id, Scratch& scratch) const;

  std::string bytes_;        // of all tokens, one after another
  std::vector<Span> spans_;  // by id
  std::vector<TokenSlot> token_slots_;
  std::vector<MergeSlot> merge_slots_;
  std::array<std::uint32_t, 256> id_of_byte_{};
  std::int64_t token_count_ = 0;
};

}  // namespace espalier
