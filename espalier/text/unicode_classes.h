// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>

namespace espalier {

/// Code points from `first` to `last`, both included.
struct CodePointRange {
  char32_t first;
  char32_t last;
};

/// What the reference's split pattern counts as `\p{L}`, `\p{N}` and `\s` (Unicode 16.0), in
/// ascending order. Tables of our own, since the libraries here know other versions of Unicode.
std::span<const CodePointRange> letters();
std::span<const CodePointRange> numbers();
std::span<const CodePointRange> white_space();

}  // namespace espalier
