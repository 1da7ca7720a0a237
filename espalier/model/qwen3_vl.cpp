// SPDX-License-Identifier: Apache-2.0
#include "espalier/model/qwen3_vl.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "espalier/base/error.h"
#include "espalier/model/kernels.h"
#include "espalier/model/pixels.h"

namespace espalier {

namespace {

at::Tensor to_tensor(const std::vector<std::int64_t>& values) {
  return at::tensor(at::ArrayRef<std::int64_t>(values), at::kLong);
}

/// The rows of placeholders, and the pictures' features that belong there.
struct VisualRows {
  at::Tensor rows;  ///< [M] int64
  VisionFeatures features;
};

VisualRows encode_visual_rows(const Qwen3VL& model, const ModelInput& input, const at::Tensor& ids,
                              const StageObserver& observe) {
  VisualRows visual;
  visual.rows = (ids == model.config.image_token_id).nonzero().squeeze(-1);
  visual.features =
      encode_images(model.visual, model.config.vision, input.pixel_values, input.grids, observe);
  require(visual.rows.size(0) == visual.features.image_embeds.size(0),
          "forward: {} placeholder tokens but {} visual tokens", visual.rows.size(0),
          visual.features.image_embeds.size(0));
  return visual;
}

}  // namespace

Qwen3VL keep_layers(const Qwen3VL& model, std::span<const std::int64_t> kept) {
  Qwen3VL some = model;
  some.language_model.layers.clear();
  for (const std::int64_t layer : kept) {
    some.language_model.layers.push_back(
        model.language_model.layers.at(static_cast<std::size_t>(layer)));
  }
  some.config.text.num_hidden_layers = std::ssize(kept);
  return some;
}

ModelInput to_input(const std::vector<EncodedExample>& examples, const Qwen3VLConfig& config,
                    const PreprocessorConfig& preprocessor) {
  const VisionConfig& vision = config.vision;
  require(preprocessor.patch_size == vision.patch_size &&
              preprocessor.merge_size == vision.spatial_merge_size &&
              preprocessor.temporal_patch_size == vision.temporal_patch_size,
          "preprocessor_config.json: patches of {}x{}x{} merged by {}, but config.json's vision "
          "tower takes {}x{}x{} merged by {}",
          preprocessor.temporal_patch_size, preprocessor.patch_size, preprocessor.patch_size,
          preprocessor.merge_size, vision.temporal_patch_size, vision.patch_size, vision.patch_size,
          vision.spatial_merge_size);
  ModelInput input;
  std::vector<std::int64_t> ids;
  std::array<std::vector<std::int64_t>, 3> axes;
  std::vector<at::Tensor> patches;
  for (const EncodedExample& example : examples) {
    const Positions positions = rope_positions(example.ids, example.grids, config.image_token_id,
                                               vision.spatial_merge_size);
    const auto begin = std::ssize(ids);
    ids.insert(ids.end(), example.ids.begin(), example.ids.end());
    for (std::size_t axis = 0; axis < 3; ++axis) {
      axes[axis].insert(axes[axis].end(), positions.axes[axis].begin(), positions.axes[axis].end());
    }
    input.segments.push_back({.begin = begin, .end = std::ssize(ids)});
    input.rope_delta.push_back(positions.delta);
    for (std::size_t image = 0; image < example.images.size(); ++image) {
      patches.push_back(
          to_patches(resize(example.images[image], example.target_sizes[image]), preprocessor));
      input.grids.push_back(example.grids[image]);
    }
  }
  input.input_ids = to_tensor(ids);
  input.position_ids = at::stack({to_tensor(axes[0]), to_tensor(axes[1]), to_tensor(axes[2])});
  if (!patches.empty()) input.pixel_values = at::cat(patches);
  return input;
}

at::Tensor forward(const Qwen3VL& model, const ModelInput& input, const ForwardOptions& options) {
  const auto ids = input.input_ids.to(model.device());
  KvCache* cache = options.cache;
  const std::int64_t cached = cache == nullptr ? 0 : cache->length;
  require(cache == nullptr || cached + ids.size(0) <= cache->capacity,
          "forward: {} tokens after {} do not fit into a cache of {}", ids.size(0), cached,
          cache == nullptr ? 0 : cache->capacity);

  at::Tensor hidden = model.language_model.embed_tokens.index_select(0, ids);
  VisualRows visual;
  if (input.pixel_values.defined()) {
    visual = encode_visual_rows(model, input, ids, options.observe_stage);
    hidden = hidden.index_copy(0, visual.rows, visual.features.image_embeds);
  }
  if (options.observe_stage) options.observe_stage("inputs_embeds", hidden);

  const TextConfig& config = model.config.text;
  const Rotary rotary =
      text_rotary(config, input.position_ids.to(model.device()), hidden.scalar_type());
  const LayerContext context{
      .config = config, .rotary = rotary, .segments = input.segments, .cached = cached};
  const auto& layers = model.language_model.layers;
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const LayerStates states =
        forward_layer(layers[i], context, hidden, cache == nullptr ? nullptr : &cache->layers[i]);
    if (options.observe_layer) {
      options.observe_layer(
          static_cast<std::int64_t>(i),
          {.input = hidden, .after_attention = states.after_attention, .output = states.output});
    }
    hidden = states.output;
    // DeepStack counts places in the stack, not layers of an unpruned model.
    if (i < visual.features.deepstack.size()) {
      hidden = hidden.index_add(0, visual.rows, visual.features.deepstack[i]);
    }
  }
  if (cache != nullptr) cache->length += ids.size(0);
  return hidden;
}

at::Tensor final_norm(const Qwen3VL& model, const at::Tensor& hidden) {
  return rms_norm(hidden, model.language_model.norm, model.config.text.rms_norm_eps);
}

at::Tensor head(const Qwen3VL& model, const at::Tensor& normalized) {
  return apply(model.lm_head, normalized);
}

}  // namespace espalier
