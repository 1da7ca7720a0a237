// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <string_view>

#include "espalier/checkpoint/config.h"

namespace espalier {

/// The configuration of a preset: "tiny", "small", "2b", "4b" or "8b".
///
/// \throws InputError naming the presets that there are
Qwen3VLConfig preset_config(std::string_view name);

/// Writes config.json, weights, preprocessor, video preprocessor and generation configurations of a
/// model with random weights into a folder that exists; the tokenizer and the chat template are not
/// its business. Matrices are normal with deviation 0.02, norms near 1, biases near 0 (so that a
/// mistake with one shows); one weight depends on seed and name alone, so that any part of a model
/// can be made again. Streamed, at most 5 GB a file.
void write_random_checkpoint(const std::filesystem::path& folder, const Qwen3VLConfig& config,
                             std::uint64_t seed);

}  // namespace espalier
