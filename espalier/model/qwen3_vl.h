// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "espalier/checkpoint/config.h"
#include "espalier/checkpoint/side_files.h"
#include "espalier/data/encoder.h"
#include "espalier/model/decoder.h"
#include "espalier/model/vision.h"

namespace espalier {

/// The decoder; fields are the checkpoint's keys below `model.language_model`.
struct LanguageModel {
  at::Tensor embed_tokens;  ///< [V, H]
  std::vector<DecoderLayer> layers;
  at::Tensor norm;  ///< [H]
};

/// A Qwen3-VL model: constant once loaded. On the CPU its tensors are views of the mapped files and
/// keep these alive.
struct Qwen3VL {
  Qwen3VLConfig config;
  VisionTower visual;
  LanguageModel language_model;
  Linear lm_head;  ///< [V, H]; the embedding itself where the two are tied

  [[nodiscard]] at::ScalarType dtype() const { return language_model.embed_tokens.scalar_type(); }
  [[nodiscard]] at::Device device() const { return language_model.embed_tokens.device(); }
};

/// The model with some of its decoder layers alone: a pass skips the others. No weight is copied.
///
/// \param kept  ascending numbers of the layers that stay
Qwen3VL keep_layers(const Qwen3VL& model, std::span<const std::int64_t> kept);

/// Samples as tensors, packed one after another without padding.
struct ModelInput {
  at::Tensor input_ids;          ///< [T] int64
  at::Tensor position_ids;       ///< [3, T] int64
  at::Tensor pixel_values;       ///< [P, 3 * temporal_patch_size * patch_size^2] float32; undefined
                                 ///< without pictures
  std::vector<ImageGrid> grids;  ///< of all samples' pictures, in order
  std::vector<Segment> segments;         ///< one a sample; shared prefixes beside these
  std::vector<std::int64_t> rope_delta;  ///< one a sample
};

/// Samples about the same pictures: what all their ids begin with needs to run only once.
struct ExampleTree {
  std::vector<std::vector<std::int64_t>> ids;  ///< one list a sample
  std::vector<Image> images;
  std::vector<Size> target_sizes;
  std::vector<ImageGrid> grids;
};

/// How many first tokens the samples of a tree share; each keeps at least one token of its own, and
/// a sample alone shares nothing.
std::int64_t shared_prefix(const std::vector<std::vector<std::int64_t>>& ids);

/// Packed trees.
struct TreeInput {
  ModelInput input;
  std::vector<std::size_t> samples;  ///< index of each sample's segment
};

/// Packs trees one after another: the shared prefix once, then each sample's own tokens. Results
/// equal separate runs of the samples up to rounding.
///
/// \throws InputError as to_input does
TreeInput to_tree_input(const std::vector<ExampleTree>& trees, const Qwen3VLConfig& config,
                        const PreprocessorConfig& preprocessor);

/// What the encoder must know of this model and its preprocessor; conversations end with the
/// opening of the assistant's turn.
EncoderOptions encoder_options(const Qwen3VLConfig& config, const PreprocessorConfig& preprocessor);

/// Turns encoded examples into one packed input.
///
/// \throws InputError if the preprocessor's patches are not the vision tower's
ModelInput to_input(const std::vector<EncodedExample>& examples, const Qwen3VLConfig& config,
                    const PreprocessorConfig& preprocessor);

/// What a pass looks at on its way; nothing is computed that nobody asked for.
struct ForwardOptions {
  /// A cache with as many samples as the input has segments: the pass continues each sample after
  /// the tokens that the cache holds of it, and adds its own.
  KvCache* cache = nullptr;
  /// Run only so many layers; what comes back is then the input of the next one.
  std::optional<std::int64_t> first_layers;
  LayerObserver observe_layer;
  StageObserver observe_stage;  ///< the vision tower's stages and inputs_embeds
};

/// What the decoder's layers start from.
struct DecoderStart {
  at::Tensor hidden;       ///< [T, H], the first layer's input
  at::Tensor visual_rows;  ///< [M] int64, the placeholders' rows; undefined without pictures
  std::vector<at::Tensor> deepstack;  ///< [M, H] each
  Rotary rotary;
};

/// Embeds the tokens and puts the pictures' features where their placeholders are.
///
/// \param features     of all pictures; nothing without pictures
/// \throws InputError  if placeholders and features disagree in number
DecoderStart start_decoder(const Qwen3VL& model, const ModelInput& input, VisionFeatures features);

/// DeepStack: the k-th feature is added to what the layer at place k puts out. Counts places in the
/// stack, not layers of an unpruned model.
at::Tensor add_deepstack(const at::Tensor& hidden, const DecoderStart& start, std::int64_t layer);

/// Runs the model, layer by layer over all packed rows, up to the last layer's output.
///
/// \return             [T, H], before the final norm, DeepStack's additions included
/// \throws InputError  if the cache is too small for a sample, or placeholders and features
/// disagree in number
at::Tensor forward(const Qwen3VL& model, const ModelInput& input,
                   const ForwardOptions& options = {});

/// The final norm.
///
/// \param hidden  [n, H], the last layer's output at the rows of interest
/// \return        [n, H]
at::Tensor final_norm(const Qwen3VL& model, const at::Tensor& hidden);

/// The head.
///
/// \param normalized  [n, H], after the final norm
/// \return            logits [n, V] in the model's dtype
at::Tensor head(const Qwen3VL& model, const at::Tensor& normalized);

}  // namespace espalier
