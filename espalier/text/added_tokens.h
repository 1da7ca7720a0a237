// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <string_view>
#include <vector>

#include "espalier/text/tokenizer.h"

namespace espalier {

/// Finds added tokens in raw text: the leftmost, of those the longest.
class AddedTokenMatcher {
 public:
  explicit AddedTokenMatcher(std::vector<AddedToken> tokens);  ///< by ascending id

  struct Match {
    std::size_t begin;        ///< in bytes
    const AddedToken* token;  ///< lives as long as the matcher; null at the end of the text
  };
  /// The first match at or after byte `from`, or the end of the text.
  [[nodiscard]] Match find(std::string_view text, std::size_t from) const;

  [[nodiscard]] const std::vector<AddedToken>& tokens() const { return tokens_; }
  [[nodiscard]] const AddedToken* with_id(std::int64_t id) const;
  [[nodiscard]] const AddedToken* with_content(std::string_view content) const;

 private:
  std::vector<AddedToken> tokens_;
  /// Indices of the tokens that begin with a byte, the longest first.
  std::array<std::vector<std::size_t>, 256> by_first_byte_;
};

/// Whether the reference's `sanitize_control_tokens` keeps a user's text from becoming this token:
/// special ones, and the tool tags, which Qwen's chat template writes.
bool is_control_token(const AddedToken& token);

}  // namespace espalier
