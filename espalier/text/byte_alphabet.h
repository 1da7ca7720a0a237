// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <string>
#include <string_view>

namespace espalier {

/// GPT-2's printable alphabet for the 256 bytes, in which vocabulary files spell their tokens:
/// bytes 33-126, 161-172 and 174-255 are the characters of these numbers, the other 68 in ascending
/// order are U+0100 to U+0143 (so a space is U+0120).
///
/// \return the UTF-8 of each byte's character
const std::array<std::string, 256>& byte_symbols();

/// Appends the bytes that a token of the vocabulary file stands for.
///
/// \return whether every character of the token is in the alphabet; if not, nothing is appended
[[nodiscard]] bool append_bytes_of_symbols(std::string_view token, std::string& out);

}  // namespace espalier
