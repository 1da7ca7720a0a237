// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "espalier/checkpoint/model_directory.h"
#include "espalier/model/qwen3_vl.h"
#include "espalier/records/plan.h"

namespace espalier {

/// One thing that was looked at.
struct Check {
  std::string name;
  std::vector<std::string> problems;  ///< what is wrong, a message each; none: it passed
  std::string note;                   ///< what was compared, e.g. "713 tensors"; may be empty
  bool operator==(const Check&) const = default;

  [[nodiscard]] bool passed() const { return problems.empty(); }
};

/// Holds the files of a pruned directory against the base and the plan: the plan's base, the
/// checksums, config.json, the index, every byte of every tensor, the side files. A broken file is
/// a problem of its check, not an error.
///
/// \param folder  a directory that `espalier prune` wrote
/// \param base    what it is held against
/// \param plan    the folder's espalier.json
std::vector<Check> verify_files(const std::filesystem::path& folder, const ModelDirectory& base,
                                const Plan& plan);

/// Whether the plan was made for this base: its fingerprint and its number of layers.
Check verify_base(const ModelDirectory& base, const Plan& plan);

/// A sample that both models answer.
struct VerifySample {
  std::string name;  ///< e.g. "picture prompt"
  ModelInput input;
};

/// What a model makes of one sample.
struct ModelAnswer {
  at::Tensor logits;                      ///< [T, V] of the prompt, in the model's dtype
  std::vector<std::int64_t> ids;          ///< generated greedily over the cache, through end tokens
  std::vector<std::string> cache_faults;  ///< where generation without a cache disagrees
};

/// How a model is asked.
struct AnswerOptions {
  std::int64_t new_tokens = 4;
};

/// Runs a model on samples: the logits of the prompt, a greedy answer over the cache, and at each
/// of its steps the whole row once more without a cache, whose best token must be the same; where
/// two tokens are nearly tied, either will do, since sums run in another order.
std::vector<ModelAnswer> answer(const Qwen3VL& model, std::span<const VerifySample> samples,
                                const AnswerOptions& options = {});

/// Holds the answers of a pruned checkpoint against those of the base whose layers were skipped:
/// logits bit for bit and ids, and each model's cache. The lists go sample by sample.
std::vector<Check> verify_answers(std::span<const VerifySample> samples,
                                  std::span<const ModelAnswer> skipping,
                                  std::span<const ModelAnswer> pruned);

/// The speed of a base and of its pruned model, side by side: medians over runs in turn.
struct SpeedComparison {
  double first_token_seconds_before;
  double first_token_seconds_after;
  double tokens_per_second_before;  ///< after the first token
  double tokens_per_second_after;
};

/// How speed is measured.
struct SpeedOptions {
  int runs = 5;
  std::int64_t new_tokens = 16;
};

/// Measures both models on one sample, in turn, after one run each to warm up.
SpeedComparison compare_speed(const Qwen3VL& base, const Qwen3VL& pruned, const ModelInput& input,
                              const SpeedOptions& options = {});

}  // namespace espalier
