// SPDX-License-Identifier: Apache-2.0
#include "espalier/train/trained_model.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <numeric>
#include <span>

#include "espalier/base/error.h"
#include "espalier/base/hash.h"
#include "espalier/base/random.h"
#include "espalier/base/words.h"
#include "espalier/model/tensors.h"
#include "espalier/records/layer_ranges.h"

namespace espalier {

namespace {

std::vector<std::int64_t> all_layers(std::int64_t num_layers) {
  std::vector<std::int64_t> layers(static_cast<std::size_t>(num_layers));
  std::iota(layers.begin(), layers.end(), 0);
  return layers;
}

std::vector<std::int64_t> layers_named(std::string_view text, std::int64_t num_layers) {
  auto layers = parse_layers(text, "--train");
  for (const std::int64_t layer : layers) {
    require(layer < num_layers, "--train: the model has layers 0 to {}, found {}", num_layers - 1,
            layer);
  }
  return layers;
}

void add_word(TrainedPart& part, std::string_view word, std::int64_t num_layers) {
  if (word.starts_with("layers:") || word.starts_with("lora:")) {
    part.lora = part.lora || word.starts_with("lora:");
    const auto more = layers_named(word.substr(word.find(':') + 1), num_layers);
    part.layers.insert(part.layers.end(), more.begin(), more.end());
    return;
  }
  const bool all = word == "all";
  const bool known = all || word == "lora" || word == "decoder" || word == "vision" ||
                     word == "projector" || word == "embedding";
  if (!known) {
    throw InputError("--train: " +
                     unknown_word("part", std::string(word),
                                  {"all", "decoder", "vision", "projector", "embedding", "lora",
                                   "layers:FIRST-LAST", "lora:FIRST-LAST"}));
  }
  part.lora = part.lora || word == "lora";
  part.embedding = part.embedding || all || word == "embedding";
  part.vision = part.vision || all || word == "vision";
  part.projector = part.projector || all || word == "projector";
  if (all || word == "decoder" || word == "lora") part.layers = all_layers(num_layers);
}

ParameterKind kind_of(const std::string& name, const at::Tensor& tensor) {
  if (tensor.dim() < 2) return ParameterKind::Vector;
  const bool table = name.ends_with("embed_tokens.weight") || name.ends_with("pos_embed.weight") ||
                     name.starts_with("lm_head");
  return table ? ParameterKind::Table : ParameterKind::Matrix;
}

bool is_trained(const TrainedPart& part, const std::string& name) {
  if (name.starts_with(kVisionName)) {
    return name.find("merger") == std::string::npos ? part.vision : part.projector;
  }
  return part.embedding;
}

/// Calls visit with each tensor that is trained as a whole.
void visit_trained(Qwen3VL& model, const TrainedPart& part, const TensorVisitor& visit) {
  visit_tensors(model.visual, [&](const std::string& name, at::Tensor& tensor) {
    if (tensor.defined() && is_trained(part, name)) visit(name, tensor);
  });
  LanguageModel& decoder = model.language_model;
  for (const std::int64_t layer : part.layers) {
    visit_tensors(decoder.layers[static_cast<std::size_t>(layer)], layer,
                  [&](const std::string& name, at::Tensor& tensor) {
                    if (tensor.defined()) visit(name, tensor);
                  });
  }
  if (!part.embedding) return;
  visit(fmt::format("{}.embed_tokens.weight", kDecoderName), decoder.embed_tokens);
  visit(fmt::format("{}.norm.weight", kDecoderName), decoder.norm);
  if (!model.config.tie_word_embeddings) visit("lm_head.weight", model.lm_head.weight);
}

/// Calls visit with each product that gets an adapter.
void visit_adapted(Qwen3VL& model, const TrainedPart& part, const LoraOptions& lora,
                   const LinearVisitor& visit) {
  for (const std::int64_t layer : part.layers) {
    visit_linears(model.language_model.layers[static_cast<std::size_t>(layer)], layer,
                  [&](const std::string& name, Linear& linear) {
                    const auto last = name.substr(name.rfind('.') + 1);
                    if (std::ranges::count(lora.targets, last) > 0) visit(name, linear);
                  });
  }
}

void check_targets(const LoraOptions& lora) {
  const LoraOptions known;
  require(lora.rank > 0, "--lora-rank: want at least 1, found {}", lora.rank);
  require(0.0 <= lora.dropout && lora.dropout < 1.0, "--lora-dropout: want 0 <= p < 1, found {}",
          lora.dropout);
  require(!lora.targets.empty(), "--lora-targets: want at least one product");
  for (const std::string& target : lora.targets) {
    if (std::ranges::count(known.targets, target) == 0) {
      throw InputError("--lora-targets: " + unknown_word("product", target, known.targets));
    }
  }
}

/// kaiming_uniform with a = sqrt(5), as PEFT begins: uniform within +-1/sqrt(in).
at::Tensor new_lora_a(std::int64_t rank, std::int64_t in, Random& random) {
  at::Tensor a = at::empty({rank, in}, at::kFloat);
  const double bound = 1.0 / std::sqrt(static_cast<double>(in));
  auto* numbers = a.mutable_data_ptr<float>();
  for (std::int64_t i = 0; i < a.numel(); ++i) {
    numbers[i] = static_cast<float>((2.0 * random.uniform() - 1.0) * bound);
  }
  return a;
}

std::vector<NewParameter> new_adapters(Qwen3VL& model, const TrainedPart& part,
                                       const LoraOptions& lora, std::uint64_t seed) {
  std::vector<NewParameter> parameters;
  Random random(seed, /*stream=*/0x10ca);
  visit_adapted(model, part, lora, [&](const std::string& name, Linear& linear) {
    parameters.push_back({.name = lora_a_name(name),
                          .value = new_lora_a(lora.rank, linear.weight.size(1), random),
                          .kind = ParameterKind::Matrix});
    parameters.push_back({.name = lora_b_name(name),
                          .value = at::zeros({linear.weight.size(0), lora.rank}, at::kFloat),
                          .kind = ParameterKind::Matrix});
  });
  return parameters;
}

}  // namespace

TrainedPart parse_trained_part(std::string_view text, std::int64_t num_layers) {
  TrainedPart part;
  std::int64_t words = 0;
  // Commas separate words; those of a list of layers are followed by a digit.
  for (std::size_t begin = 0; begin <= text.size(); ++words) {
    std::size_t end = text.find(',', begin);
    while (end != std::string_view::npos && end + 1 < text.size() &&
           std::isdigit(static_cast<unsigned char>(text[end + 1])) != 0) {
      end = text.find(',', end + 1);
    }
    end = std::min(end, text.size());
    add_word(part, text.substr(begin, end - begin), num_layers);
    begin = end + 1;
  }
  require(!part.lora || words == 1,
          "--train {}: adapters are trained alone, since an adapter's files hold nothing else",
          text);
  std::ranges::sort(part.layers);
  part.layers.erase(std::unique(part.layers.begin(), part.layers.end()), part.layers.end());
  return part;
}

std::int64_t TrainedModel::lowest_layer() const {
  if (trains_inputs()) return 0;
  return part.layers.empty() ? std::ssize(model.language_model.layers) : part.layers.front();
}

std::string lora_a_name(std::string_view linear) { return fmt::format("{}.lora_A.weight", linear); }
std::string lora_b_name(std::string_view linear) { return fmt::format("{}.lora_B.weight", linear); }

TrainedModel make_trained_model(Qwen3VL model, const TrainedPart& part, const LoraOptions& lora,
                                std::uint64_t seed) {
  TrainedModel trained{.model = std::move(model), .parameters = {}, .part = part, .lora = lora};
  Qwen3VL& inner = trained.model;
  if (part.lora) {
    check_targets(lora);
    trained.parameters =
        make_parameters(new_adapters(inner, part, lora, seed), inner.dtype(), inner.device());
    const double scale = lora.alpha / static_cast<double>(lora.rank);
    const auto view = [&](const std::string& name) {
      return Parameters::view(trained.parameters.compute, *trained.parameters.find(name));
    };
    visit_adapted(inner, part, lora, [&](const std::string& name, Linear& linear) {
      linear.adapter =
          LoraAdapter{.a = view(lora_a_name(name)), .b = view(lora_b_name(name)), .scale = scale};
    });
    return trained;
  }
  std::vector<NewParameter> parameters;
  visit_trained(inner, part, [&](const std::string& name, at::Tensor& tensor) {
    parameters.push_back({.name = name, .value = tensor, .kind = kind_of(name, tensor)});
  });
  require(!parameters.empty(), "--train: nothing of the model is to be trained");
  trained.parameters = make_parameters(std::move(parameters), inner.dtype(), inner.device());
  visit_trained(inner, part, [&](const std::string& name, at::Tensor& tensor) {
    tensor = Parameters::view(trained.parameters.compute, *trained.parameters.find(name));
  });
  if (inner.config.tie_word_embeddings) {
    inner.lm_head.weight = inner.language_model.embed_tokens;
  }
  return trained;
}

std::uint64_t mix_seed(std::initializer_list<std::uint64_t> parts) {
  const auto bytes = std::as_bytes(std::span(parts.begin(), parts.size()));
  const auto hash = xxh3_128({bytes});
  std::uint64_t seed = 0;
  for (std::size_t i = 0; i < 8; ++i) seed = (seed << 8) | static_cast<std::uint64_t>(hash[i]);
  return seed;
}

}  // namespace espalier
