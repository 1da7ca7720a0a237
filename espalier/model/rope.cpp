// SPDX-License-Identifier: Apache-2.0
#include "espalier/model/rope.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "espalier/base/error.h"

namespace espalier {

namespace {

/// 1 / base^(2j / dim), j < dim / 2. ATen's own float32 pow of a scalar and a tensor: computing in
/// double and rounding differs from the reference in the last bit of some entries.
at::Tensor inverse_frequencies(double base, std::int64_t dim) {
  const auto exponents = at::arange(0, dim, 2, at::kFloat).div(static_cast<double>(dim));
  return 1.0 / at::pow(at::Scalar(base), exponents);
}

}  // namespace

Positions rope_positions(std::span<const std::int64_t> ids, std::span<const ImageGrid> grids,
                         std::int64_t image_token_id, std::int64_t spatial_merge_size) {
  Positions positions{};
  auto& [t_axis, h_axis, w_axis] = positions.axes;
  for (auto& axis : positions.axes) axis.reserve(ids.size());
  std::int64_t next = 0;
  std::size_t image = 0;
  for (std::size_t token = 0; token < ids.size();) {
    if (ids[token] != image_token_id) {
      for (auto& axis : positions.axes) axis.push_back(next);
      ++next;
      ++token;
      continue;
    }
    require(image < grids.size(),
            "positions: the prompt has placeholders for more than {} picture(s)", grids.size());
    const ImageGrid& grid = grids[image++];
    const std::int64_t rows = grid.h / spatial_merge_size;
    const std::int64_t columns = grid.w / spatial_merge_size;
    const auto tokens = static_cast<std::size_t>(grid.t * rows * columns);
    const auto run = ids.subspan(token, std::min(tokens, ids.size() - token));
    require(run.size() == tokens && std::ranges::count(run, image_token_id) == std::ssize(run),
            "positions: picture {} wants {} placeholder tokens in a row at token {}", image, tokens,
            token);
    for (std::int64_t frame = 0; frame < grid.t; ++frame) {
      for (std::int64_t row = 0; row < rows; ++row) {
        for (std::int64_t column = 0; column < columns; ++column) {
          t_axis.push_back(next);
          h_axis.push_back(next + row);
          w_axis.push_back(next + column);
        }
      }
    }
    next += std::max(rows, columns);
    token += tokens;
  }
  require(image == grids.size(), "positions: {} pictures but placeholders for {}", grids.size(),
          image);
  std::int64_t largest = -1;
  for (const auto& axis : positions.axes) {
    if (!axis.empty()) largest = std::max(largest, *std::ranges::max_element(axis));
  }
  positions.delta = largest + 1 - static_cast<std::int64_t>(ids.size());
  return positions;
}

Rotary text_rotary(const TextConfig& config, const at::Tensor& position_ids, at::ScalarType dtype) {
  const auto frequencies =
      inverse_frequencies(config.rope_theta, config.head_dim).to(position_ids.device());
  auto angles = position_ids.to(at::kFloat).unsqueeze(-1) * frequencies;  // [3, T, head_dim / 2]
  auto chosen = angles[0].clone();                                        // axis T
  for (std::int64_t axis = 1; axis < 3; ++axis) {
    const std::int64_t end =
        std::min(config.mrope_section[static_cast<std::size_t>(axis)] * 3, config.head_dim / 2);
    chosen.slice(-1, axis, end, 3).copy_(angles[axis].slice(-1, axis, end, 3));
  }
  const auto doubled = at::cat({chosen, chosen}, -1);
  return {.cos = doubled.cos().to(dtype), .sin = doubled.sin().to(dtype)};
}

std::vector<std::array<std::int64_t, 2>> patch_coordinates(const ImageGrid& grid,
                                                           std::int64_t spatial_merge_size) {
  const std::int64_t merge = spatial_merge_size;
  std::vector<std::array<std::int64_t, 2>> coordinates;
  coordinates.reserve(static_cast<std::size_t>(grid.patches()));
  for (std::int64_t frame = 0; frame < grid.t; ++frame) {
    for (std::int64_t block_row = 0; block_row < grid.h; block_row += merge) {
      for (std::int64_t block_column = 0; block_column < grid.w; block_column += merge) {
        for (std::int64_t row = block_row; row < block_row + merge; ++row) {
          for (std::int64_t column = block_column; column < block_column + merge; ++column) {
            coordinates.push_back({row, column});
          }
        }
      }
    }
  }
  return coordinates;
}

Rotary vision_rotary(const VisionConfig& config, std::span<const ImageGrid> grids,
                     const at::Device& device) {
  std::vector<std::array<std::int64_t, 2>> coordinates;
  for (const ImageGrid& grid : grids) {
    const auto own = patch_coordinates(grid, config.spatial_merge_size);
    coordinates.insert(coordinates.end(), own.begin(), own.end());
  }
  const std::int64_t head_dim = config.hidden_size / config.num_heads;
  const auto positions =
      at::from_blob(coordinates.data(), {std::ssize(coordinates), 2}, at::kLong).to(at::kFloat);
  const auto frequencies = inverse_frequencies(config.rope_theta, head_dim / 2);
  // [N, 2, head_dim / 4] -> rows' angles, then columns': [N, head_dim / 2]
  const auto angles = (positions.unsqueeze(-1) * frequencies).flatten(1);
  const auto doubled = at::cat({angles, angles}, -1);
  return {.cos = doubled.cos().to(device), .sin = doubled.sin().to(device)};
}

}  // namespace espalier
