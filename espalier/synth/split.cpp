// SPDX-License-Identifier: Apache-2.0
#include "espalier/synth/split.h"

#include <array>
#include <span>
#include <string>
#include <utility>

#include "espalier/base/error.h"
#include "espalier/base/hash.h"
#include "espalier/base/words.h"

namespace espalier {

namespace {

constexpr auto kSplitNames = std::to_array<std::pair<Split, std::string_view>>(
    {{Split::Train, "train"}, {Split::Validation, "val"}, {Split::Test, "test"}});

}  // namespace

std::string_view name_of(Split split) {
  return kSplitNames.at(static_cast<std::size_t>(split)).second;
}

Split parse_split(std::string_view name) {
  for (const auto& [split, known] : kSplitNames) {
    if (known == name) return split;
  }
  throw InputError(unknown_word("split", std::string(name), {"train", "val", "test"}));
}

Split split_of(std::string_view content) {
  const auto hash = xxh3_128({std::as_bytes(std::span(content.data(), content.size()))});
  unsigned remainder = 0;  // of the whole 128-bit number, digit by digit
  for (const unsigned byte : hash) remainder = (remainder * 256 + byte) % 10;
  if (remainder == 0) return Split::Test;
  return remainder == 1 ? Split::Validation : Split::Train;
}

}  // namespace espalier
