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

void check_patches(const VisionConfig& vision, const PreprocessorConfig& preprocessor) {
  require(preprocessor.patch_size == vision.patch_size &&
              preprocessor.merge_size == vision.spatial_merge_size &&
              preprocessor.temporal_patch_size == vision.temporal_patch_size,
          "preprocessor_config.json: patches of {}x{}x{} merged by {}, but config.json's vision "
          "tower takes {}x{}x{} merged by {}",
          preprocessor.temporal_patch_size, preprocessor.patch_size, preprocessor.patch_size,
          preprocessor.merge_size, vision.temporal_patch_size, vision.patch_size, vision.patch_size,
          vision.spatial_merge_size);
}

/// Rows of samples, one after another, as they come.
class InputBuilder {
 public:
  InputBuilder(const Qwen3VLConfig& config, const PreprocessorConfig& preprocessor)
      : config_(config), preprocessor_(preprocessor) {
    check_patches(config.vision, preprocessor);
  }

  [[nodiscard]] Positions positions(const std::vector<std::int64_t>& ids,
                                    const std::vector<ImageGrid>& grids) const {
    return rope_positions(ids, grids, config_.image_token_id, config_.vision.spatial_merge_size);
  }

  /// Appends the tokens [begin, end) of a sample as a segment.
  void add_tokens(const std::vector<std::int64_t>& ids, const Positions& positions,
                  std::int64_t begin, std::int64_t end, Segment prefix = {}) {
    const auto append = [&](std::vector<std::int64_t>& to, const std::vector<std::int64_t>& from) {
      to.insert(to.end(), from.begin() + begin, from.begin() + end);
    };
    prefix.begin = std::ssize(ids_);
    append(ids_, ids);
    for (std::size_t axis = 0; axis < 3; ++axis) append(axes_[axis], positions.axes[axis]);
    prefix.end = std::ssize(ids_);
    input_.segments.push_back(prefix);
  }

  void add_pictures(const std::vector<Image>& images, const std::vector<Size>& target_sizes,
                    const std::vector<ImageGrid>& grids) {
    for (std::size_t i = 0; i < images.size(); ++i) {
      patches_.push_back(to_patches(resize(images[i], target_sizes[i]), preprocessor_));
      input_.grids.push_back(grids[i]);
    }
  }

  void add_rope_delta(std::int64_t delta) { input_.rope_delta.push_back(delta); }
  [[nodiscard]] const std::vector<Segment>& segments() const { return input_.segments; }

  ModelInput finish() {
    input_.input_ids = to_tensor(ids_);
    input_.position_ids =
        at::stack({to_tensor(axes_[0]), to_tensor(axes_[1]), to_tensor(axes_[2])});
    if (!patches_.empty()) input_.pixel_values = at::cat(patches_);
    return std::move(input_);
  }

 private:
  const Qwen3VLConfig& config_;
  const PreprocessorConfig& preprocessor_;
  ModelInput input_;
  std::vector<std::int64_t> ids_;
  std::array<std::vector<std::int64_t>, 3> axes_;
  std::vector<at::Tensor> patches_;
};

/// Appends a tree: its pictures, the prefix where there is one, and each sample's own tokens.
void add_tree(InputBuilder& builder, const ExampleTree& tree, std::vector<std::size_t>& samples) {
  builder.add_pictures(tree.images, tree.target_sizes, tree.grids);
  const std::int64_t shared = shared_prefix(tree.ids);
  Segment prefix{};
  for (const auto& ids : tree.ids) {
    // A token's position depends on the tokens before it alone: prefixes agree in these too.
    const Positions positions = builder.positions(ids, tree.grids);
    if (shared > 0 && prefix.prefix_end == 0) {
      builder.add_tokens(ids, positions, 0, shared);
      const Segment& rows = builder.segments().back();
      prefix = {.begin = 0, .end = 0, .prefix_begin = rows.begin, .prefix_end = rows.end};
    }
    samples.push_back(builder.segments().size());
    builder.add_tokens(ids, positions, shared, std::ssize(ids), prefix);
    builder.add_rope_delta(positions.delta);
  }
}

/// For each sample of a pass, its rows, and the cache's rows that these may see: the ones that are
/// there and their own.
std::vector<AttentionSegment> places_in(const KvCache& cache,
                                        const std::vector<Segment>& segments) {
  assume(cache.samples.size() == segments.size(), "a cache has a part for each segment");
  std::vector<AttentionSegment> places;
  for (std::size_t i = 0; i < segments.size(); ++i) {
    const Segment& segment = segments[i];
    const CachedSample& sample = cache.samples[i];
    const std::int64_t rows = segment.end - segment.begin;
    assume(segment.prefix_begin == segment.prefix_end, "a cache has no shared prefixes");
    require(sample.length + rows <= sample.capacity,
            "forward: {} tokens after {} do not fit into a cache of {}", rows, sample.length,
            sample.capacity);
    places.push_back({.query_begin = segment.begin,
                      .query_end = segment.end,
                      .key_begin = sample.begin,
                      .key_end = sample.begin + sample.length + rows});
  }
  return places;
}

/// Where in the cache each row of the pass goes, [T].
at::Tensor new_rows(const std::vector<AttentionSegment>& places) {
  std::vector<std::int64_t> rows;
  for (const AttentionSegment& place : places) {
    const std::int64_t count = place.query_end - place.query_begin;
    for (std::int64_t i = 0; i < count; ++i) rows.push_back(place.key_end - count + i);
  }
  return to_tensor(rows);
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

EncoderOptions encoder_options(const Qwen3VLConfig& config,
                               const PreprocessorConfig& preprocessor) {
  return {.limits = {.factor = static_cast<int>(preprocessor.patch_size * preprocessor.merge_size),
                     .min_pixels = preprocessor.min_pixels,
                     .max_pixels = preprocessor.max_pixels},
          .patch_size = static_cast<int>(preprocessor.patch_size),
          .merge_size = static_cast<int>(preprocessor.merge_size),
          .image_token_id = config.image_token_id,
          .chat = {}};
}

ModelInput to_input(const std::vector<EncodedExample>& examples, const Qwen3VLConfig& config,
                    const PreprocessorConfig& preprocessor) {
  InputBuilder builder(config, preprocessor);
  for (const EncodedExample& example : examples) {
    const Positions positions = builder.positions(example.ids, example.grids);
    builder.add_tokens(example.ids, positions, 0, std::ssize(example.ids));
    builder.add_pictures(example.images, example.target_sizes, example.grids);
    builder.add_rope_delta(positions.delta);
  }
  return builder.finish();
}

std::int64_t shared_prefix(const std::vector<std::vector<std::int64_t>>& ids) {
  if (ids.size() < 2) return 0;
  const auto& first = ids.front();
  std::int64_t shared = std::ssize(first) - 1;
  for (const auto& other : ids) {
    const auto limit = std::min(shared, std::ssize(other) - 1);
    const auto [end, unused] = std::mismatch(first.begin(), first.begin() + limit, other.begin());
    shared = end - first.begin();
  }
  return shared;
}

TreeInput to_tree_input(const std::vector<ExampleTree>& trees, const Qwen3VLConfig& config,
                        const PreprocessorConfig& preprocessor) {
  InputBuilder builder(config, preprocessor);
  TreeInput result;
  for (const ExampleTree& tree : trees) add_tree(builder, tree, result.samples);
  result.input = builder.finish();
  return result;
}

DecoderStart start_decoder(const Qwen3VL& model, const ModelInput& input, VisionFeatures features) {
  const auto ids = input.input_ids.to(model.device());
  DecoderStart start;
  start.hidden = model.language_model.embed_tokens.index_select(0, ids);
  if (features.image_embeds.defined()) {
    start.visual_rows = (ids == model.config.image_token_id).nonzero().squeeze(-1);
    require(start.visual_rows.size(0) == features.image_embeds.size(0),
            "forward: {} placeholder tokens but {} visual tokens", start.visual_rows.size(0),
            features.image_embeds.size(0));
    start.hidden = start.hidden.index_copy(0, start.visual_rows, features.image_embeds);
    start.deepstack = std::move(features.deepstack);
  }
  start.rotary = text_rotary(model.config.text, input.position_ids.to(model.device()),
                             start.hidden.scalar_type());
  return start;
}

at::Tensor add_deepstack(const at::Tensor& hidden, const DecoderStart& start, std::int64_t layer) {
  if (layer >= std::ssize(start.deepstack)) return hidden;
  return hidden.index_add(0, start.visual_rows, start.deepstack[static_cast<std::size_t>(layer)]);
}

at::Tensor forward(const Qwen3VL& model, const ModelInput& input, const ForwardOptions& options) {
  KvCache* cache = options.cache;
  std::vector<AttentionSegment> cached;
  if (cache != nullptr) cached = places_in(*cache, input.segments);

  VisionFeatures features;
  if (input.pixel_values.defined()) {
    features = encode_images(model.visual, model.config.vision, input.pixel_values, input.grids,
                             options.observe_stage);
  }
  const DecoderStart start = start_decoder(model, input, std::move(features));
  at::Tensor hidden = start.hidden;
  if (options.observe_stage) options.observe_stage("inputs_embeds", hidden);

  const LayerContext context{.config = model.config.text,
                             .rotary = start.rotary,
                             .segments = input.segments,
                             .cached = cached,
                             .cache_rows = new_rows(cached).to(model.device())};
  const auto& layers = model.language_model.layers;
  const auto wanted = options.first_layers.value_or(std::ssize(layers));
  assume(0 <= wanted && wanted <= std::ssize(layers), "no more layers are run than there are");
  for (std::int64_t layer = 0; layer < wanted; ++layer) {
    const auto i = static_cast<std::size_t>(layer);
    const LayerStates states =
        forward_layer(layers[i], context, hidden, cache == nullptr ? nullptr : &cache->layers[i]);
    if (options.observe_layer) {
      options.observe_layer(
          layer,
          {.input = hidden, .after_attention = states.after_attention, .output = states.output});
    }
    hidden = add_deepstack(states.output, start, layer);
  }
  for (std::size_t i = 0; i < cached.size(); ++i) {
    CachedSample& sample = cache->samples[i];
    sample.length = cached[i].key_end - sample.begin;
  }
  return hidden;
}

at::Tensor final_norm(const Qwen3VL& model, const at::Tensor& hidden) {
  return rms_norm(hidden, model.language_model.norm, model.config.text.rms_norm_eps);
}

at::Tensor head(const Qwen3VL& model, const at::Tensor& normalized) {
  return apply(model.lm_head, normalized);
}

}  // namespace espalier
