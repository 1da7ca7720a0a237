// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "espalier/image/image.h"

namespace espalier {

/// A picture as a PNG file of RGB, 8 bits a channel, packed quickly rather than tightly. The same
/// picture gives the same bytes with the same libpng and zlib.
///
/// \param image        at least one pixel
/// \throws InputError  if libpng refuses it
std::string encode_png(const Image& image);

}  // namespace espalier
