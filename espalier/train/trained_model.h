// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "espalier/model/qwen3_vl.h"
#include "espalier/train/parameters.h"

namespace espalier {

/// Low-rank adaptation. The paper states rank, alpha and dropout; which products get an adapter it
/// leaves open: ours are all seven of a decoder layer.
struct LoraOptions {
  std::int64_t rank = 32;
  double alpha = 64.0;
  double dropout = 0.05;
  /// The products of a decoder layer, by the last part of their names.
  std::vector<std::string> targets = {"q_proj",    "k_proj",  "v_proj",   "o_proj",
                                      "gate_proj", "up_proj", "down_proj"};
  bool operator==(const LoraOptions&) const = default;
};

/// What is trained of a model.
struct TrainedPart {
  bool lora = false;                 ///< adapters on decoder layers; nothing else then
  bool embedding = false;            ///< the token embedding, the final norm, the head
  bool vision = false;               ///< the vision tower without its mergers
  bool projector = false;            ///< the mergers, which turn patches into visual tokens
  std::vector<std::int64_t> layers;  ///< whole decoder layers, or those that get adapters
  bool operator==(const TrainedPart&) const = default;
};

/// Understands `lora`, or a list of `all`, `decoder`, `vision`, `projector`, `embedding` and
/// `layers:4-9`; `lora:4-9` puts adapters on some layers only.
///
/// \throws InputError for another word (with the nearest), a layer that the model has not, or lora
///                    beside something else
TrainedPart parse_trained_part(std::string_view text, std::int64_t num_layers);

/// A model some of whose tensors are views of flat buffers, so that an optimizer's step is seen by
/// the next pass.
struct TrainedModel {
  Qwen3VL model;
  Parameters parameters;
  TrainedPart part;
  LoraOptions lora;  ///< where adapters are trained

  /// Whether a gradient must come down to the decoder's input.
  [[nodiscard]] bool trains_inputs() const {
    return part.embedding || part.vision || part.projector;
  }
  /// The lowest decoder layer that a gradient must reach, one more than the last if none.
  [[nodiscard]] std::int64_t lowest_layer() const;
};

/// "{product}.lora_A.weight" and "{product}.lora_B.weight", as adapters are named on disk.
std::string lora_a_name(std::string_view linear);
std::string lora_b_name(std::string_view linear);

/// Makes a part of a model trainable. New adapters start as PEFT's do: A uniform within
/// +-1/sqrt(in), B zero.
///
/// \param seed         of the adapters' start
/// \throws InputError  for a target that is no product of a decoder layer, or no part to train
TrainedModel make_trained_model(Qwen3VL model, const TrainedPart& part, const LoraOptions& lora,
                                std::uint64_t seed);

/// 64 bits that depend on all parts and on their order: seeds for what must be drawn again alike.
std::uint64_t mix_seed(std::initializer_list<std::uint64_t> parts);

}  // namespace espalier
