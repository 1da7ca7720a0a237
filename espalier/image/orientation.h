// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

#include "espalier/image/image.h"

namespace espalier {

/// The parts of a picture file that can name its orientation.
struct PictureMetadata {
  std::optional<std::string> exif;  ///< a TIFF file, with or without the prefix "Exif\0\0"
  std::string xmp;                  ///< an XML text, or nothing
};

/// The EXIF orientation, 1 to 8, as Pillow finds it: the first entry of tag 0x0112 in the first
/// directory; where there is no such entry, XMP's `tiff:Orientation`. Broken EXIF counts as 1.
int find_orientation(const PictureMetadata& metadata);

/// Whether an orientation, 1 to 8, turns a picture by a quarter, so that width becomes height.
bool swaps_sides(int orientation);

/// The picture turned and mirrored so that it stands upright.
///
/// \param orientation  1 to 8, the meaning of EXIF's tag 0x0112
Image orient(Image image, int orientation);

}  // namespace espalier
