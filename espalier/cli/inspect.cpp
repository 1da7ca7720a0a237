// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <nlohmann/json.hpp>

#include "espalier/base/error.h"
#include "espalier/checkpoint/model_directory.h"
#include "espalier/cli/commands.h"
#include "espalier/cli/describe.h"
#include "espalier/cli/output.h"
#include "espalier/records/layer_ranges.h"

namespace espalier {

namespace {

void print_description(const nlohmann::json& d) {
  const auto& decoder = d["decoder"];
  const auto& vision = d["vision"];
  fmt::print("architecture  {}\n", d["architecture"].get<std::string>());
  fmt::print("parameters    {} in {} tensors\n", human_count(d["parameters"].get<std::uint64_t>()),
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
  if (d.contains("pruned")) {
    const auto& pruned = d["pruned"];
    const auto removed = pruned["removed"].get<std::vector<std::int64_t>>();
    fmt::print("pruned        {} of {} layers of {} removed: {}\n", removed.size(),
               pruned["base_layers"].get<int>(), pruned["base"].get<std::string>(),
               layer_ranges(removed));
  }
  fmt::print("fingerprint   {}\n", d["fingerprint"].get<std::string>());
}

}  // namespace

int run_inspect(const InspectArguments& arguments) {
  const OpenOptions options{.base = arguments.base};
  const auto problems = find_problems(arguments.model, options);
  nlohmann::json report = {{"problems", problems}};
  if (problems.empty()) report.update(describe(open_model_directory(arguments.model, options)));
  if (arguments.json) {
    print_json(report);
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
