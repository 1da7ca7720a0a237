// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <vector>

namespace espalier {

/// How pictures are prepared: preprocessor_config.json, or the image_processor inside
/// processor_config.json as transformers 5 saves it.
struct PreprocessorConfig {
  std::int64_t min_pixels;  ///< shortest_edge in the file, an area all the same
  std::int64_t max_pixels;  ///< longest_edge in the file
  std::int64_t patch_size;
  std::int64_t temporal_patch_size;
  std::int64_t merge_size;
  std::array<double, 3> image_mean;
  std::array<double, 3> image_std;
  bool operator==(const PreprocessorConfig&) const = default;
};

/// \throws InputError if both files are missing, a key is, or a key asks for a step that we do not
///                    do (no resizing, another resampling, another rescale factor)
PreprocessorConfig read_preprocessor_config(const std::filesystem::path& folder);

/// How answers are drawn: generation_config.json. A missing key has the reference's default.
struct GenerationConfig {
  std::vector<std::int64_t> eos_token_ids;
  bool do_sample = false;
  double temperature = 1.0;
  std::int64_t top_k = 50;  ///< 0: off
  double top_p = 1.0;
  double repetition_penalty = 1.0;
  bool operator==(const GenerationConfig&) const = default;
};

/// \throws InputError for a missing file, no end token, or a key that would change the answers and
///                    that we do not implement
GenerationConfig read_generation_config(const std::filesystem::path& folder);

}  // namespace espalier
