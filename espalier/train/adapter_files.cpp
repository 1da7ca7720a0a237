// SPDX-License-Identifier: Apache-2.0
#include "espalier/train/adapter_files.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "espalier/base/error.h"
#include "espalier/base/files.h"
#include "espalier/base/hash.h"
#include "espalier/base/json.h"
#include "espalier/base/random.h"
#include "espalier/base/safetensors.h"
#include "espalier/checkpoint/copy_weights.h"
#include "espalier/model/load.h"
#include "espalier/model/tensors.h"

namespace espalier {

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* kConfigName = "adapter_config.json";
constexpr const char* kWeightsName = "adapter_model.safetensors";
constexpr std::string_view kPeftPrefix = "base_model.model.";
constexpr std::string_view kTextOnly = "model.layers.";
constexpr const char* kBaseNote = "espalier_base_fingerprint";

/// An option that changes what is computed may only stand at the value that we compute.
void refuse_option(const JsonObject& config, std::string_view key, const json& accepted) {
  if (!config.has(key)) return;
  const json& found = config.at(key);
  const bool empty = (found.is_object() || found.is_array()) && found.empty();
  require(empty || found == accepted, "{}: {}: wanted {}, found {}: that is not implemented",
          config.place(), key, accepted.dump(), found.dump());
}

/// PiSSA and its kin take a part out of the base's weights when they start, and PEFT does so again
/// when it loads such an adapter.
void refuse_changed_base(const JsonObject& config) {
  constexpr const char* kKey = "init_lora_weights";
  if (!config.has(kKey) || config.at(kKey).is_boolean()) return;
  const std::set<std::string> keep_base = {"gaussian", "eva", "orthogonal", "mica", "lora_ga"};
  require(keep_base.contains(config.string(kKey)),
          "{}: {}: {} may change the base's weights: that is not implemented; let PEFT convert it, "
          "by save_pretrained with path_initial_model_for_weight_conversion",
          config.place(), kKey, config.string(kKey));
}

Adapter read_adapter_config(const fs::path& file) {
  require(path_exists(file), "{}: no adapter here; make one with espalier finetune", file.string());
  const json value = read_json(file);
  const JsonObject config(value, file.string());
  require(config.string("peft_type") == "LORA", "{}: peft_type: wanted LORA, found {}",
          file.string(), config.string("peft_type"));
  for (const std::string_view key : {"use_dora", "use_qalora", "fan_in_fan_out", "lora_bias"}) {
    refuse_option(config, key, false);
  }
  for (const std::string_view key :
       {"modules_to_save", "rank_pattern", "alpha_pattern", "trainable_token_indices",
        "layer_replication", "alora_invocation_tokens", "arrow_config", "kasa_config",
        "monteclora_config", "use_bdlora"}) {
    refuse_option(config, key, nullptr);
  }
  refuse_option(config, "bias", "none");
  refuse_changed_base(config);
  Adapter adapter;
  adapter.options.rank = config.integer("r");
  require(adapter.options.rank > 0, "{}: r: wanted at least 1, found {}", file.string(),
          adapter.options.rank);
  adapter.options.alpha = config.number("lora_alpha");
  adapter.options.dropout = config.has("lora_dropout") ? config.number("lora_dropout") : 0.0;
  const bool stabilized = config.has("use_rslora") && config.boolean("use_rslora");
  const auto rank = static_cast<double>(adapter.options.rank);
  adapter.scale = adapter.options.alpha / (stabilized ? std::sqrt(rank) : rank);
  return adapter;
}

/// PEFT's key as the name of a tensor of ours.
std::string name_of_key(const std::string& key, const fs::path& file) {
  require(key.starts_with(kPeftPrefix) &&
              (key.ends_with(".lora_A.weight") || key.ends_with(".lora_B.weight")),
          "{}: {}: wanted {}...lora_A.weight or lora_B.weight", file.string(), key, kPeftPrefix);
  const std::string name = key.substr(kPeftPrefix.size());
  return name.starts_with(kTextOnly) ? fmt::format("{}.{}", kDecoderName, name.substr(6)) : name;
}

/// The product that an adapter's tensor belongs to.
std::string product_of(const std::string& tensor) {
  return tensor.substr(0, tensor.rfind(".lora_"));
}

/// A tensor of a file or of a checkpoint's weights as it is stored, on the CPU.
template <typename Source>
at::Tensor stored_tensor(const Source& source, const TensorInfo& info, const std::string& name) {
  at::Tensor tensor = at::empty(info.shape, scalar_type_of(info.dtype));
  const std::span<const std::byte> bytes = source.bytes(name);
  std::memcpy(tensor.mutable_data_ptr(), bytes.data(), bytes.size());
  return tensor;
}

at::Tensor tensor_of(const SafetensorsFile& file, const std::string& key) {
  const at::Tensor tensor = stored_tensor(file, file.tensors().at(key), key).to(at::kFloat);
  require(tensor.isfinite().all().item<bool>(), "{}: {} holds numbers that are not finite",
          file.path().string(), key);
  return tensor;
}

/// Whether a tensor fits a product; which wants [rank, in] and [out, rank].
void check_shape(const fs::path& place, const std::string& name, const at::Tensor& tensor,
                 std::int64_t rows, std::int64_t columns) {
  require(tensor.dim() == 2 && tensor.size(0) == rows && tensor.size(1) == columns,
          "{}: {} is {}, but the model wants {}x{}: it was made for another model", place.string(),
          name, fmt::join(tensor.sizes(), "x"), rows, columns);
}

/// Products with their merged weights, in the stored type and on the CPU. Neither the base nor the
/// adapter is taken from the model that ran: it may have rounded both to another type.
std::map<std::string, at::Tensor> merged_weights(const ModelDirectory& base, const Adapter& adapter,
                                                 MergeReport& report) {
  std::map<std::string, at::Tensor> merged;
  for (const auto& [name, a] : adapter.tensors) {
    const std::string product = product_of(name);
    if (name != lora_a_name(product)) continue;
    const std::string weight_name = product + ".weight";
    const at::Tensor stored =
        stored_tensor(base.weights, base.weights.info(weight_name), weight_name);
    const at::Tensor update = at::matmul(adapter.tensors.at(lora_b_name(product)), a);
    const at::Tensor weight =
        (stored.to(at::kFloat) + adapter.scale * update).to(stored.scalar_type()).contiguous();
    report.numbers += weight.numel();
    report.changed += (weight != stored).sum().item<std::int64_t>();
    merged[weight_name] = weight;
  }
  return merged;
}

/// How far the next tokens' distributions of two models are apart, over a fixed row of drawn ids.
double mean_divergence(const Qwen3VL& adapted, const Qwen3VL& merged) {
  constexpr std::int64_t kTokens = 64;
  Random random(/*seed=*/1);
  ModelInput input;
  input.input_ids = at::empty({kTokens}, at::kLong);
  auto* ids = input.input_ids.mutable_data_ptr<std::int64_t>();
  const auto words = static_cast<std::uint64_t>(
      std::min(adapted.config.image_token_id, adapted.config.text.vocab_size) / 2);
  for (std::int64_t i = 0; i < kTokens; ++i)
    ids[i] = static_cast<std::int64_t>(random.below(words));
  const at::Tensor line = at::arange(kTokens, at::kLong);
  input.position_ids = at::stack({line, line, line});
  input.segments = {{.begin = 0, .end = kTokens}};
  const auto log_probabilities = [&](const Qwen3VL& model) {
    const at::Tensor logits = head(model, final_norm(model, forward(model, input)));
    return at::log_softmax(logits.to(at::kFloat), -1);
  };
  const at::Tensor p = log_probabilities(adapted);
  return (p.exp() * (p - log_probabilities(merged))).sum(-1).mean().item<double>();
}

/// Writes weights in place of a base's, an adapter merged.
///
/// \param model    with the adapter, as it runs
/// \param adapter  without tensors where there is none
MergeReport write_merged(const ModelDirectory& base, const Qwen3VL& model, const Adapter& adapter,
                         std::map<std::string, at::Tensor> changed, const fs::path& out,
                         const std::string& card, bool force) {
  const c10::AutoGradMode no_grad(false);
  MergeReport report;
  const auto merged = merged_weights(base, adapter, report);
  require(report.numbers == 0 || report.changed > 0,
          "{}: the adapter changes no weight once it is rounded to the stored type; keep it as an "
          "adapter, or train it longer or at a higher rate",
          out.string());
  changed.insert(merged.begin(), merged.end());
  write_changed_checkpoint(
      base, out,
      {.replace = [&](const std::string& name) -> std::optional<std::span<const std::byte>> {
         const auto found = changed.find(name);
         if (found == changed.end()) return std::nullopt;
         return bytes_of(found->second);
       },
       .card = card,
       .force = force});
  if (report.numbers == 0) return report;
  Qwen3VL plain = model;
  visit_linears(plain.language_model, [&](const std::string& name, Linear& linear) {
    if (!linear.adapter) return;
    linear.weight = merged.at(name + ".weight").to(linear.weight.options());
    linear.adapter.reset();
  });
  report.divergence = mean_divergence(model, plain);
  return report;
}

}  // namespace

Adapter read_adapter(const fs::path& folder) {
  Adapter adapter = read_adapter_config(folder / kConfigName);
  const fs::path path = folder / kWeightsName;
  const SafetensorsFile file(path);
  std::set<std::string> targets;
  for (const auto& [key, info] : file.tensors()) {
    const std::string name = name_of_key(key, path);
    adapter.tensors[name] = tensor_of(file, key);
    const std::string product = product_of(name);
    targets.insert(product.substr(product.rfind('.') + 1));
  }
  for (const auto& [name, tensor] : adapter.tensors) {
    const std::string product = product_of(name);
    require(adapter.tensors.contains(lora_a_name(product)) &&
                adapter.tensors.contains(lora_b_name(product)),
            "{}: {} has no partner", path.string(), name);
  }
  require(!adapter.tensors.empty(), "{}: it holds no tensor", path.string());
  adapter.options.targets.assign(targets.begin(), targets.end());
  const auto note = file.metadata().find(kBaseNote);
  if (note != file.metadata().end()) adapter.base_fingerprint = note->second;
  Sha256 hash;
  for (const char* part : {kConfigName, kWeightsName}) hash.update(read_file(folder / part));
  adapter.fingerprint = hash.finish();
  return adapter;
}

void write_adapter(const fs::path& folder, const TrainedModel& trained,
                   const std::string& base_name, const std::string& base_fingerprint) {
  std::vector<TensorSpec> specs;
  for (const ParameterSlot& slot : trained.parameters.slots) {
    specs.push_back({.name = fmt::format("{}{}", kPeftPrefix, slot.name),
                     .dtype = DType::F32,
                     .shape = slot.shape});
  }
  SafetensorsWriter writer(folder / kWeightsName, specs, /*force=*/true,
                           {{"format", "pt"}, {kBaseNote, base_fingerprint}});
  const at::Tensor values = trained.parameters.values.cpu();
  for (const ParameterSlot& slot : trained.parameters.slots) {
    writer.write(bytes_of(Parameters::view(values, slot)));
  }
  writer.finish();

  const std::int64_t all = std::ssize(trained.model.language_model.layers);
  const bool some = std::ssize(trained.part.layers) < all;
  const json config = {{"peft_type", "LORA"},
                       {"task_type", "CAUSAL_LM"},
                       {"base_model_name_or_path", base_name},
                       {"r", trained.lora.rank},
                       {"lora_alpha", trained.lora.alpha},
                       {"lora_dropout", trained.lora.dropout},
                       {"target_modules", trained.lora.targets},
                       {"layers_to_transform", some ? json(trained.part.layers) : json(nullptr)},
                       {"layers_pattern", some ? json("layers") : json(nullptr)},
                       {"bias", "none"},
                       {"fan_in_fan_out", false},
                       {"inference_mode", true},
                       {"init_lora_weights", true},
                       {"use_rslora", false},
                       {"use_dora", false},
                       {"modules_to_save", nullptr},
                       {"rank_pattern", json::object()},
                       {"alpha_pattern", json::object()},
                       {"revision", nullptr}};
  write_file(folder / kConfigName, config.dump(2) + "\n", /*force=*/true);
}

void attach_adapter(Qwen3VL& model, const Adapter& adapter, const fs::path& place,
                    const std::string& fingerprint) {
  require(adapter.base_fingerprint.empty() || adapter.base_fingerprint == fingerprint,
          "{}: it was trained on the model {}..., but this one is {}...", place.string(),
          adapter.base_fingerprint.substr(0, 12), fingerprint.substr(0, 12));
  std::set<std::string> known;
  visit_linears(model.language_model, [&](const std::string& name, Linear& linear) {
    known.insert(name);
    const auto a = adapter.tensors.find(lora_a_name(name));
    if (a == adapter.tensors.end()) return;
    const at::Tensor& b = adapter.tensors.at(lora_b_name(name));
    const std::int64_t rank = adapter.options.rank;
    check_shape(place, a->first, a->second, rank, linear.weight.size(1));
    check_shape(place, lora_b_name(name), b, linear.weight.size(0), rank);
    linear.adapter = LoraAdapter{.a = a->second.to(linear.weight.options()),
                                 .b = b.to(linear.weight.options()),
                                 .scale = adapter.scale};
  });
  for (const auto& [name, tensor] : adapter.tensors) {
    require(known.contains(product_of(name)),
            "{}: {}: the model, of {} layers, has no such product: it was made for another",
            place.string(), name, model.language_model.layers.size());
  }
}

MergeReport merge_adapter(const ModelDirectory& base, const fs::path& adapter, const fs::path& out,
                          bool force) {
  const Adapter read = read_adapter(adapter);
  Qwen3VL model = load_model(base);
  attach_adapter(model, read, adapter, fingerprint(base));
  const std::string card = fmt::format(
      "## Adapter\n\nA LoRA adapter of rank {} is merged into these weights.\n", read.options.rank);
  return write_merged(base, model, read, {}, out, card, force);
}

MergeReport write_trained(const ModelDirectory& base, const TrainedModel& trained,
                          const fs::path& out, const std::string& card, bool force) {
  const at::Tensor values = trained.parameters.values.cpu();
  std::map<std::string, at::Tensor> changed;
  Adapter adapter;
  for (const ParameterSlot& slot : trained.parameters.slots) {
    const at::Tensor value = Parameters::view(values, slot);
    if (trained.part.lora) {
      adapter.tensors[slot.name] = value;
    } else {
      const auto stored = scalar_type_of(base.weights.info(slot.name).dtype);
      changed[slot.name] = value.to(stored).contiguous();
    }
  }
  adapter.scale = trained.lora.alpha / static_cast<double>(trained.lora.rank);
  return write_merged(base, trained.model, adapter, std::move(changed), out, card, force);
}

}  // namespace espalier
