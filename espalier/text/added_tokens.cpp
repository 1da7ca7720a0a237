// SPDX-License-Identifier: Apache-2.0
#include "espalier/text/added_tokens.h"

#include <algorithm>
#include <functional>
#include <utility>

namespace espalier {

AddedTokenMatcher::AddedTokenMatcher(std::vector<AddedToken> tokens) : tokens_(std::move(tokens)) {
  for (std::size_t i = 0; i < tokens_.size(); ++i) {
    by_first_byte_[static_cast<unsigned char>(tokens_[i].content.front())].push_back(i);
  }
  const auto length_of = [this](std::size_t i) { return tokens_[i].content.size(); };
  for (auto& indices : by_first_byte_) {
    std::ranges::stable_sort(indices, std::ranges::greater{}, length_of);
  }
}

AddedTokenMatcher::Match AddedTokenMatcher::find(std::string_view text, std::size_t from) const {
  for (std::size_t begin = from; begin < text.size(); ++begin) {
    for (const std::size_t i : by_first_byte_[static_cast<unsigned char>(text[begin])]) {
      if (text.substr(begin).starts_with(tokens_[i].content)) return {begin, &tokens_[i]};
    }
  }
  return {text.size(), nullptr};
}

const AddedToken* AddedTokenMatcher::with_id(std::int64_t id) const {
  const auto found = std::ranges::lower_bound(tokens_, id, {}, &AddedToken::id);
  return found != tokens_.end() && found->id == id ? &*found : nullptr;
}

const AddedToken* AddedTokenMatcher::with_content(std::string_view content) const {
  const auto found = std::ranges::find(tokens_, content, &AddedToken::content);
  return found != tokens_.end() ? &*found : nullptr;
}

bool is_control_token(const AddedToken& token) {
  static constexpr std::string_view kToolTags[] = {"<tool_call>", "</tool_call>", "<tool_response>",
                                                   "</tool_response>"};
  return token.special || std::ranges::find(kToolTags, token.content) != std::end(kToolTags);
}

}  // namespace espalier
