// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <map>
#include <string>

#include "espalier/checkpoint/model_directory.h"
#include "espalier/train/trained_model.h"

namespace espalier {

/// An adapter as PEFT stores it: `adapter_config.json` and `adapter_model.safetensors`.
struct Adapter {
  LoraOptions options;
  double scale = 0.0;  ///< alpha / r, or alpha / sqrt(r) for a rank-stabilized one
  std::map<std::string, at::Tensor> tensors;  ///< float32, by "{product}.lora_A.weight" and _B
  std::string base_fingerprint;               ///< of the model it was trained on; empty: not known
  std::string fingerprint;  ///< SHA-256 over its configuration and its weights' file
};

/// Reads an adapter directory. The keys of an adapter that was trained on the bare text model
/// (`base_model.model.model.layers...`) are understood too.
///
/// \throws InputError  for a missing or broken file, another method than LoRA, an option that would
///                     change what it computes and that we do not implement (DoRA, patterns of
///                     ranks, whole modules, biases), a tensor without its partner
Adapter read_adapter(const std::filesystem::path& folder);

/// Writes trained adapters as PEFT reads them, under the names of the pruned checkpoint's layers.
///
/// \param base_name  for `base_model_name_or_path`
void write_adapter(const std::filesystem::path& folder, const TrainedModel& trained,
                   const std::string& base_name, const std::string& base_fingerprint);

/// Puts an adapter on a model.
///
/// \param place        what to call the adapter in errors
/// \param fingerprint  the model's
/// \throws InputError  if it was made for another model: by its fingerprint, a layer that there is
///                     not, or a tensor's shape
void attach_adapter(Qwen3VL& model, const Adapter& adapter, const std::filesystem::path& place,
                    const std::string& fingerprint);

/// What merging did.
struct MergeReport {
  std::int64_t numbers = 0;  ///< of the products that have an adapter
  std::int64_t changed = 0;  ///< of these, different once rounded to the stored type
  double divergence = 0.0;   ///< mean KL from the adapted to the merged model's next token, nats
};

/// Writes the model with an adapter merged into its weights: W + scale * B A in float32, rounded
/// once to the stored type.
///
/// \param base         the model that the adapter was trained on
/// \throws InputError  if no weight changes by it, since such a merge loses the training; as
///                     attach_adapter and write_changed_checkpoint do
MergeReport merge_adapter(const ModelDirectory& base, const std::filesystem::path& adapter,
                          const std::filesystem::path& out, bool force);

/// Writes the model with its trained tensors, adapters merged.
///
/// \param card  Markdown that is added to the model card
MergeReport write_trained(const ModelDirectory& base, const TrainedModel& trained,
                          const std::filesystem::path& out, const std::string& card, bool force);

}  // namespace espalier
