// SPDX-License-Identifier: Apache-2.0
#include "espalier/train/stepped.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "espalier/base/error.h"
#include "espalier/model/kernels.h"
#include "espalier/model/tensors.h"

namespace espalier {

namespace {

/// Leaves of one small graph: what they were made of, and where their gradients go.
class Leaves {
 public:
  /// \param gradients  the flat buffer that gradients are added to
  Leaves(const Parameters& parameters, at::Tensor gradients)
      : parameters_(parameters), gradients_(std::move(gradients)) {}

  /// Makes a leaf of a tensor if it is trained.
  void take(const std::string& name, at::Tensor& tensor) {
    const ParameterSlot* slot = parameters_.find(name);
    if (slot == nullptr) return;
    tensor = tensor.detach().requires_grad_();
    tensors_.push_back(tensor);
    slots_.push_back(slot);
  }

  [[nodiscard]] bool empty() const { return tensors_.empty(); }

  /// Runs backward from `outputs`, adds the leaves' gradients to the flat buffer, and gives back
  /// the gradient of `input` where that is a leaf too.
  at::Tensor backward(const std::vector<at::Tensor>& outputs,
                      const std::vector<at::Tensor>& output_gradients, const at::Tensor& input) {
    std::vector<at::Tensor> inputs = tensors_;
    const bool with_input = input.defined() && input.requires_grad();
    if (with_input) inputs.push_back(input);
    const auto gradients =
        torch::autograd::grad(outputs, inputs, output_gradients, /*retain_graph=*/false,
                              /*create_graph=*/false, /*allow_unused=*/true);
    for (std::size_t i = 0; i < slots_.size(); ++i) add(*slots_[i], gradients[i]);
    return with_input ? gradients.back() : at::Tensor();
  }

  void add(const ParameterSlot& slot, const at::Tensor& gradient) const {
    if (!gradient.defined()) return;
    Parameters::view(gradients_, slot).add_(gradient.view(slot.shape));
  }

 private:
  const Parameters& parameters_;
  at::Tensor gradients_;
  std::vector<at::Tensor> tensors_;
  std::vector<const ParameterSlot*> slots_;
};

/// A layer as a graph of its own.
struct LayerGraph {
  Leaves leaves;
  at::Tensor input;
  at::Tensor output;
};

/// Tells at which of the student's layers a gap lies before it, and what the teacher has there.
bool follows_gap(const Teacher& teacher, std::int64_t layer) {
  const auto i = static_cast<std::size_t>(layer);
  return layer > 0 && teacher.layers[i] != teacher.layers[i - 1] + 1;
}

/// What the teacher makes of a pack.
struct TeacherStates {
  at::Tensor normalized;            ///< [n, H] of the label rows
  std::vector<at::Tensor> at_gaps;  ///< [T, H], one a student's layer; undefined without a gap
};

/// One pass forward and one backward over a pack.
class PackRun {
 public:
  PackRun(const TrainedModel& trained, const Teacher* teacher, const Pack& pack,
          const Objective& objective, const PackOptions& options)
      : trained_(trained),
        model_(trained.model),
        teacher_(teacher),
        pack_(pack),
        objective_(objective),
        options_(options),
        lowest_(options.backward ? trained.lowest_layer() : layers()),
        gradients_(options.gradients.defined() ? options.gradients : trained.parameters.gradients),
        vision_leaves_(no_leaves()) {}

  PackLoss run() {
    encode_pictures();
    {
      const at::NoGradGuard no_grad;
      start_ = start_decoder(model_, pack_.input, detached_features());
      if (teacher_ != nullptr) run_teacher();
    }
    forward_layers();
    const at::Tensor gradient = head();
    if (!options_.backward) return std::move(loss_);
    const at::Tensor input_gradient = backward_layers(gradient);
    if (input_gradient.defined()) backward_inputs(input_gradient);
    return std::move(loss_);
  }

 private:
  [[nodiscard]] std::int64_t layers() const { return std::ssize(model_.language_model.layers); }
  [[nodiscard]] bool trains_vision() const {
    return options_.backward && (trained_.part.vision || trained_.part.projector);
  }

  void encode_pictures() {
    if (!pack_.input.pixel_values.defined()) return;
    if (options_.features != nullptr) {
      features_ = *options_.features;
      return;
    }
    const c10::AutoGradMode grad(trains_vision());
    VisionTower tower = model_.visual;
    if (trains_vision()) {
      visit_tensors(tower, [&](const std::string& name, at::Tensor& tensor) {
        vision_leaves_.take(name, tensor);
      });
    }
    features_ =
        encode_images(tower, model_.config.vision, pack_.input.pixel_values, pack_.input.grids);
  }

  [[nodiscard]] VisionFeatures detached_features() const {
    if (!features_.image_embeds.defined()) return {};
    VisionFeatures features{.image_embeds = features_.image_embeds.detach(), .deepstack = {}};
    for (const at::Tensor& level : features_.deepstack) {
      features.deepstack.push_back(level.detach());
    }
    return features;
  }

  void run_teacher() {
    const Qwen3VL& teacher = teacher_->model;
    VisionFeatures features = detached_features();
    if (!teacher_->shares_vision && features.image_embeds.defined()) {
      features = encode_images(teacher.visual, teacher.config.vision, pack_.input.pixel_values,
                               pack_.input.grids);
    }
    const DecoderStart start = start_decoder(teacher, pack_.input, std::move(features));
    states_.at_gaps.resize(static_cast<std::size_t>(layers()));
    at::Tensor hidden = start.hidden;
    std::size_t next = 0;  // the student's layer that comes next
    for (std::int64_t layer = 0; layer < std::ssize(teacher.language_model.layers); ++layer) {
      if (next < teacher_->layers.size() && teacher_->layers[next] == layer) {
        const bool wanted = objective_.hidden_weight > 0.0 &&
                            follows_gap(*teacher_, static_cast<std::int64_t>(next));
        if (wanted) states_.at_gaps[next] = hidden;
        ++next;
      }
      const auto& weights = teacher.language_model.layers[static_cast<std::size_t>(layer)];
      const LayerContext context = context_of(teacher, start, layer);
      hidden = add_deepstack(forward_layer(weights, context, hidden, nullptr).output, start, layer);
    }
    states_.normalized = final_norm(teacher, label_rows_of(hidden));
  }

  /// Of the last layer only the rows with labels are wanted. (Not if DeepStack is added there, to
  /// rows of the pictures.)
  [[nodiscard]] LayerContext context_of(const Qwen3VL& model, const DecoderStart& start,
                                        std::int64_t layer) const {
    const bool last = layer + 1 == std::ssize(model.language_model.layers) &&
                      layer >= std::ssize(start.deepstack) && pack_.label_rows.numel() > 0;
    return {.config = model.config.text,
            .rotary = start.rotary,
            .segments = pack_.input.segments,
            .wanted_rows = last ? pack_.label_rows : at::Tensor()};
  }
  [[nodiscard]] LayerContext context(std::int64_t layer) const {
    return context_of(model_, start_, layer);
  }

  /// The rows with labels of the last layer's output, which may have no others.
  [[nodiscard]] at::Tensor label_rows_of(const at::Tensor& output) const {
    const bool alone = output.size(0) == pack_.label_rows.numel();
    return alone ? output.detach() : output.index_select(0, pack_.label_rows);
  }

  /// The layer with its trained tensors as leaves, and dropout where it is trained.
  [[nodiscard]] DecoderLayer layer_of(std::int64_t layer, Leaves& leaves) const {
    DecoderLayer weights = model_.language_model.layers[static_cast<std::size_t>(layer)];
    visit_tensors(weights, layer, [&](const std::string& name, at::Tensor& tensor) {
      if (tensor.defined()) leaves.take(name, tensor);
    });
    std::uint64_t product = 0;
    visit_linears(weights, layer, [&](const std::string& name, Linear& linear) {
      ++product;
      if (!linear.adapter) return;
      leaves.take(lora_a_name(name), linear.adapter->a);
      leaves.take(lora_b_name(name), linear.adapter->b);
      linear.adapter->dropout = trained_.lora.dropout;
      linear.adapter->dropout_seed =
          mix_seed({pack_.dropout_seed, static_cast<std::uint64_t>(layer), product});
    });
    return weights;
  }

  /// Runs a layer and keeps the graph.
  [[nodiscard]] LayerGraph graph_of(std::int64_t layer, const at::Tensor& input) const {
    const c10::AutoGradMode grad(true);
    LayerGraph graph{.leaves = no_leaves(), .input = input.detach(), .output = {}};
    const DecoderLayer weights = layer_of(layer, graph.leaves);
    if (layer > lowest_ || trained_.trains_inputs()) graph.input.requires_grad_();
    graph.output = forward_layer(weights, context(layer), graph.input, nullptr).output;
    return graph;
  }

  void forward_layers() {
    const at::NoGradGuard no_grad;
    inputs_.resize(static_cast<std::size_t>(layers()));
    graphs_.resize(static_cast<std::size_t>(layers()));
    hidden_gradients_.resize(static_cast<std::size_t>(layers()));
    hidden_ = start_.hidden;
    for (std::int64_t layer = 0; layer < layers(); ++layer) {
      const auto i = static_cast<std::size_t>(layer);
      match_teacher(i);
      at::Tensor output;
      if (layer >= lowest_ && layers() - layer <= options_.kept_layers) {
        graphs_[i].emplace(graph_of(layer, hidden_));
        output = graphs_[i]->output.detach();
      } else {
        if (layer >= lowest_) inputs_[i] = hidden_;
        output = forward_without_graph(layer);
      }
      hidden_ = add_deepstack(output, start_, layer);
    }
  }

  [[nodiscard]] at::Tensor forward_without_graph(std::int64_t layer) const {
    if (layer < lowest_) {
      const auto& weights = model_.language_model.layers[static_cast<std::size_t>(layer)];
      return forward_layer(weights, context(layer), hidden_, nullptr).output;
    }
    Leaves unused = no_leaves();
    return forward_layer(layer_of(layer, unused), context(layer), hidden_, nullptr).output;
  }

  void match_teacher(std::size_t layer) {
    if (states_.at_gaps.empty() || !states_.at_gaps[layer].defined()) return;
    HiddenLoss match =
        hidden_loss(hidden_, states_.at_gaps[layer], objective_.hidden_weight * pack_.row_weight);
    loss_.hidden += match.sum;
    if (options_.backward) hidden_gradients_[layer] = std::move(match.gradient);
    states_.at_gaps[layer].reset();
  }

  /// The loss under the head; the gradient of the last layer's output.
  at::Tensor head() {
    const bool trains_head = options_.backward && trained_.part.embedding;
    Leaves norm_leaves = no_leaves();
    at::Tensor norm = model_.language_model.norm;
    at::Tensor rows = label_rows_of(hidden_);
    at::Tensor normalized;
    {
      const c10::AutoGradMode grad(options_.backward);
      if (options_.backward) rows.requires_grad_();
      if (trains_head) norm_leaves.take(norm_name(), norm);
      normalized = rms_norm(rows, norm, model_.config.text.rms_norm_eps);
    }
    HeadLossOptions head = objective_.head;
    head.hidden_gradient = options_.backward && (rows.size(0) > 0);
    head.weight_gradient = trains_head;
    const at::NoGradGuard no_grad;
    HeadLoss loss =
        head_loss({.normalized = normalized.detach(),
                   .targets = pack_.targets,
                   .weights = pack_.weights,
                   .teacher = states_.normalized},
                  model_.lm_head.weight,
                  teacher_ == nullptr ? at::Tensor() : teacher_->model.lm_head.weight, head);
    take_values(loss);
    if (!options_.backward) return {};
    if (trains_head) norm_leaves.add(*trained_.parameters.find(head_name()), loss.d_weight);
    if (rows.size(0) == 0) return at::zeros_like(hidden_);
    at::Tensor of_rows = norm_leaves.backward({normalized}, {loss.d_normalized}, rows);
    if (hidden_.size(0) == rows.size(0)) return of_rows;
    return at::zeros_like(hidden_).index_copy_(0, pack_.label_rows, of_rows);
  }

  void take_values(const HeadLoss& loss) {
    const double share = objective_.head.teacher_share;
    const at::Tensor by_row = share == 0.0
                                  ? loss.cross_entropy
                                  : loss.cross_entropy * (1.0 - share) + loss.divergence * share;
    const double head = (by_row * pack_.weights).sum().item<double>();
    const double hidden = objective_.hidden_weight * pack_.row_weight * loss_.hidden;
    // Balanced, the hidden states' loss counts as much as the head's and keeps its direction.
    hidden_scale_ = objective_.balance && hidden > 0.0 ? head / hidden : 1.0;
    loss_.total = head + hidden_scale_ * hidden;
    loss_.cross_entropy = loss.cross_entropy.cpu();
    loss_.correct = loss.correct.cpu();
    if (loss.divergence.defined()) loss_.divergence = loss.divergence.cpu();
  }

  /// Walks down; gives back the gradient of the first layer's input where somebody wants it.
  at::Tensor backward_layers(at::Tensor gradient) {
    const at::NoGradGuard no_grad;
    deepstack_gradients_.resize(start_.deepstack.size());
    for (std::int64_t layer = layers() - 1; layer >= lowest_; --layer) {
      const auto i = static_cast<std::size_t>(layer);
      if (trains_vision() && i < deepstack_gradients_.size()) {
        deepstack_gradients_[i] = gradient.index_select(0, start_.visual_rows);
      }
      LayerGraph graph = graphs_[i] ? std::move(*graphs_[i]) : graph_of(layer, inputs_[i]);
      graphs_[i].reset();
      inputs_[i].reset();
      if (!graph.input.requires_grad() && graph.leaves.empty()) break;
      gradient = graph.leaves.backward({graph.output}, {gradient}, graph.input);
      if (hidden_gradients_[i].defined() && gradient.defined()) {
        gradient.add_(hidden_gradients_[i], hidden_scale_);
      }
    }
    return trained_.trains_inputs() ? gradient : at::Tensor();
  }

  /// What comes down to the decoder's input belongs to the words' rows of the embedding and to the
  /// pictures.
  void backward_inputs(at::Tensor gradient) {
    if (features_.image_embeds.defined()) {
      if (trains_vision()) {
        std::vector<at::Tensor> outputs{features_.image_embeds};
        std::vector<at::Tensor> gradients{gradient.index_select(0, start_.visual_rows)};
        for (std::size_t k = 0; k < features_.deepstack.size(); ++k) {
          if (k >= deepstack_gradients_.size() || !deepstack_gradients_[k].defined()) continue;
          outputs.push_back(features_.deepstack[k]);
          gradients.push_back(deepstack_gradients_[k]);
        }
        vision_leaves_.backward(outputs, gradients, {});
      }
      gradient = gradient.index_fill(0, start_.visual_rows, 0.0);
    }
    if (!trained_.part.embedding) return;
    const ParameterSlot* slot = trained_.parameters.find(embedding_name());
    Parameters::view(gradients_, *slot)
        .index_add_(0, pack_.input.input_ids.to(gradient.device()), gradient.to(at::kFloat));
  }

  [[nodiscard]] Leaves no_leaves() const { return {trained_.parameters, gradients_}; }

  [[nodiscard]] static std::string embedding_name() {
    return fmt::format("{}.embed_tokens.weight", kDecoderName);
  }
  [[nodiscard]] static std::string norm_name() {
    return fmt::format("{}.norm.weight", kDecoderName);
  }
  [[nodiscard]] std::string head_name() const {
    return model_.config.tie_word_embeddings ? embedding_name() : "lm_head.weight";
  }

  const TrainedModel& trained_;
  const Qwen3VL& model_;
  const Teacher* teacher_;
  const Pack& pack_;
  const Objective& objective_;
  const PackOptions& options_;
  std::int64_t lowest_;
  at::Tensor gradients_;
  Leaves vision_leaves_;
  VisionFeatures features_;
  DecoderStart start_;
  TeacherStates states_;
  at::Tensor hidden_;
  std::vector<at::Tensor> inputs_;  ///< of layers that run again
  std::vector<std::optional<LayerGraph>> graphs_;
  std::vector<at::Tensor> hidden_gradients_;  ///< of the layers' inputs, at gaps
  std::vector<at::Tensor> deepstack_gradients_;
  double hidden_scale_ = 1.0;
  PackLoss loss_;
};

}  // namespace

PackLoss run_pack(const TrainedModel& trained, const Teacher* teacher, const Pack& pack,
                  const Objective& objective, const PackOptions& options) {
  return PackRun(trained, teacher, pack, objective, options).run();
}

}  // namespace espalier
