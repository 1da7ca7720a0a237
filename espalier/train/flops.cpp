// SPDX-License-Identifier: Apache-2.0
#include "espalier/train/flops.h"

#include <ATen/ATen.h>

#include "espalier/model/tensors.h"

namespace espalier {

namespace {

/// Numbers of the products' weights of a decoder layer.
double layer_weights(const DecoderLayer& layer) {
  double numbers = 0.0;
  DecoderLayer copy = layer;
  visit_linears(copy, 0, [&](const std::string&, Linear& linear) {
    numbers += static_cast<double>(linear.weight.numel());
  });
  return numbers;
}

double layers_weights(const Qwen3VL& model) {
  double numbers = 0.0;
  for (const DecoderLayer& layer : model.language_model.layers) numbers += layer_weights(layer);
  return numbers;
}

/// Of the vision tower; its mergers, which see a fourth of the rows, count a fourth.
double vision_weights(const VisionTower& tower) {
  double numbers = 0.0;
  VisionTower copy = tower;
  visit_tensors(copy, [&](const std::string& name, at::Tensor& tensor) {
    if (!tensor.defined() || tensor.dim() < 2 || name.ends_with("pos_embed.weight")) return;
    const double share = name.find("merger") == std::string::npos ? 1.0 : 0.25;
    numbers += share * static_cast<double>(tensor.numel());
  });
  return numbers;
}

/// Gradients by weights, and by inputs of all layers above the lowest that is reached.
double decoder_backward(const TrainedModel& trained) {
  const auto& layers = trained.model.language_model.layers;
  double numbers = 0.0;
  for (std::int64_t i = trained.lowest_layer(); i < std::ssize(layers); ++i) {
    numbers += layer_weights(layers[static_cast<std::size_t>(i)]);
  }
  if (trained.part.lora)
    return numbers + 3.0 * static_cast<double>(trained.parameters.values.numel());
  for (const std::int64_t i : trained.part.layers) {
    numbers += layer_weights(layers[static_cast<std::size_t>(i)]);
  }
  return numbers;
}

}  // namespace

double step_flops(const TrainedModel& trained, const Teacher* teacher, const PackSize& size) {
  const Qwen3VL& model = trained.model;
  const auto tokens = static_cast<double>(size.tokens);
  const auto labels = static_cast<double>(size.label_tokens);
  const auto patches = static_cast<double>(size.patches);
  const auto head = static_cast<double>(model.lm_head.weight.numel());
  const bool trains_vision = trained.part.vision || trained.part.projector;
  double numbers = tokens * (layers_weights(model) + decoder_backward(trained));
  numbers += labels * head * (trained.part.embedding ? 3.0 : 2.0);
  numbers += patches * vision_weights(model.visual) * (trains_vision ? 3.0 : 1.0);
  if (teacher != nullptr) numbers += tokens * layers_weights(teacher->model) + labels * head;
  return 2.0 * numbers;
}

std::uint64_t model_bytes(const Qwen3VL& model) {
  std::uint64_t bytes = 0;
  Qwen3VL copy = model;
  visit_tensors(copy, [&](const std::string&, at::Tensor& tensor) {
    if (tensor.defined()) bytes += tensor.nbytes();
  });
  return bytes;
}

}  // namespace espalier
