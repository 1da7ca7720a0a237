// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

namespace espalier {

/// Canonical composition (NFC) as the reference does it, which knows Unicode 9.0 only: characters
/// that came later neither compose nor change places. (Probed in tokenizers 0.23.3, whose crate
/// unicode-normalization-alignments 0.1.12 has the tables of 2016.)
///
/// \param text  valid UTF-8
std::string to_nfc(std::string_view text);

}  // namespace espalier
