// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include "espalier/checkpoint/side_files.h"
#include "espalier/image/image.h"

namespace espalier {

/// Resizes a picture as the reference does: ATen's antialiased bicubic on uint8, horizontal pass
/// first, rounded and clamped between the passes (not Pillow's result, nor a float kernel's).
///
/// \return [3, height, width] uint8 on the CPU
at::Tensor resize(const Image& image, Size target);

/// A picture as the vision tower takes it: (value - 255 mean) / (255 std) in float32, cut into
/// patches, the still frame doubled to a pair. Rows run in merge-block order; within a row the
/// order is channel, frame, row, column.
///
/// \param pixels  [3, H, W] uint8, H and W multiples of patch_size * merge_size
/// \return        [H * W / patch_size^2, 3 * temporal_patch_size * patch_size^2] float32
at::Tensor to_patches(const at::Tensor& pixels, const PreprocessorConfig& config);

}  // namespace espalier
