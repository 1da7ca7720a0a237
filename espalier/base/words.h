// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace espalier {

/// "a, b or c"; `words` must not be empty.
std::string alternatives(std::vector<std::string> words);

/// The word of `known` that was probably meant: one that begins with `word`, or else one that is
/// few letters away.
std::optional<std::string> suggestion(const std::string& word,
                                      const std::vector<std::string>& known);

/// The words, most likely meant first.
std::vector<std::string> nearest_first(const std::string& word, std::vector<std::string> known);

/// "unknown rule topn (did you mean topk?); wanted topk, contiguous or triplets", the alternatives
/// as they are given.
std::string unknown_word(const std::string& kind, const std::string& word,
                         std::vector<std::string> known);

/// The parts of a text between its commas, empty ones too: one more than it has commas.
std::vector<std::string> split_at_commas(std::string_view text);

}  // namespace espalier
