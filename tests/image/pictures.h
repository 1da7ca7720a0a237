// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "espalier/image/image.h"

namespace espalier::test {

/// The bytes of tests/fixtures/images/`name`.
std::string read_picture(const std::string& name);

Image decode(std::string_view bytes, const DecodeOptions& options = {});

/// The message of the InputError that decoding must throw; it must name the source.
std::string decode_error(std::string_view bytes, const DecodeOptions& options = {});

}  // namespace espalier::test
