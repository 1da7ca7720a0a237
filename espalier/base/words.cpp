// SPDX-License-Identifier: Apache-2.0
#include "espalier/base/words.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <utility>

namespace espalier {

namespace {

/// Letters to change, add or leave out to get from one word to the other.
std::size_t edit_distance(const std::string& from, const std::string& to) {
  std::vector<std::size_t> row(to.size() + 1);
  for (std::size_t j = 0; j <= to.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= from.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= to.size(); ++j) {
      const std::size_t replaced = diagonal + (from[i - 1] == to[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({replaced, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row.back();
}

/// What orders words by how unlikely it is that they were meant.
std::pair<bool, std::size_t> strangeness(const std::string& word, const std::string& candidate) {
  return {!candidate.starts_with(word), edit_distance(word, candidate)};
}

}  // namespace

std::string alternatives(std::vector<std::string> words) {
  const std::string last = std::move(words.back());
  words.pop_back();
  return words.empty() ? last : fmt::format("{} or {}", fmt::join(words, ", "), last);
}

std::optional<std::string> suggestion(const std::string& word,
                                      const std::vector<std::string>& known) {
  const auto& best = *std::ranges::min_element(
      known, {}, [&](const std::string& candidate) { return strangeness(word, candidate); });
  const auto [elsewhere, distance] = strangeness(word, best);
  return elsewhere && 2 * distance > word.size() ? std::nullopt : std::optional(best);
}

std::vector<std::string> nearest_first(const std::string& word, std::vector<std::string> known) {
  std::ranges::stable_sort(
      known, {}, [&](const std::string& candidate) { return strangeness(word, candidate); });
  return known;
}

std::string unknown_word(const std::string& kind, const std::string& word,
                         std::vector<std::string> known) {
  const auto meant = suggestion(word, known);
  return fmt::format("unknown {} {}{}; wanted {}", kind, word,
                     meant ? fmt::format(" (did you mean {}?)", *meant) : "",
                     alternatives(std::move(known)));
}

std::vector<std::string> split_at_commas(std::string_view text) {
  std::vector<std::string> parts;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    parts.emplace_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

}  // namespace espalier
