// SPDX-License-Identifier: Apache-2.0
#include "espalier/cli/describe.h"

#include <nlohmann/json.hpp>

namespace espalier {

namespace {

std::uint64_t weight_bytes(const ModelDirectory& model) {
  std::uint64_t total = 0;
  for (const std::string& name : model.weights.names()) total += model.weights.bytes(name).size();
  return total;
}

/// How a model was pruned, in short.
nlohmann::json describe(const Plan& plan) {
  return {{"base", plan.base_name},
          {"base_layers", plan.num_layers},
          {"removed", plan.removed},
          {"kept_original", plan.kept_original}};
}

}  // namespace

nlohmann::json describe(const ModelDirectory& model) {
  const TextConfig& text = model.config.text;
  const VisionConfig& vision = model.config.vision;
  nlohmann::json report = {{"architecture", kArchitecture},
                           {"dtype", name_of(model.config.dtype)},
                           {"parameters", count_parameters(model.config)},
                           {"tensors", model.weights.names().size()},
                           {"weight_bytes", weight_bytes(model)},
                           {"files", model.weights.files().size()},
                           {"fingerprint", fingerprint(model)},
                           {"tie_word_embeddings", model.config.tie_word_embeddings},
                           {"decoder",
                            {{"layers", text.num_hidden_layers},
                             {"hidden_size", text.hidden_size},
                             {"intermediate_size", text.intermediate_size},
                             {"heads", text.num_attention_heads},
                             {"kv_heads", text.num_key_value_heads},
                             {"head_dim", text.head_dim},
                             {"vocab_size", text.vocab_size}}},
                           {"vision",
                            {{"blocks", vision.depth},
                             {"hidden_size", vision.hidden_size},
                             {"intermediate_size", vision.intermediate_size},
                             {"heads", vision.num_heads},
                             {"deepstack_visual_indexes", vision.deepstack_visual_indexes}}}};
  if (model.plan) report["pruned"] = describe(*model.plan);
  return report;
}

}  // namespace espalier
