// SPDX-License-Identifier: Apache-2.0
#include "espalier/probe/memory.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>

#include "espalier/base/error.h"
#include "espalier/base/files.h"

namespace espalier {

namespace {

std::uint64_t bytes_of(const Weights& weights, const std::vector<std::string>& names) {
  std::uint64_t bytes = 0;
  for (const std::string& name : names) bytes += weights.bytes(name).size();
  return bytes;
}

void release(const Weights& weights, const std::vector<std::string>& names) {
  for (const std::string& name : names) release_mapped_pages(weights.bytes(name));
}

}  // namespace

std::uint64_t resident_bytes() {
  std::ifstream file("/proc/self/statm");
  std::uint64_t all = 0;
  std::uint64_t resident = 0;
  file >> all >> resident;
  assume(static_cast<bool>(file), "Linux tells a process how much memory it has");
  return resident * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
}

WorkSize operator+(const WorkSize& first, const WorkSize& second) {
  return {.rows = first.rows + second.rows,
          .patches = first.patches + second.patches,
          .largest_picture = std::max(first.largest_picture, second.largest_picture)};
}

std::uint64_t pass_bytes(const Qwen3VLConfig& config, const WorkSize& size,
                         std::int64_t bytes_a_number) {
  const TextConfig& text = config.text;
  const VisionConfig& vision = config.vision;
  const std::int64_t merge = vision.spatial_merge_size * vision.spatial_merge_size;
  const std::int64_t levels = 1 + std::ssize(vision.deepstack_visual_indexes);
  // Every layer's input is kept for the windows; beside it stand one layer's own states.
  const std::int64_t attention =
      (2 * text.num_attention_heads + 3 * text.num_key_value_heads) * text.head_dim;
  const std::int64_t layer_row =
      std::max(6 * text.hidden_size + 3 * text.intermediate_size, 5 * text.hidden_size + attention);
  const std::int64_t kept_row = text.num_hidden_layers * text.hidden_size;
  const std::int64_t cosines_row = text.num_hidden_layers * text.num_hidden_layers * 4;
  const std::int64_t decoder = size.rows * ((kept_row + layer_row) * bytes_a_number + cosines_row);
  const std::int64_t features = size.patches / merge * levels * text.hidden_size * bytes_a_number;
  const std::int64_t pixels = size.patches * vision.in_channels * vision.temporal_patch_size *
                              vision.patch_size * vision.patch_size * 4;
  const std::int64_t together = std::max<std::int64_t>(size.largest_picture, 2048);
  const std::int64_t tower = std::min(together, size.patches) * bytes_a_number *
                             (10 * vision.hidden_size + 2 * vision.intermediate_size);
  const auto peak = static_cast<std::uint64_t>(features + pixels + std::max(decoder, tower));
  return peak + peak / 4;
}

WeightPages::WeightPages(const ModelDirectory& directory)
    : weights_(directory.weights),
      layers_(static_cast<std::size_t>(directory.config.text.num_hidden_layers)) {
  for (const std::string& name : weights_.names()) {
    if (name.starts_with("model.visual.")) vision_.push_back(name);
  }
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    const std::string prefix = fmt::format("model.language_model.layers.{}.", i);
    for (const std::string& name : weights_.names()) {
      if (name.starts_with(prefix)) layers_[i].push_back(name);
    }
  }
}

std::uint64_t WeightPages::touched_bytes(std::int64_t layers) const {
  std::uint64_t bytes = bytes_of(weights_, vision_);
  for (std::int64_t i = 0; i < layers; ++i) {
    bytes += bytes_of(weights_, layers_[static_cast<std::size_t>(i)]);
  }
  return bytes;
}

std::uint64_t WeightPages::streamed_bytes() const {
  // The first layer runs before the tower is given back.
  return bytes_of(weights_, vision_) + bytes_of(weights_, layers_.front());
}

void WeightPages::release_vision() const { release(weights_, vision_); }

void WeightPages::release_layer(std::int64_t layer) const {
  release(weights_, layers_[static_cast<std::size_t>(layer)]);
}

}  // namespace espalier
