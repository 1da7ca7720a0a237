// SPDX-License-Identifier: Apache-2.0
#include "espalier/model/vision.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "espalier/model/attention.h"
#include "espalier/model/kernels.h"
#include "espalier/model/rope.h"

namespace espalier {

namespace {

/// The two table rows (or columns) between which a coordinate lies, and their weights.
struct AxisTaps {
  std::array<std::int64_t, 2> index;
  std::array<float, 2> weight;
};

/// Coordinate `index` of `size` on a table axis of `side` entries, ends on ends. Float32, the
/// multiplication before the division, and the second weight from its own distance: each of these
/// decides last bits (vision_utils._interpolation_axis_taps_weights, transformers 5.23).
AxisTaps axis_taps(std::int64_t index, std::int64_t size, std::int64_t side) {
  const float source = static_cast<float>(index) * static_cast<float>(side - 1) /
                       static_cast<float>(std::max<std::int64_t>(size - 1, 1));
  const float floor = std::floor(source);
  AxisTaps taps{};
  for (std::size_t tap = 0; tap < 2; ++tap) {
    const float distance = std::abs(source - floor - static_cast<float>(tap));
    taps.weight[tap] = std::max(1.0F - distance, 0.0F);
    taps.index[tap] = std::clamp<std::int64_t>(
        static_cast<std::int64_t>(floor) + static_cast<std::int64_t>(tap), 0, side - 1);
  }
  return taps;
}

/// Queries and keys are turned, then each picture's frame attends to itself.
at::Tensor attend(const VisionAttention& weights, const VisionConfig& config, const at::Tensor& x,
                  const Rotary& rotary, std::span<const ImageGrid> grids) {
  const std::int64_t heads = config.num_heads;
  const std::int64_t head_dim = config.hidden_size / heads;
  const auto qkv = apply(weights.qkv, x).view({x.size(0), 3, heads, head_dim});
  const auto q = rotate(qkv.select(1, 0), rotary.cos, rotary.sin);  // [N, heads, head_dim]
  const auto k = rotate(qkv.select(1, 1), rotary.cos, rotary.sin);
  const auto v = qkv.select(1, 2);
  const AttentionOptions options{.scale = std::pow(static_cast<double>(head_dim), -0.5),
                                 .causal = false};
  std::vector<AttentionSegment> frames;
  std::int64_t row = 0;
  for (const ImageGrid& grid : grids) {
    for (std::int64_t frame = 0; frame < grid.t; ++frame) {
      const std::int64_t end = row + grid.h * grid.w;
      frames.push_back({.query_begin = row, .query_end = end, .key_begin = row, .key_end = end});
      row = end;
    }
  }
  return apply(weights.proj, attention(q, k, v, frames, options));
}

at::Tensor forward_block(const VisionBlock& block, const VisionConfig& config, const at::Tensor& x,
                         const Rotary& rotary, std::span<const ImageGrid> grids) {
  const auto attended = x + attend(block.attn, config, apply(block.norm1, x), rotary, grids);
  const auto inner = gelu_tanh(apply(block.mlp.linear_fc1, apply(block.norm2, attended)));
  return attended + apply(block.mlp.linear_fc2, inner);
}

/// \param joined_norm  normalize after the patches of a block are joined (DeepStack), or before
at::Tensor merge(const PatchMerger& merger, const at::Tensor& x, bool joined_norm) {
  const std::int64_t joined = merger.linear_fc1.weight.size(1);
  const auto normalized = joined_norm ? apply(merger.norm, x.view({-1, joined}))
                                      : apply(merger.norm, x).view({-1, joined});
  return apply(merger.linear_fc2, gelu_erf(apply(merger.linear_fc1, normalized)));
}

}  // namespace

at::Tensor interpolate_positions(const at::Tensor& table, const VisionConfig& config,
                                 std::span<const ImageGrid> grids) {
  const auto side = static_cast<std::int64_t>(std::sqrt(config.num_position_embeddings));
  std::array<std::vector<std::int64_t>, 4> indices;
  std::array<std::vector<float>, 4> weights;
  for (const ImageGrid& grid : grids) {
    for (const auto& [row, column] : patch_coordinates(grid, config.spatial_merge_size)) {
      const AxisTaps rows = axis_taps(row, grid.h, side);
      const AxisTaps columns = axis_taps(column, grid.w, side);
      for (std::size_t corner = 0; corner < 4; ++corner) {
        indices[corner].push_back(rows.index[corner / 2] * side + columns.index[corner % 2]);
        weights[corner].push_back(rows.weight[corner / 2] * columns.weight[corner % 2]);
      }
    }
  }
  at::Tensor sum;
  for (std::size_t corner = 0; corner < 4; ++corner) {
    const auto count = std::ssize(indices[corner]);
    // Copies: autograd may keep them longer than the vectors live.
    const auto index =
        at::tensor(at::ArrayRef<std::int64_t>(indices[corner]), at::kLong).to(table.device());
    const auto weight = at::tensor(at::ArrayRef<float>(weights[corner]), at::kFloat)
                            .view({count, 1})
                            .to(table.device());
    const auto tap = table.index_select(0, index).to(at::kFloat).mul_(weight);
    if (corner == 0) {
      sum = tap;
    } else {
      sum.add_(tap);
    }
  }
  return sum.to(table.scalar_type());
}

namespace {

/// All pictures in one go.
VisionFeatures encode_together(const VisionTower& tower, const VisionConfig& config,
                               const at::Tensor& pixel_values, std::span<const ImageGrid> grids,
                               const StageObserver& observe) {
  const auto tell = [&](std::string_view stage, const at::Tensor& value) {
    if (observe) observe(stage, value);
  };
  const auto patches =
      apply(tower.patch_embed,
            pixel_values.to(tower.pos_embed.device(), tower.patch_embed.weight.scalar_type()));
  tell("visual.patch_embed", patches);
  const auto positions = interpolate_positions(tower.pos_embed, config, grids);
  tell("visual.pos_embed", positions);
  at::Tensor hidden = patches + positions;
  const Rotary rotary = vision_rotary(config, grids, hidden.device());

  VisionFeatures features;
  for (std::size_t b = 0; b < tower.blocks.size(); ++b) {
    hidden = forward_block(tower.blocks[b], config, hidden, rotary, grids);
    tell(fmt::format("visual.blocks.{}", b), hidden);
    const auto level = features.deepstack.size();
    if (level < tower.deepstack_merger_list.size() &&
        config.deepstack_visual_indexes[level] == static_cast<std::int64_t>(b)) {
      features.deepstack.push_back(merge(tower.deepstack_merger_list[level], hidden, true));
      tell(fmt::format("visual.deepstack.{}", level), features.deepstack.back());
    }
  }
  features.image_embeds = merge(tower.merger, hidden, false);
  tell("visual.merger", features.image_embeds);
  return features;
}

/// So many patches fill the products; more would only take more memory.
constexpr std::int64_t kPatchesTogether = 2048;

/// How many of the first pictures run together: at least one.
std::size_t first_group(std::span<const ImageGrid> grids) {
  std::int64_t patches = grids.front().patches();
  std::size_t count = 1;
  while (count < grids.size() && patches + grids[count].patches() <= kPatchesTogether) {
    patches += grids[count++].patches();
  }
  return count;
}

}  // namespace

VisionFeatures encode_images(const VisionTower& tower, const VisionConfig& config,
                             const at::Tensor& pixel_values, std::span<const ImageGrid> grids,
                             const StageObserver& observe) {
  // An observer sees each stage once, with all pictures.
  if (observe || first_group(grids) == grids.size()) {
    return encode_together(tower, config, pixel_values, grids, observe);
  }
  std::vector<at::Tensor> embeds;
  std::vector<std::vector<at::Tensor>> deepstack(tower.deepstack_merger_list.size());
  std::int64_t row = 0;
  for (auto rest = grids; !rest.empty();) {
    const auto group = rest.first(first_group(rest));
    rest = rest.subspan(group.size());
    std::int64_t rows = 0;
    for (const ImageGrid& grid : group) rows += grid.patches();
    const auto features =
        encode_together(tower, config, pixel_values.narrow(0, row, rows), group, observe);
    row += rows;
    embeds.push_back(features.image_embeds);
    for (std::size_t k = 0; k < deepstack.size(); ++k) {
      deepstack[k].push_back(features.deepstack[k]);
    }
  }
  VisionFeatures joined{.image_embeds = at::cat(embeds), .deepstack = {}};
  for (const auto& level : deepstack) joined.deepstack.push_back(at::cat(level));
  return joined;
}

}  // namespace espalier
