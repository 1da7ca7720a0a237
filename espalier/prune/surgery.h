// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "espalier/checkpoint/model_directory.h"
#include "espalier/records/plan.h"

namespace espalier {

/// How a pruned checkpoint is written.
struct SurgeryOptions {
  /// The most bytes of tensors in one file; without it as the base is: one file, or shards of at
  /// most the base's largest.
  std::optional<std::uint64_t> max_file_bytes;
  std::vector<std::string> data;  ///< lines for the card: what the ranking was made from
  bool force = false;             ///< replace an existing folder
};

/// What lies beside the weights that were written.
struct SurgeryResult {
  std::vector<std::filesystem::path> not_copied;  ///< weights in other formats, relative
};

/// Writes a checkpoint directory without the layers that the plan removes, whole or not at all:
/// weights under contiguous layer numbers, config.json in the style that came in, the base's side
/// files, espalier.json, a model card, mergekit.yaml and SHA256SUMS. Weights are streamed: memory
/// does not grow with the model. A copy of tied embeddings that stands as a head beside them is
/// left out.
///
/// \param base         the model that the plan was completed for, a directory or a plan file
/// \throws InputError  if the folder exists (without force), lies in the base or around it, or
///                     cannot be written; for a side file that cannot be read
SurgeryResult prune_checkpoint(const ModelDirectory& base, const Plan& plan,
                               const std::filesystem::path& out, const SurgeryOptions& options);

}  // namespace espalier
