// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <nlohmann/json.hpp>

#include "espalier/base/error.h"
#include "espalier/checkpoint/model_directory.h"
#include "espalier/cli/commands.h"

namespace espalier {

namespace {

/// "4.26 GB" of a number of bytes.
std::string human_bytes(std::uint64_t bytes) {
  const auto value = static_cast<double>(bytes);
  if (value >= 1e9) return fmt::format("{:.2f} GB", value / 1e9);
  if (value >= 1e6) return fmt::format("{:.1f} MB", value / 1e6);
  return fmt::format("{:.1f} kB", value / 1e3);
}

std::uint64_t weight_bytes(const ModelDirectory& model) {
  std::uint64_t total = 0;
  for (const auto& file : model.weights.files()) {
    for (const auto& [name, info] : file->tensors()) total += info.end - info.begin;
  }
  return total;
}

nlohmann::json describe(const ModelDirectory& model) {
  const TextConfig& text = model.config.text;
  const VisionConfig& vision = model.config.vision;
  return {{"architecture", "Qwen3VLForConditionalGeneration"},
          {"dtype", name_of(model.config.dtype)},
          {"parameters", count_parameters(model.config)},
          {"tensors", model.weights.names().size()},
          {"weight_bytes", weight_bytes(model)},
          {"files", model.weights.files().size()},
          {"fingerprint", fingerprint(model)},
          {"tie_word_embeddings", model.config.tie_word_embeddings},
          {"decoder",
           {{"layers", text.num_hidden_layers},
            {"hidden_size", text.hidden_size},
            {"intermediate_size", text.intermediate_size},
            {"heads", text.num_attention_heads},
            {"kv_heads", text.num_key_value_heads},
            {"head_dim", text.head_dim},
            {"vocab_size", text.vocab_size}}},
          {"vision",
           {{"blocks", vision.depth},
            {"hidden_size", vision.hidden_size},
            {"intermediate_size", vision.intermediate_size},
            {"heads", vision.num_heads},
            {"deepstack_visual_indexes", vision.deepstack_visual_indexes}}}};
}

void print_description(const nlohmann::json& d) {
  const auto& decoder = d["decoder"];
  const auto& vision = d["vision"];
  fmt::print("architecture  {}\n", d["architecture"].get<std::string>());
  fmt::print("parameters    {:.3f} B in {} tensors\n", d["parameters"].get<double>() / 1e9,
             d["tensors"].get<std::size_t>());
  fmt::print("weights       {} of {} in {} file(s), {} head\n",
             human_bytes(d["weight_bytes"].get<std::uint64_t>()), d["dtype"].get<std::string>(),
             d["files"].get<std::size_t>(),
             d["tie_word_embeddings"].get<bool>() ? "tied" : "separate");
  fmt::print("decoder       {} layers of {}, {}/{} heads of {}, feed-forward {}, vocabulary {}\n",
             decoder["layers"].get<int>(), decoder["hidden_size"].get<int>(),
             decoder["heads"].get<int>(), decoder["kv_heads"].get<int>(),
             decoder["head_dim"].get<int>(), decoder["intermediate_size"].get<int>(),
             decoder["vocab_size"].get<int>());
  fmt::print("vision        {} blocks of {}, {} heads, feed-forward {}, DeepStack after {}\n",
             vision["blocks"].get<int>(), vision["hidden_size"].get<int>(),
             vision["heads"].get<int>(), vision["intermediate_size"].get<int>(),
             fmt::join(vision["deepstack_visual_indexes"].get<std::vector<int>>(), ", "));
  fmt::print("fingerprint   {}\n", d["fingerprint"].get<std::string>());
}

}  // namespace

int run_inspect(const InspectArguments& arguments) {
  const auto problems = find_problems(arguments.model);
  nlohmann::json report = {{"problems", problems}};
  if (problems.empty()) report.update(describe(open_model_directory(arguments.model)));
  if (arguments.json) {
    fmt::print("{}\n", report.dump(2));
  } else if (problems.empty()) {
    print_description(report);
    fmt::print("problems      none\n");
  } else {
    fmt::print("problems in {}:\n", arguments.model.string());
    for (const auto& problem : problems) fmt::print("  - {}\n", problem);
  }
  return problems.empty() ? 0 : 2;
}

}  // namespace espalier
