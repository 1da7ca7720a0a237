// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <string_view>

namespace espalier {

/// The pattern by which Qwen2's tokenizer splits a text into pieces, as the reference spells it.
/// Ours means the same, with its classes written out from unicode_classes.h.
inline constexpr std::string_view kQwen2SplitPattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*)"
    R"(|\s*[\r\n]+|\s+(?!\S)|\s+)";

/// Splits a text into the pieces within which byte pairs may merge.
class Pretokenizer {
 public:
  Pretokenizer();
  ~Pretokenizer();
  Pretokenizer(const Pretokenizer&) = delete;
  Pretokenizer& operator=(const Pretokenizer&) = delete;

  /// Calls `take` for each piece from left to right; together they are the text. The length of a
  /// piece is not limited. May be called from several threads.
  ///
  /// \param text  valid UTF-8
  void split(std::string_view text, const std::function<void(std::string_view)>& take) const;

 private:
  struct Code;
  std::unique_ptr<const Code> code_;
};

}  // namespace espalier
