// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <vector>

#include "espalier/text/byte_pair_encoding.h"
#include "espalier/text/tokenizer.h"

namespace espalier {

/// What a folder's files say of its tokenizer.
struct TokenizerFiles {
  BytePairEncoding pairs;
  std::vector<AddedToken> added_tokens;  ///< by ascending id
};

/// Reads and checks them; see Tokenizer::read.
TokenizerFiles read_tokenizer_files(const std::filesystem::path& folder);

}  // namespace espalier
