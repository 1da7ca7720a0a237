// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "espalier/cli/session.h"

namespace espalier::test {

/// The small checkpoints below tests/fixtures/models, each with the reference's values.
inline const std::vector<std::string> kModels = {"gqa_tied", "mha_resaved", "sharded_bf16",
                                                 "long_text"};

/// What the released models' preprocessor_config.json says.
inline constexpr PreprocessorConfig kReleasedPreprocessor{.min_pixels = 65536,
                                                          .max_pixels = 16777216,
                                                          .patch_size = 16,
                                                          .temporal_patch_size = 2,
                                                          .merge_size = 2,
                                                          .image_mean = {0.5, 0.5, 0.5},
                                                          .image_std = {0.5, 0.5, 0.5}};

/// A small checkpoint, opened, and the sample that the reference ran on it.
struct ModelFixture {
  Session session;
  ModelInput input;
  std::int64_t max_new_tokens;
  std::map<std::string, at::Tensor> expected;  ///< the reference's values, by the trace's names
};

/// Every tensor of a safetensors file, by name.
std::map<std::string, at::Tensor> read_tensors(const std::filesystem::path& path);

/// \param dtype  "float32", "bfloat16", or empty: as the checkpoint is stored
ModelFixture open_fixture(const std::string& name, const std::string& dtype = "");

/// The largest difference, in units of the expected tensor's root mean square.
double relative_difference(const at::Tensor& found, const at::Tensor& expected);

/// 1 - cosine of the angle between two tensors.
double cosine_distance(const at::Tensor& found, const at::Tensor& expected);

}  // namespace espalier::test
