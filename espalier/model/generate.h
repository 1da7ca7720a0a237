// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "espalier/model/qwen3_vl.h"
#include "espalier/model/sampling.h"

namespace espalier {

/// How an answer is generated.
struct GenerateOptions {
  std::int64_t max_new_tokens = 128;
  std::vector<std::int64_t> eos_token_ids;  ///< generation ends after one of these
  SamplingOptions sampling;
  std::uint64_t seed = 0;
  /// Called with each token as it is made, the end token too; false stops.
  std::function<bool(std::int64_t id)> on_token;
};

/// Generates an answer for one sample: the prompt in one pass, then token by token over the cache.
///
/// \param input        one sample
/// \return             the new tokens; the end token is the last where one was reached
/// \throws InputError  if prompt and answer exceed the model's max_position_embeddings
std::vector<std::int64_t> generate(const Qwen3VL& model, const ModelInput& input,
                                   const GenerateOptions& options);

/// The input of one more token after `cached` tokens of a sample.
ModelInput next_input(std::int64_t id, std::int64_t cached, std::int64_t rope_delta);

}  // namespace espalier
