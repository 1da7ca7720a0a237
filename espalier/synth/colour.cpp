// SPDX-License-Identifier: Apache-2.0
#include "espalier/synth/colour.h"

#include <algorithm>
#include <cmath>

namespace espalier {

namespace {

/// WCAG 2.1, "relative luminance".
double luminance(const Colour& colour) {
  const auto linear = [](double channel) {
    return channel <= 0.03928 ? channel / 12.92 : std::pow((channel + 0.055) / 1.055, 2.4);
  };
  return 0.2126 * linear(colour.red) + 0.7152 * linear(colour.green) + 0.0722 * linear(colour.blue);
}

}  // namespace

double contrast(const Colour& a, const Colour& b) {
  const auto [darker, lighter] = std::minmax({luminance(a), luminance(b)});
  return (lighter + 0.05) / (darker + 0.05);
}

Colour draw_colour(Random& random) {
  Colour colour{};
  for (double* channel : {&colour.red, &colour.green, &colour.blue}) *channel = random.uniform();
  return colour;
}

Colour vary(const Colour& colour, double most, Random& random) {
  Colour varied = colour;
  for (double* channel : {&varied.red, &varied.green, &varied.blue}) {
    *channel = std::clamp(*channel + draw_between(-most, most, random), 0.0, 1.0);
  }
  return varied;
}

double draw_between(double least, double most, Random& random) {
  return least + (most - least) * random.uniform();
}

}  // namespace espalier
