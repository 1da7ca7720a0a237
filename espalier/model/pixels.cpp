// SPDX-License-Identifier: Apache-2.0
#include "espalier/model/pixels.h"

#include <ATen/ATen.h>

namespace espalier {

namespace {

/// mean or std of the three channels, scaled to pixel values: [3, 1, 1] float32.
at::Tensor channel_constants(const std::array<double, 3>& values) {
  const auto as_float = at::tensor(at::ArrayRef<double>(values), at::kFloat);
  return as_float.mul(1.0 / (1.0 / 255.0)).view({3, 1, 1});  // times 1 / rescale_factor, as there
}

}  // namespace

at::Tensor resize(const Image& image, Size target) {
  const auto interleaved = at::from_blob(const_cast<std::uint8_t*>(image.rgb.data()),
                                         {image.height, image.width, 3}, at::kByte);
  const auto planar = interleaved.permute({2, 0, 1}).contiguous();
  if (target == Size{image.width, image.height}) return planar;
  return at::_upsample_bicubic2d_aa(planar.unsqueeze(0), {target.height, target.width},
                                    /*align_corners=*/false)
      .squeeze(0);
}

at::Tensor to_patches(const at::Tensor& pixels, const PreprocessorConfig& config) {
  const std::int64_t patch = config.patch_size;
  const std::int64_t merge = config.merge_size;
  const std::int64_t block_rows = pixels.size(1) / (patch * merge);
  const std::int64_t block_columns = pixels.size(2) / (patch * merge);
  const auto normalized = pixels.to(at::kFloat)
                              .sub(channel_constants(config.image_mean))
                              .div(channel_constants(config.image_std));
  // [c, by, iy, py, bx, ix, px] -> [by, bx, iy, ix, c, tt, py, px]
  return normalized.view({3, block_rows, merge, patch, block_columns, merge, patch})
      .permute({1, 4, 2, 5, 0, 3, 6})
      .unsqueeze(5)
      .expand({-1, -1, -1, -1, -1, config.temporal_patch_size, -1, -1})
      .reshape({block_rows * block_columns * merge * merge,
                3 * config.temporal_patch_size * patch * patch});
}

}  // namespace espalier
