// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "espalier/base/safetensors.h"

namespace espalier {

/// The one entry of config.json's `architectures` that we implement.
inline constexpr const char* kArchitecture = "Qwen3VLForConditionalGeneration";

/// The decoder. Fields are config.json's keys (`text_config`); none has a default, since a
/// missing key that is filled silently makes a wrong model run.
struct TextConfig {
  std::int64_t vocab_size;
  std::int64_t hidden_size;
  std::int64_t intermediate_size;
  std::int64_t num_hidden_layers;
  std::int64_t num_attention_heads;
  std::int64_t num_key_value_heads;
  std::int64_t head_dim;  ///< read, never derived: heads * head_dim need not be hidden_size
  std::int64_t max_position_embeddings;
  double rms_norm_eps;
  double rope_theta;
  std::array<std::int64_t, 3> mrope_section;  ///< frequencies of the axes T, H, W
  bool operator==(const TextConfig&) const = default;
};

/// The vision tower (`vision_config`).
struct VisionConfig {
  std::int64_t depth;
  std::int64_t hidden_size;
  std::int64_t intermediate_size;
  std::int64_t num_heads;
  std::int64_t in_channels;
  std::int64_t patch_size;
  std::int64_t temporal_patch_size;
  std::int64_t spatial_merge_size;
  std::int64_t num_position_embeddings;  ///< a square number: side * side
  std::int64_t out_hidden_size;          ///< equals the decoder's hidden_size
  double rope_theta;                     ///< 10000 where the released style has no key
  std::vector<std::int64_t> deepstack_visual_indexes;  ///< vision blocks, ascending
  bool operator==(const VisionConfig&) const = default;
};

/// A Qwen3-VL model. Both styles of config.json give the same value: the released one
/// (rope_scaling + rope_theta) and the one that transformers 5 saves (rope_parameters).
struct Qwen3VLConfig {
  TextConfig text;
  VisionConfig vision;
  bool tie_word_embeddings;
  DType dtype;  ///< the declared type of the weights
  std::int64_t image_token_id;
  std::int64_t video_token_id;
  std::int64_t vision_start_token_id;
  std::int64_t vision_end_token_id;
  bool operator==(const Qwen3VLConfig&) const = default;
};

/// Reads a configuration and refuses what we would compute wrongly: another architecture, missing
/// or unknown keys, another rope type, `mrope_interleaved: false`, both rope styles that disagree,
/// tie flags that disagree, DeepStack indexes that are unsorted or beyond the depth, per-layer
/// lists of another length than the layers, quantization.
///
/// \param source       what to call it in errors
/// \throws InputError  naming source, key, what was wanted and what was found
Qwen3VLConfig parse_config(const nlohmann::json& json, const std::string& source);

/// Everything that parse_config refuses in a configuration, one message each; empty if nothing.
std::vector<std::string> config_problems(const nlohmann::json& json, const std::string& source);

/// Reads `config.json` of a checkpoint directory.
Qwen3VLConfig read_config(const std::filesystem::path& folder);

/// The configuration as a config.json in the released style, which transformers 4.57 and 5, vLLM
/// and llama.cpp read.
nlohmann::json to_json(const Qwen3VLConfig& config);

/// How the names of a decoder layer's tensors begin: "model.language_model.layers.3.".
std::string layer_prefix(std::int64_t layer);

/// The decoder layer that a tensor belongs to, by its name; none for any other tensor.
std::optional<std::int64_t> layer_of_tensor(std::string_view name);

/// A tensor that a checkpoint of this configuration must have.
struct ExpectedTensor {
  std::string name;
  std::vector<std::int64_t> shape;
  bool operator==(const ExpectedTensor&) const = default;
};

/// Every tensor of a model, in the order of the forward pass. A tied head is not among them.
std::vector<ExpectedTensor> expected_tensors(const Qwen3VLConfig& config);

/// Parameters: the elements of all expected tensors.
std::int64_t count_parameters(const Qwen3VLConfig& config);

}  // namespace espalier
