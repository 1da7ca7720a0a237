// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <span>
#include <string_view>
#include <vector>

#include "espalier/checkpoint/config.h"
#include "espalier/data/encoder.h"
#include "espalier/model/layers.h"

namespace espalier {

/// Called with the value after a stage and the stage's name, e.g. "visual.blocks.3"; see `trace`.
using StageObserver = std::function<void(std::string_view stage, const at::Tensor& value)>;

struct VisionAttention {
  Linear qkv;  ///< rows: all heads' q, then k, then v
  Linear proj;
};

struct VisionMlp {
  Linear linear_fc1;
  Linear linear_fc2;
};

struct VisionBlock {
  LayerNorm norm1;
  VisionAttention attn;
  LayerNorm norm2;
  VisionMlp mlp;
};

/// Turns 2 x 2 patches into one visual token of the decoder's width. The last merger normalizes
/// each patch before the four are joined, DeepStack's normalize the joined vector.
struct PatchMerger {
  LayerNorm norm;
  Linear linear_fc1;
  Linear linear_fc2;
};

/// The vision tower; fields are the checkpoint's keys below `model.visual`.
struct VisionTower {
  Linear patch_embed;    ///< the convolution over whole patches, as the product that it is
  at::Tensor pos_embed;  ///< [num_position_embeddings, D]
  std::vector<VisionBlock> blocks;
  PatchMerger merger;
  std::vector<PatchMerger> deepstack_merger_list;  ///< one a DeepStack level, ascending
};

/// What the decoder gets of the pictures.
struct VisionFeatures {
  at::Tensor image_embeds;            ///< [M, H]: these replace the placeholders' embeddings
  std::vector<at::Tensor> deepstack;  ///< [M, H] each: the k-th is added after decoder position k
};

/// Runs the tower over pictures, each for itself: attention never crosses a picture's border.
///
/// \param pixel_values  [N, 3 * temporal_patch_size * patch_size^2] float32, pictures one after
/// another \param grids         one a picture, in patches; N = sum of t * h * w \param observe sees
/// patch_embed, pos_embed, blocks.{b}, deepstack.{k} and merger
VisionFeatures encode_images(const VisionTower& tower, const VisionConfig& config,
                             const at::Tensor& pixel_values, std::span<const ImageGrid> grids,
                             const StageObserver& observe = {});

/// The learned position table, resampled bilinearly to the pictures' grids with the corners kept,
/// in merge-block order: four table rows times float32 weights, summed in float32, rounded once.
///
/// \return [N, D] in the table's dtype
at::Tensor interpolate_positions(const at::Tensor& table, const VisionConfig& config,
                                 std::span<const ImageGrid> grids);

}  // namespace espalier
