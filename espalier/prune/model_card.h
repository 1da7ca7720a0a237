// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "espalier/base/safetensors.h"
#include "espalier/records/plan.h"

namespace espalier {

/// What a model card takes from elsewhere than the plan.
struct CardOptions {
  std::string name;                  ///< the pruned model's
  std::vector<std::string> licence;  ///< lines of the YAML head about the licence; may be empty
  std::vector<std::string> data;     ///< what the ranking was made from; may be empty
};

/// The lines `license`, `license_name` and `license_link` of the YAML head of a folder's README.md,
/// as they stand there; none where there is no README.md, no head, or no such line.
std::vector<std::string> read_licence(const std::filesystem::path& folder);

/// README.md of a pruned model: what was removed and how it was chosen, sizes, how to make it again
/// and how to load it. Speed and scores are "not measured".
std::string model_card(const Plan& plan, const CardOptions& options);

/// What `verify --time` measured of a base and its pruned model.
struct CardSpeed {
  std::string conditions;             ///< device, type, threads, prompt
  double first_token_seconds_before;  ///< medians
  double first_token_seconds_after;
  double tokens_per_second_before;
  double tokens_per_second_after;
};

/// A model card with its speed table filled in, in place of what stands there.
///
/// \throws InputError  if the card has no place for it
std::string with_speed(const std::string& card, const CardSpeed& speed);

/// What `eval` found of a model.
struct CardScores {
  std::string conditions;  ///< the model's fingerprint, questions, answers' length
  struct Row {
    std::string domain;
    std::int64_t correct;
    std::int64_t count;
    double accuracy;  ///< a share, as its interval
    double low;
    double high;
    std::optional<double> before;  ///< the model that it is held against
  };
  std::vector<Row> rows;
};

/// A model card with its table of scores filled in, in place of what stands there.
///
/// \throws InputError  if the card has no place for it
std::string with_scores(const std::string& card, const CardScores& scores);

/// Changes a checkpoint folder's README.md, and its checksum in the list.
///
/// \throws InputError  for a missing card or list, a full disk, or as `change` does
void update_card(const std::filesystem::path& folder,
                 const std::function<std::string(const std::string& card)>& change);

/// A recipe by which mergekit makes the same model from the base: slices of half-open ranges.
///
/// \param base  what mergekit shall load
/// \param kept  ascending layers of that base
std::string mergekit_recipe(const std::string& base, std::span<const std::int64_t> kept,
                            DType dtype);

}  // namespace espalier
