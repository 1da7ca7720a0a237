// SPDX-License-Identifier: Apache-2.0
#include "espalier/train/vision_cache.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

#include "espalier/base/error.h"
#include "espalier/base/hash.h"
#include "espalier/base/safetensors.h"
#include "espalier/model/load.h"
#include "espalier/model/tensors.h"

namespace espalier {

namespace {

namespace fs = std::filesystem;

std::span<const std::byte> bytes_of_number(const std::int64_t& number) {
  return std::as_bytes(std::span(&number, 1));
}

/// What decides the features besides the picture: the tower's weights and the type it runs in.
std::string name_of(const Qwen3VL& model) {
  VisionTower tower = model.visual;
  Sha256 hash;
  hash.update(at::toString(model.dtype()));
  visit_tensors(tower, [&](const std::string&, at::Tensor& tensor) {
    if (tensor.defined()) hash.update(bytes_of(tensor.cpu().contiguous()));
  });
  return hash.finish().substr(0, 32);
}

/// Every number of the features, one under another: the decoder's input, then the DeepStack levels.
std::vector<at::Tensor> levels_of(const VisionFeatures& features) {
  std::vector<at::Tensor> levels{features.image_embeds};
  levels.insert(levels.end(), features.deepstack.begin(), features.deepstack.end());
  return levels;
}

/// The rows [begin, begin + count) of all levels.
VisionFeatures rows_of(const VisionFeatures& features, std::int64_t begin, std::int64_t count) {
  VisionFeatures rows{.image_embeds = features.image_embeds.narrow(0, begin, count),
                      .deepstack = {}};
  for (const at::Tensor& level : features.deepstack) {
    rows.deepstack.push_back(level.narrow(0, begin, count));
  }
  return rows;
}

/// Features that were kept; nothing where there are none of that shape.
std::optional<VisionFeatures> read_features(const fs::path& file,
                                            const std::vector<std::int64_t>& shape,
                                            const at::TensorOptions& options) {
  if (!path_exists(file)) return std::nullopt;
  try {
    const SafetensorsFile stored(file);
    const TensorInfo& info = stored.tensors().at("features");
    if (info.shape != shape || scalar_type_of(info.dtype) != options.dtype().toScalarType()) {
      return std::nullopt;
    }
    at::Tensor features = at::empty(shape, options.device(at::kCPU));
    const auto bytes = stored.bytes("features");
    std::memcpy(features.mutable_data_ptr(), bytes.data(), bytes.size());
    features = features.to(options.device());
    VisionFeatures read{.image_embeds = features[0], .deepstack = {}};
    for (std::int64_t level = 1; level < shape.front(); ++level) {
      read.deepstack.push_back(features[level]);
    }
    return read;
  } catch (const std::exception&) {
    return std::nullopt;  // a broken file is made again
  }
}

std::uint64_t size_of(const fs::path& folder) {
  std::uint64_t bytes = 0;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    std::error_code gone;
    if (entry.is_regular_file(gone)) bytes += entry.file_size(gone);
  }
  return bytes;
}

/// A picture of a pack: where its patches and its visual tokens lie, and what its file is called.
struct Picture {
  std::int64_t patch;
  std::int64_t row;
  std::int64_t rows;
  std::string name;
};

std::vector<Picture> pictures_of(const Qwen3VL& model, const ModelInput& input) {
  const std::int64_t merge = model.config.vision.spatial_merge_size;
  const at::Tensor pixels = input.pixel_values.cpu().contiguous();
  std::vector<Picture> pictures;
  std::int64_t patch = 0;
  std::int64_t row = 0;
  for (const ImageGrid& grid : input.grids) {
    const std::int64_t rows = grid.patches() / (merge * merge);
    const auto hash =
        xxh3_128({bytes_of_number(grid.t), bytes_of_number(grid.h), bytes_of_number(grid.w),
                  bytes_of(pixels.narrow(0, patch, grid.patches()))});
    pictures.push_back({.patch = patch, .row = row, .rows = rows, .name = to_hexadecimal(hash)});
    patch += grid.patches();
    row += rows;
  }
  return pictures;
}

}  // namespace

VisionCache::VisionCache(const fs::path& folder, std::uint64_t most_bytes, const Qwen3VL& model)
    : folder_(folder / name_of(model)), most_bytes_(most_bytes) {
  std::error_code error;
  fs::create_directories(folder_, error);
  require(!error, "--cache-vision {}: cannot be made: {}", folder_.string(), error.message());
  bytes_ = size_of(folder);
}

VisionCache::Counts VisionCache::counts() const {
  return {.read = read_, .made = made_, .not_kept = not_kept_};
}

void VisionCache::keep(const fs::path& file, const VisionFeatures& features) {
  const at::Tensor stacked = at::stack(levels_of(features)).cpu();
  if (bytes_ + stacked.nbytes() > most_bytes_) {
    ++not_kept_;
    return;
  }
  try {
    const DType dtype = stacked.scalar_type() == at::kFloat ? DType::F32 : DType::BF16;
    SafetensorsWriter writer(file,
                             {{.name = "features", .dtype = dtype, .shape = stacked.sizes().vec()}},
                             /*force=*/true);
    writer.write(bytes_of(stacked));
    writer.finish();
    bytes_ += stacked.nbytes();
  } catch (const InputError&) {
    ++not_kept_;  // a full disk must not end a training that can go on without
  }
}

VisionFeatures VisionCache::features(const Qwen3VL& model, const ModelInput& input) {
  const c10::AutoGradMode no_grad(false);
  const std::vector<Picture> pictures = pictures_of(model, input);
  const std::int64_t levels = 1 + std::ssize(model.visual.deepstack_merger_list);
  const auto options = model.visual.pos_embed.options();
  std::vector<VisionFeatures> features(pictures.size());
  std::vector<std::size_t> missing;
  for (std::size_t i = 0; i < pictures.size(); ++i) {
    auto kept = read_features(folder_ / (pictures[i].name + ".safetensors"),
                              {levels, pictures[i].rows, model.config.text.hidden_size}, options);
    if (kept) {
      features[i] = std::move(*kept);
    } else {
      missing.push_back(i);
    }
  }
  read_ += std::ssize(pictures) - std::ssize(missing);
  made_ += std::ssize(missing);
  if (!missing.empty()) {
    std::vector<at::Tensor> pixels;
    std::vector<ImageGrid> grids;
    for (const std::size_t i : missing) {
      grids.push_back(input.grids[i]);
      pixels.push_back(input.pixel_values.narrow(0, pictures[i].patch, grids.back().patches()));
    }
    const VisionFeatures made =
        encode_images(model.visual, model.config.vision, at::cat(pixels), grids);
    std::int64_t row = 0;
    for (const std::size_t i : missing) {
      features[i] = rows_of(made, row, pictures[i].rows);
      row += pictures[i].rows;
      keep(folder_ / (pictures[i].name + ".safetensors"), features[i]);
    }
  }
  std::vector<std::vector<at::Tensor>> parts(static_cast<std::size_t>(levels));
  for (const VisionFeatures& picture : features) {
    const auto own = levels_of(picture);
    for (std::size_t level = 0; level < own.size(); ++level) parts[level].push_back(own[level]);
  }
  VisionFeatures joined{.image_embeds = at::cat(parts[0]), .deepstack = {}};
  for (std::size_t level = 1; level < parts.size(); ++level) {
    joined.deepstack.push_back(at::cat(parts[level]));
  }
  return joined;
}

}  // namespace espalier
