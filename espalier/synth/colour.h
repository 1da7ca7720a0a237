// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "espalier/base/random.h"

namespace espalier {

/// A colour in sRGB, each channel in [0, 1].
struct Colour {
  double red;
  double green;
  double blue;
  bool operator==(const Colour&) const = default;
};

/// The contrast of two colours as WCAG 2.1 defines it, from 1 (none) to 21 (black on white).
double contrast(const Colour& a, const Colour& b);

/// Any colour, each channel uniform.
Colour draw_colour(Random& random);

/// The colour with up to `most` added to or taken from each channel, cut to [0, 1].
Colour vary(const Colour& colour, double most, Random& random);

/// A number uniform in [least, most).
double draw_between(double least, double most, Random& random);

}  // namespace espalier
