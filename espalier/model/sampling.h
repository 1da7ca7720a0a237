// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "espalier/base/random.h"

namespace espalier {

/// How the next token is drawn from the logits.
struct SamplingOptions {
  bool do_sample = false;           ///< false: the largest logit, the first of equals
  double temperature = 1.0;         ///< > 0
  std::int64_t top_k = 0;           ///< 0: off; ties of the k-th are kept, as in the reference
  double top_p = 1.0;               ///< in (0, 1]; 1: off
  double repetition_penalty = 1.0;  ///< 1: off; applies to greedy decoding too
};

/// \throws InputError naming the option that is out of range
void check(const SamplingOptions& options);

/// The next token, by the reference's chain: repetition penalty, temperature, top-k, top-p,
/// softmax, one draw.
///
/// \param logits  one a token of the vocabulary; changed in place
/// \param seen    all ids of the prompt and the answer so far
std::int64_t next_token(std::span<float> logits, std::span<const std::int64_t> seen,
                        const SamplingOptions& options, Random& random);

/// What next_token draws from: probabilities after the whole chain, 0 where a token was cut off.
std::vector<double> sampling_probabilities(std::span<float> logits,
                                           std::span<const std::int64_t> seen,
                                           const SamplingOptions& options);

}  // namespace espalier
