// SPDX-License-Identifier: Apache-2.0
#include "espalier/image/smart_resize.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "espalier/base/error.h"

namespace espalier {

namespace {

constexpr double kMaxAspectRatio = 200;

}  // namespace

Size smart_resize(Size original, const ResizeLimits& limits, std::string_view source) {
  require(original.width > 0 && original.height > 0,
          "{}: a picture of {} x {} pixels cannot be resized; wanted at least 1 x 1", source,
          original.width, original.height);
  require(limits.factor > 0 && limits.min_pixels > 0 && limits.max_pixels >= limits.min_pixels,
          "{}: unusable limits for resizing: factor {}, {} to {} pixels; wanted a factor above 0 "
          "and 0 < minimum <= maximum",
          source, limits.factor, limits.min_pixels, limits.max_pixels);
  const double width = original.width;
  const double height = original.height;
  require(std::max(width, height) / std::min(width, height) <= kMaxAspectRatio,
          "{}: one side of {} x {} pixels is more than {} times the other; crop the picture",
          source, original.width, original.height, kMaxAspectRatio);

  // Python's arithmetic, in its order: round() is nearbyint (halves to even), / is on doubles.
  const double factor = limits.factor;
  const double min_pixels = static_cast<double>(limits.min_pixels);
  const double max_pixels = static_cast<double>(limits.max_pixels);
  double fitted_width = std::nearbyint(width / factor) * factor;
  double fitted_height = std::nearbyint(height / factor) * factor;
  if (fitted_width * fitted_height > max_pixels) {
    const double beta = std::sqrt(height * width / max_pixels);
    fitted_width = std::max(factor, std::floor(width / beta / factor) * factor);
    fitted_height = std::max(factor, std::floor(height / beta / factor) * factor);
  } else if (fitted_width * fitted_height < min_pixels) {
    const double beta = std::sqrt(min_pixels / (height * width));
    fitted_width = std::ceil(width * beta / factor) * factor;
    fitted_height = std::ceil(height * beta / factor) * factor;
  }
  require(std::max(fitted_width, fitted_height) <= std::numeric_limits<int>::max(),
          "{}: {} x {} pixels resize to {} x {}, beyond any usable size; lower the limits", source,
          original.width, original.height, fitted_width, fitted_height);
  return {.width = static_cast<int>(fitted_width), .height = static_cast<int>(fitted_height)};
}

}  // namespace espalier
