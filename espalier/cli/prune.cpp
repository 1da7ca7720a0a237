// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "espalier/base/error.h"
#include "espalier/base/files.h"
#include "espalier/cli/commands.h"
#include "espalier/cli/output.h"
#include "espalier/prune/choose.h"
#include "espalier/prune/make_plan.h"
#include "espalier/prune/surgery.h"
#include "espalier/records/layer_ranges.h"

namespace espalier {

namespace {

namespace fs = std::filesystem;

/// "Qwen/Name" of a hub's cache, models--Qwen--Name/snapshots/HASH; empty of any other folder.
std::string name_in_cache(const fs::path& folder) {
  constexpr std::string_view kStart = "models--";
  std::string name = folder.parent_path().parent_path().filename().string();
  if (folder.parent_path().filename() != "snapshots" || !name.starts_with(kStart)) return {};
  name.erase(0, kStart.size());
  const std::size_t border = name.find("--");
  return border == std::string::npos ? name : name.replace(border, 2, "/");
}

/// The name that the card and the next plan call the base by.
std::string name_of_base(const PruneArguments& arguments) {
  if (!arguments.base_name.empty()) return arguments.base_name;
  fs::path path = fs::weakly_canonical(arguments.model);
  if (!path.has_filename()) path = path.parent_path();
  const std::string cached = name_in_cache(path);
  if (!cached.empty()) return cached;
  return fs::is_directory(path) ? path.filename().string() : path.stem().string();
}

/// The plan of a user who names the layers.
Plan choose_by_hand(const PruneArguments& arguments, std::int64_t num_layers) {
  Plan plan;
  plan.removed = parse_layers(arguments.layers, "--layers");
  std::vector<std::int64_t> added;
  if (!arguments.protect.empty()) added = parse_layers(arguments.protect, "--protect");
  plan.protected_layers = protected_layers(num_layers, added);
  plan.budget = layer_budget(std::ssize(plan.removed));
  plan.options =
      nlohmann::json{{"layers", arguments.layers}, {"protect", arguments.protect}}.dump();
  return plan;
}

/// The plan of a ranking, which must be the model's own.
Plan choose_by_ranking(const PruneArguments& arguments, const Ranking& ranking,
                       const ModelDirectory& base) {
  const std::string found = fingerprint(base);
  require(ranking.model.fingerprint == found,
          "{}: the ranking of another model (fingerprint {}) than {} (fingerprint {}); probe and "
          "rank this one",
          arguments.ranking.string(), ranking.model.fingerprint, arguments.model.string(), found);
  ChoiceOptions options{.criterion = arguments.criterion,
                        .rule = arguments.rule,
                        .budget = arguments.remove ? layer_budget(*arguments.remove)
                                                   : parse_budget(arguments.budget)};
  if (!arguments.protect.empty()) options.protect = parse_layers(arguments.protect, "--protect");
  Plan plan = choose_layers(ranking, options);
  plan.options = nlohmann::json{{"criterion", plan.criterion},
                                {"rule", plan.rule},
                                {"budget", to_string(plan.budget)},
                                {"protect", arguments.protect}}
                     .dump();
  return plan;
}

/// What a ranking was made from, for the card.
std::vector<std::string> describe_data(const Ranking& ranking) {
  std::vector<std::string> lines;
  for (const RankedDomain& domain : ranking.domains) {
    lines.push_back(fmt::format("Domain `{}`: {} samples", domain.name, domain.samples));
  }
  lines.push_back(fmt::format("Probe record: `{}`", ranking.probe_fingerprint));
  return lines;
}

std::string less(const BeforeAfter& pair) {
  const auto before = static_cast<double>(pair.before);
  return fmt::format("{:.1f} % less",
                     100.0 * static_cast<double>(pair.before - pair.after) / before);
}

std::uint64_t unsigned_of(std::int64_t number) { return static_cast<std::uint64_t>(number); }

/// \param levels  how many DeepStack features the model has
void print_plan(const Plan& plan, std::size_t levels) {
  fmt::print("removes       {} of {} layers: {}\n", plan.k, plan.num_layers,
             layer_ranges(plan.removed));
  fmt::print("keeps         {}: {}\n", plan.kept.size(), layer_ranges(plan.kept));
  if (!plan.lineage.empty()) {
    fmt::print("originally    removes {}; keeps {} of {} layers of {}\n",
               layer_ranges(plan.removed_original), layer_ranges(plan.kept_original),
               plan.lineage.front().num_layers, plan.lineage.front().base_name);
  }
  if (!plan.criterion.empty()) {
    fmt::print("chosen        by {}, rule {}, budget {}\n", plan.criterion, plan.rule,
               to_string(plan.budget));
  }
  for (const std::string& stage : plan.relaxations) fmt::print("              {}\n", stage);
  fmt::print("parameters    {} -> {} ({})\n", human_count(unsigned_of(plan.parameters.before)),
             human_count(unsigned_of(plan.parameters.after)), less(plan.parameters));
  fmt::print("weights       {} -> {} ({})\n", human_bytes(unsigned_of(plan.bytes.before)),
             human_bytes(unsigned_of(plan.bytes.after)), less(plan.bytes));
  if (plan.deepstack_shift) {
    fmt::print(
        "DeepStack     features are added after the first {} places, from where a layer goes: they "
        "now come after deeper layers; --protect 0-{} avoids that\n",
        levels, levels - 1);
  }
}

/// Where the base lies, as seen from the plan's own folder, so that both can move together.
std::string path_to_base(const PruneArguments& arguments) {
  return fs::weakly_canonical(arguments.model)
      .lexically_relative(fs::weakly_canonical(fs::absolute(arguments.out)).parent_path())
      .string();
}

/// Writes what was asked for. \return  weights of other formats that were left behind
std::vector<fs::path> write_output(const PruneArguments& arguments, const ModelDirectory& base,
                                   const std::vector<std::string>& data, Plan& plan) {
  if (arguments.dry_run) return {};
  if (arguments.map_only) {
    plan.base_path = path_to_base(arguments);
    write_file(arguments.out, to_json_text(plan), arguments.force);
    return {};
  }
  return prune_checkpoint(
             base, plan, arguments.out,
             {.max_file_bytes = arguments.shard_bytes, .data = data, .force = arguments.force})
      .not_copied;
}

void talk(const PruneArguments& arguments, const std::vector<fs::path>& not_copied) {
  for (const fs::path& path : not_copied) {
    fmt::print(stderr, "not copied: {} (weights of another format, which are the base's)\n",
               path.string());
  }
  if (arguments.dry_run) {
    fmt::print(stderr, "nothing was written\n");
  } else {
    fmt::print(stderr, "wrote {}; next: espalier verify {} --against {}\n", arguments.out.string(),
               arguments.out.string(), arguments.model.string());
  }
}

}  // namespace

int run_prune(const PruneArguments& arguments) {
  const ModelDirectory base = open_model_directory(arguments.model, {.base = arguments.base});
  Plan choice;
  std::vector<std::string> data;
  if (arguments.ranking.empty()) {
    choice = choose_by_hand(arguments, base.config.text.num_hidden_layers);
  } else {
    const Ranking ranking = read_ranking(arguments.ranking);
    choice = choose_by_ranking(arguments, ranking, base);
    data = describe_data(ranking);
  }
  choice.base_name = name_of_base(arguments);
  Plan plan = complete_plan(base, std::move(choice));
  const std::vector<fs::path> not_copied = write_output(arguments, base, data, plan);
  if (arguments.json) {
    auto result = nlohmann::json::parse(to_json_text(plan));
    result["out"] = arguments.out.string();
    result["not_copied"] = nlohmann::json::array();
    for (const fs::path& path : not_copied) result["not_copied"].push_back(path.string());
    print_json(result);
  } else {
    print_plan(plan, base.config.vision.deepstack_visual_indexes.size());
  }
  if (!arguments.quiet) talk(arguments, not_copied);
  return 0;
}

}  // namespace espalier
