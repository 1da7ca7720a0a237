// SPDX-License-Identifier: Apache-2.0
#include "espalier/model/load.h"

#include <ATen/ATen.h>
#include <dlfcn.h>
#include <fmt/format.h>

#include <cstring>
#include <memory>
#include <string>

#include "espalier/base/error.h"

namespace espalier {

namespace {

/// Hands out a checkpoint's tensors by name, where and as the options say.
class TensorSource {
 public:
  TensorSource(const ModelDirectory& directory, const LoadOptions& options)
      : weights_(std::make_shared<const Weights>(directory.weights)), options_(options) {}

  at::Tensor operator()(const std::string& name) const {
    const TensorInfo& info = weights_->info(name);
    const auto bytes = weights_->bytes(name);
    const auto stored = scalar_type_of(info.dtype);
    // The mapping is read-only: nothing may write to a weight. It lives as long as a view of it.
    auto view = at::from_blob(
        const_cast<std::byte*>(bytes.data()), info.shape, [keep = weights_](void*) {}, stored);
    const auto wanted = options_.dtype.value_or(stored);
    const bool aligned =
        reinterpret_cast<std::uintptr_t>(bytes.data()) % size_in_bytes(info.dtype) == 0;
    if (!aligned) {
      const auto copy = at::empty(info.shape, stored);
      std::memcpy(copy.data_ptr(), bytes.data(), bytes.size());
      view = copy;
    }
    return view.to(options_.device, wanted);
  }

  Linear linear(const std::string& name) const {
    Linear result{.weight = (*this)(name + ".weight"), .bias = std::nullopt};
    if (weights_->has(name + ".bias")) result.bias = (*this)(name + ".bias");
    return result;
  }

  LayerNorm layer_norm(const std::string& name) const {
    return {.weight = (*this)(name + ".weight"), .bias = (*this)(name + ".bias")};
  }

 private:
  std::shared_ptr<const Weights> weights_;
  LoadOptions options_;
};

PatchMerger load_merger(const TensorSource& source, const std::string& name) {
  return {.norm = source.layer_norm(name + ".norm"),
          .linear_fc1 = source.linear(name + ".linear_fc1"),
          .linear_fc2 = source.linear(name + ".linear_fc2")};
}

VisionBlock load_vision_block(const TensorSource& source, const std::string& name) {
  return {.norm1 = source.layer_norm(name + ".norm1"),
          .attn = {.qkv = source.linear(name + ".attn.qkv"),
                   .proj = source.linear(name + ".attn.proj")},
          .norm2 = source.layer_norm(name + ".norm2"),
          .mlp = {.linear_fc1 = source.linear(name + ".mlp.linear_fc1"),
                  .linear_fc2 = source.linear(name + ".mlp.linear_fc2")}};
}

VisionTower load_vision_tower(const TensorSource& source, const VisionConfig& config) {
  const std::string name = "model.visual";
  VisionTower tower;
  tower.patch_embed = source.linear(name + ".patch_embed.proj");
  // The convolution's kernel is a whole patch: in memory it is the product's matrix.
  tower.patch_embed.weight = tower.patch_embed.weight.flatten(1);
  tower.pos_embed = source(name + ".pos_embed.weight");
  for (std::int64_t b = 0; b < config.depth; ++b) {
    tower.blocks.push_back(load_vision_block(source, fmt::format("{}.blocks.{}", name, b)));
  }
  tower.merger = load_merger(source, name + ".merger");
  for (std::size_t k = 0; k < config.deepstack_visual_indexes.size(); ++k) {
    tower.deepstack_merger_list.push_back(
        load_merger(source, fmt::format("{}.deepstack_merger_list.{}", name, k)));
  }
  return tower;
}

DecoderLayer load_decoder_layer(const TensorSource& source, const std::string& name) {
  const std::string attention = name + ".self_attn";
  return {.input_layernorm = source(name + ".input_layernorm.weight"),
          .self_attn = {.q_proj = source.linear(attention + ".q_proj"),
                        .k_proj = source.linear(attention + ".k_proj"),
                        .v_proj = source.linear(attention + ".v_proj"),
                        .o_proj = source.linear(attention + ".o_proj"),
                        .q_norm = source(attention + ".q_norm.weight"),
                        .k_norm = source(attention + ".k_norm.weight")},
          .post_attention_layernorm = source(name + ".post_attention_layernorm.weight"),
          .mlp = {.gate_proj = source.linear(name + ".mlp.gate_proj"),
                  .up_proj = source.linear(name + ".mlp.up_proj"),
                  .down_proj = source.linear(name + ".mlp.down_proj")}};
}

LanguageModel load_language_model(const TensorSource& source, const TextConfig& config) {
  const std::string name = "model.language_model";
  LanguageModel model;
  model.embed_tokens = source(name + ".embed_tokens.weight");
  for (std::int64_t i = 0; i < config.num_hidden_layers; ++i) {
    model.layers.push_back(load_decoder_layer(source, fmt::format("{}.layers.{}", name, i)));
  }
  model.norm = source(name + ".norm.weight");
  return model;
}

}  // namespace

Qwen3VL load_model(const ModelDirectory& directory, const LoadOptions& options) {
  const TensorSource source(directory, options);
  Qwen3VL model;
  model.config = directory.config;
  model.visual = load_vision_tower(source, directory.config.vision);
  model.language_model = load_language_model(source, directory.config.text);
  model.lm_head = directory.config.tie_word_embeddings
                      ? Linear{.weight = model.language_model.embed_tokens, .bias = std::nullopt}
                      : source.linear("lm_head");
  return model;
}

at::Device open_device(std::string_view name) {
  if (name == "cpu") return at::kCPU;
  require(name == "cuda" || name.starts_with("cuda:"),
          "--device: want cpu, cuda or cuda:N, found {}", name);
  // CUDA's kernels register themselves when their library is loaded; programs link the CPU half
  // alone, so that one binary serves both kinds of machine.
  if (dlopen("libtorch_cuda.so", RTLD_NOW | RTLD_GLOBAL) == nullptr) {
    throw InputError(fmt::format(
        "--device {}: this LibTorch has no CUDA half ({}); install a CUDA build of torch, or use "
        "--device cpu",
        name, dlerror()));
  }
  require(at::hasCUDA(), "--device {}: no CUDA device on this machine; use --device cpu", name);
  try {
    return at::Device(std::string(name));
  } catch (const c10::Error&) {
    throw InputError(fmt::format("--device: want cpu, cuda or cuda:N, found {}", name));
  }
}

at::ScalarType scalar_type_of(DType dtype) {
  switch (dtype) {
    case DType::Bool:
      return at::kBool;
    case DType::U8:
      return at::kByte;
    case DType::I8:
      return at::kChar;
    case DType::I16:
      return at::kShort;
    case DType::I32:
      return at::kInt;
    case DType::I64:
      return at::kLong;
    case DType::F16:
      return at::kHalf;
    case DType::BF16:
      return at::kBFloat16;
    case DType::F32:
      return at::kFloat;
    case DType::F64:
      return at::kDouble;
  }
  throw std::logic_error("scalar_type_of: a type that the table lacks");
}

}  // namespace espalier
