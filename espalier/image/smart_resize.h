// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string_view>

#include "espalier/image/image.h"

namespace espalier {

/// What a picture's size is fitted to. The pixels are areas (preprocessor_config.json calls them
/// shortest_edge and longest_edge).
struct ResizeLimits {
  int factor;  ///< patch_size * merge_size: both sides become multiples of it
  std::int64_t min_pixels;
  std::int64_t max_pixels;
  bool operator==(const ResizeLimits&) const = default;
};

/// The size at which the model sees a picture: each side the nearest multiple of `factor` (halves
/// to even), scaled as a whole where the area leaves the limits (smart_resize of
/// Qwen2VLImageProcessor, transformers 5.23).
///
/// \param source       what to call the picture in errors
/// \throws InputError  if a side is 0, or one side is more than 200 times the other
Size smart_resize(Size original, const ResizeLimits& limits, std::string_view source);

}  // namespace espalier
