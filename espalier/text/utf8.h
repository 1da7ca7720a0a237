// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace espalier {

/// The first UTF-8 sequence of some bytes: a whole character, or the longest beginning of one that
/// is then broken off (Unicode's "maximal subpart"), which Python's "replace" makes one U+FFFD.
struct Utf8Sequence {
  enum class State {
    Whole,       ///< one character
    Broken,      ///< bytes that begin no character, or one that another byte breaks off
    Unfinished,  ///< the bytes end inside a character
  };
  State state;
  std::size_t length;  ///< in bytes, at least 1
};

/// \param bytes at least one byte
Utf8Sequence first_utf8_sequence(std::string_view bytes);

/// How many bytes from the start are whole characters: all of them if the text is valid UTF-8.
std::size_t valid_utf8_prefix(std::string_view bytes);

/// Appends the text to `out`, broken sequences as U+FFFD, and stops before an unfinished one.
///
/// \return how many bytes were taken
std::size_t append_valid_utf8(std::string_view bytes, std::string& out);

/// U+FFFD, what stands for a broken sequence.
inline constexpr std::string_view kReplacementCharacter = "\xEF\xBF\xBD";

}  // namespace espalier
