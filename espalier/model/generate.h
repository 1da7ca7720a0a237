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

/// Generates an answer for each of several samples: all prompts in one pass, then one token a step
/// for each sample that is not done. What `generate` gives for each sample alone, up to rounding:
/// every sample has draws of its own from the options' seed.
///
/// \param input        packed samples, without shared prefixes
/// \param options      without `on_token`
/// \return             one list a sample, in their order
/// \throws InputError  as `generate` does, of any sample
std::vector<std::vector<std::int64_t>> generate_batch(const Qwen3VL& model, const ModelInput& input,
                                                      const GenerateOptions& options);

/// One more token of a sample.
struct NextToken {
  std::int64_t id;
  std::int64_t cached;      ///< tokens of the sample before it
  std::int64_t rope_delta;  ///< of the sample
};

/// The input of one more token a sample.
ModelInput next_input(const std::vector<NextToken>& tokens);

}  // namespace espalier
