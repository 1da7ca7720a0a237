// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

namespace espalier {

/// The three parts that what can be asked is divided into.
enum class Split { Train, Validation, Test };

/// "train", "val" or "test".
std::string_view name_of(Split split);

/// \throws InputError for any other name than those three
Split parse_split(std::string_view name);

/// The part that a content belongs to, for all seeds and for ever: XXH3-128 of its canonical text,
/// a big-endian number, modulo 10, where 0 is test, 1 is validation and the rest is train.
Split split_of(std::string_view content);

}  // namespace espalier
