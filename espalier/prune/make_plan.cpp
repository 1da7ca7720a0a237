// SPDX-License-Identifier: Apache-2.0
#include "espalier/prune/make_plan.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "espalier/base/error.h"

namespace espalier {

namespace {

using Layers = std::vector<std::int64_t>;

void check_removed(const Layers& removed, const Layers& protected_ones, std::int64_t num_layers) {
  require(!removed.empty(), "layers to remove: wanted at least one, found none");
  const auto twice = std::ranges::adjacent_find(removed);
  require(twice == removed.end(), "layers to remove: wanted each once, found {} twice",
          twice == removed.end() ? 0 : *twice);
  for (const std::int64_t layer : removed) {
    require(layer >= 0 && layer < num_layers,
            "layers to remove: wanted layers from 0 to {}, found {}", num_layers - 1, layer);
    const bool is_edge = layer == 0 || layer == num_layers - 1;
    require(!std::ranges::binary_search(protected_ones, layer),
            "layers to remove: layer {} is protected: {}", layer,
            is_edge ? "the first layer reads the embeddings and the last one feeds the head, and "
                      "both always stay"
                    : "leave it out, or out of --protect");
  }
}

Layers every_layer(std::int64_t num_layers) {
  Layers layers(static_cast<std::size_t>(num_layers));
  std::iota(layers.begin(), layers.end(), std::int64_t{0});
  return layers;
}

/// The base's layers in the numbers of the model that was never pruned.
Layers original_numbers(const ModelDirectory& base) {
  return base.plan ? base.plan->kept_original : every_layer(base.config.text.num_hidden_layers);
}

Layers renumbered(const Layers& layers, const Layers& numbers) {
  Layers result;
  for (const std::int64_t layer : layers) {
    result.push_back(numbers[static_cast<std::size_t>(layer)]);
  }
  return result;
}

BeforeAfter parameters_of(const Qwen3VLConfig& before, std::int64_t layers_after) {
  Qwen3VLConfig after = before;
  after.text.num_hidden_layers = layers_after;
  return {.before = count_parameters(before), .after = count_parameters(after)};
}

std::vector<Plan> lineage_of(const ModelDirectory& base) {
  if (!base.plan) return {};
  Plan last = *base.plan;
  std::vector<Plan> lineage = std::exchange(last.lineage, {});
  last.base_path.clear();  // says where it lay for that plan alone
  lineage.push_back(std::move(last));
  return lineage;
}

}  // namespace

Layers protected_layers(std::int64_t num_layers, std::span<const std::int64_t> added) {
  Layers layers = {0, num_layers - 1};
  for (const std::int64_t layer : added) {
    require(layer >= 0 && layer < num_layers, "--protect: layer {}: the model has layers 0 to {}",
            layer, num_layers - 1);
    layers.push_back(layer);
  }
  std::ranges::sort(layers);
  const auto rest = std::ranges::unique(layers);
  layers.erase(rest.begin(), rest.end());
  return layers;
}

Plan complete_plan(const ModelDirectory& base, Plan choice) {
  Plan plan = std::move(choice);
  plan.num_layers = base.config.text.num_hidden_layers;
  std::ranges::sort(plan.removed);
  check_removed(plan.removed, plan.protected_layers, plan.num_layers);
  plan.kept.clear();
  std::ranges::set_difference(every_layer(plan.num_layers), plan.removed,
                              std::back_inserter(plan.kept));
  const Layers original = original_numbers(base);
  plan.removed_original = renumbered(plan.removed, original);
  plan.kept_original = renumbered(plan.kept, original);
  plan.k = std::ssize(plan.removed);
  plan.base_fingerprint = fingerprint(base);
  // Feature i is added after the layer at place i, so that what goes from these places shifts it.
  plan.deepstack_shift =
      plan.removed.front() < std::ssize(base.config.vision.deepstack_visual_indexes);
  plan.parameters = parameters_of(base.config, std::ssize(plan.kept));
  const auto width = static_cast<std::int64_t>(size_in_bytes(base.config.dtype));
  plan.bytes = {.before = plan.parameters.before * width, .after = plan.parameters.after * width};
  plan.lineage = lineage_of(base);
  return plan;
}

}  // namespace espalier
