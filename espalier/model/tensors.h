// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "espalier/model/qwen3_vl.h"

/// A model's tensors by the names that they have in a checkpoint: loading, training and writing go
/// through these lists, and nobody else spells the names.
namespace espalier {

/// Called with a tensor's name and its place; a bias that is not there is undefined.
using TensorVisitor = std::function<void(const std::string& name, at::Tensor& tensor)>;
/// Called with the name of a product (without ".weight") and its place.
using LinearVisitor = std::function<void(const std::string& name, Linear& linear)>;

inline constexpr std::string_view kVisionName = "model.visual";
inline constexpr std::string_view kDecoderName = "model.language_model";

/// "model.language_model.layers.{layer}"
std::string decoder_layer_name(std::int64_t layer);

/// The seven products of a decoder layer, in the order q, k, v, o, gate, up, down.
///
/// \param layer  its number, for the names
void visit_linears(DecoderLayer& decoder_layer, std::int64_t layer, const LinearVisitor& visit);

/// The products of all decoder layers.
void visit_linears(LanguageModel& decoder, const LinearVisitor& visit);

/// All tensors of a decoder layer.
void visit_tensors(DecoderLayer& decoder_layer, std::int64_t layer, const TensorVisitor& visit);

/// All tensors of the vision tower, in the order in which they run.
void visit_tensors(VisionTower& tower, const TensorVisitor& visit);

/// All tensors of a model; a head that is tied to the embedding is not visited.
void visit_tensors(Qwen3VL& model, const TensorVisitor& visit);

}  // namespace espalier
