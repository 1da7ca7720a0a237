// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "espalier/checkpoint/config.h"
#include "espalier/data/encoder.h"

namespace espalier {

/// Cosines and sines of a rotary embedding, one row a token: [T, head_dim], both halves filled.
struct Rotary {
  at::Tensor cos;
  at::Tensor sin;
};

/// Where each token of one sample stands on the three axes of M-RoPE.
struct Positions {
  std::array<std::vector<std::int64_t>, 3> axes;  ///< T, H, W; one entry a token each
  /// A token generated at cache length c has position c + delta on all axes.
  std::int64_t delta;
};

/// Position ids of a sample (get_rope_index of the reference): a text token advances all axes by
/// one; a picture's tokens keep T, and take H and W from their row and column on the merged grid;
/// after it the counter has advanced by the longer side.
///
/// \param ids          token ids with expanded placeholders
/// \param grids        one a picture, in patches, in order of appearance
/// \throws InputError  if placeholders and grids do not agree
Positions rope_positions(std::span<const std::int64_t> ids, std::span<const ImageGrid> grids,
                         std::int64_t image_token_id, std::int64_t spatial_merge_size);

/// The decoder's interleaved M-RoPE: frequency j turns by the position on axis H where
/// j = 1, 4, 7, ... < 3 * section[1], on axis W where j = 2, 5, ... < 3 * section[2], else on T.
/// Angles in float32, rounded to `dtype` at the end.
///
/// \param position_ids  [3, T] int64
Rotary text_rotary(const TextConfig& config, const at::Tensor& position_ids, at::ScalarType dtype);

/// The vision tower's two-dimensional rotary embedding, float32: the first quarter of the channels
/// turns by the row, the second by the column, the other half repeats them. Patches come in
/// merge-block order; each picture starts at (0, 0).
Rotary vision_rotary(const VisionConfig& config, std::span<const ImageGrid> grids,
                     const at::Device& device);

/// Row and column of each patch of a picture, in merge-block order: four patches of a 2 x 2 block
/// follow one another, blocks run row by row.
///
/// \return  t * h * w entries {row, column}
std::vector<std::array<std::int64_t, 2>> patch_coordinates(const ImageGrid& grid,
                                                           std::int64_t spatial_merge_size);

}  // namespace espalier
