// SPDX-License-Identifier: Apache-2.0
#include "espalier/model/load.h"

#include <ATen/ATen.h>
#include <dlfcn.h>
#include <fmt/format.h>

#include <cstring>
#include <memory>
#include <string>

#include "espalier/base/error.h"
#include "espalier/model/tensors.h"

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

  [[nodiscard]] bool has(const std::string& name) const { return weights_->has(name); }

 private:
  std::shared_ptr<const Weights> weights_;
  LoadOptions options_;
};

}  // namespace

Qwen3VL load_model(const ModelDirectory& directory, const LoadOptions& options) {
  const TensorSource source(directory, options);
  const Qwen3VLConfig& config = directory.config;
  Qwen3VL model;
  model.config = config;
  model.visual.blocks.resize(static_cast<std::size_t>(config.vision.depth));
  model.visual.deepstack_merger_list.resize(config.vision.deepstack_visual_indexes.size());
  model.language_model.layers.resize(static_cast<std::size_t>(config.text.num_hidden_layers));
  // The directory was checked against its configuration: what it lacks is a bias.
  visit_tensors(model, [&](const std::string& name, at::Tensor& tensor) {
    if (source.has(name)) tensor = source(name);
  });
  // The convolution's kernel is a whole patch: in memory it is the product's matrix.
  model.visual.patch_embed.weight = model.visual.patch_embed.weight.flatten(1);
  if (config.tie_word_embeddings) model.lm_head.weight = model.language_model.embed_tokens;
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

std::span<const std::byte> bytes_of(const at::Tensor& tensor) {
  return {static_cast<const std::byte*>(tensor.const_data_ptr()),
          static_cast<std::size_t>(tensor.nbytes())};
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
