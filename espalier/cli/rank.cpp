// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>

#include "espalier/base/error.h"
#include "espalier/base/files.h"
#include "espalier/base/words.h"
#include "espalier/cli/commands.h"
#include "espalier/prune/ranking.h"
#include "espalier/records/layer_ranges.h"
#include "espalier/records/probe_record.h"

namespace espalier {

namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kDeepStackLayers = 3;  // a vision feature is added after each of the first

/// "math=0.3,nonmath=0.7"; a domain's name may have an equals sign, its weight has none.
std::vector<std::pair<std::string, double>> parse_weights(std::string_view text) {
  std::vector<std::pair<std::string, double>> weights;
  if (text.empty()) return weights;
  for (const std::string& part : split_at_commas(text)) {
    const std::size_t equals = part.rfind('=');
    const std::string number = equals == std::string::npos ? "" : part.substr(equals + 1);
    double weight = 0.0;
    const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), weight);
    require(!number.empty() && error == std::errc() && end == number.data() + number.size(),
            "--weights: wanted NAME=W,NAME=W with a number for each domain, found \"{}\"", part);
    weights.emplace_back(part.substr(0, equals), weight);
  }
  return weights;
}

std::optional<Overflow> parse_overflow(const std::optional<std::string>& word) {
  if (!word) return std::nullopt;
  if (*word == "gap-dp") return Overflow::GapDp;
  return *word == "error" ? Overflow::Error : Overflow::Stages;
}

RankOptions options_of(const RankArguments& arguments) {
  RankOptions options{
      .criteria = arguments.criteria,
      .all = arguments.all,
      .criterion = {.alpha = arguments.alpha,
                    .weights = parse_weights(arguments.weights),
                    .averaging =
                        arguments.average == "subtasks" ? Averaging::Subtasks : Averaging::Samples,
                    .seed = arguments.seed},
      .rule = arguments.rule,
      .min_gap = arguments.min_gap,
      .max_run = arguments.max_run,
      .overflow = parse_overflow(arguments.overflow),
      .resamples = arguments.bootstrap};
  for (const std::string& budget : arguments.budgets) {
    options.budgets.push_back(parse_budget(budget));
  }
  for (const std::int64_t layers : arguments.remove) {
    options.budgets.push_back(layer_budget(layers));
  }
  if (!arguments.protect.empty()) options.protect = parse_layers(arguments.protect, "--protect");
  return options;
}

std::string percent(const std::optional<double>& share) {
  return share ? fmt::format("{:.0f}%", 100.0 * *share) : "-";
}

std::size_t width_of_names(const Ranking& ranking) {
  std::size_t width = std::string_view("criterion").size();
  for (const CriterionResult& criterion : ranking.criteria) {
    width = std::max(width, criterion.name.size());
  }
  return width;
}

void print_selections(const Ranking& ranking) {
  const std::size_t width = width_of_names(ranking);
  const Selection* last = nullptr;
  for (const Selection& selection : ranking.selections) {
    if (last == nullptr || last->budget != selection.budget) {
      fmt::print("\nbudget {}: removes {} of {} prunable layers, of {} in all\n",
                 to_string(selection.budget), selection.k, ranking.prunable.size(),
                 ranking.model.num_layers);
      fmt::print("  {:<{}}  {:<10}  {:>6}  {:>9}  removed\n", "criterion", width, "rule", "stable",
                 "price");
    }
    const bool plain = selection.stages.size() <= 1;
    fmt::print("  {:<{}}  {:<10}  {:>6}  {:>9.3g}  {}{}\n", selection.criterion, width,
               selection.rule, percent(selection.stability), selection.price,
               layer_ranges(selection.removed),
               plain ? "" : fmt::format("  ({})", fmt::join(selection.stages, ", ")));
    last = &selection;
  }
}

void print_orders(const Ranking& ranking) {
  constexpr std::size_t kShown = 12;
  const std::size_t width = width_of_names(ranking);
  fmt::print("\nfirst to go\n");
  for (const CriterionResult& criterion : ranking.criteria) {
    const std::size_t shown = std::min(kShown, criterion.order.size());
    fmt::print("  {:<{}}  {}{}\n", criterion.name, width,
               fmt::join(std::span(criterion.order).first(shown), " "),
               shown < criterion.order.size() ? " ..." : "");
  }
}

void print_alpha(const Ranking& ranking) {
  for (const AlphaDiagram& diagram : ranking.alpha) {
    fmt::print("\nalpha, budget {}: 0 is {}, 1 is {}; * on the Pareto front\n",
               to_string(diagram.budget), diagram.first_domain, diagram.second_domain);
    for (const AlphaInterval& interval : diagram.intervals) {
      fmt::print("  {:.4f} to {:.4f} {} {}\n", interval.lo, interval.hi,
                 interval.pareto ? "*" : " ", layer_ranges(interval.removed));
    }
  }
}

std::vector<std::string> notes_on(const Ranking& ranking, const ProbeRecord& record) {
  std::vector<std::string> notes;
  const bool shifts = std::ranges::any_of(ranking.selections, [](const Selection& selection) {
    return selection.removed.front() < kDeepStackLayers;
  });
  if (shifts) {
    notes.push_back(
        "layers 1 or 2 are removed by some: DeepStack's features are added after the first three "
        "places and will then follow deeper layers; --protect 0-2 avoids that");
  }
  const bool has_cka = std::ranges::any_of(ranking.criteria, [](const CriterionResult& criterion) {
    return criterion.name.starts_with("cka") && criterion.name != "cka-sample";
  });
  const auto rows = std::ranges::count_if(record.sums.count, [](auto count) { return count > 0; });
  if (has_cka) {
    notes.push_back(fmt::format(
        "cka on {} rows is noisy: unrelated rows of {} values each also come close to 1; "
        "cka-sample takes every sample as a row",
        rows, ranking.model.hidden_size));
  }
  if (ranking.bootstrap.resamples > 0) {
    notes.push_back(fmt::format(
        "stable: share of {} resamples of the pictures that remove the same set; - where a record "
        "keeps sums alone",
        ranking.bootstrap.resamples));
  }
  return notes;
}

void print_tables(const Ranking& ranking) {
  fmt::print("{} layers, {} prunable ({}), protected {}\n", ranking.model.num_layers,
             ranking.prunable.size(), layer_ranges(ranking.prunable),
             layer_ranges(ranking.protected_layers));
  print_selections(ranking);
  print_orders(ranking);
  print_alpha(ranking);
}

}  // namespace

int run_rank(const RankArguments& arguments) {
  const RankOptions options = options_of(arguments);
  require(arguments.force || !path_exists(arguments.out),
          "{}: exists already; choose another name, or replace it with --force",
          arguments.out.string());
  const ProbeRecord record = read_probe_record(probe_folder(arguments.probe));
  std::vector<std::pair<std::string, std::string>> left_out;
  const Ranking ranking = rank(record, options, &left_out);
  write_ranking(arguments.out, ranking, arguments.force);
  if (arguments.json) {
    fmt::print("{}", to_json_text(ranking));
  } else {
    print_tables(ranking);
  }
  if (arguments.quiet) return 0;
  for (const auto& [name, reason] : left_out) {
    fmt::print(stderr, "left out: {}: {}\n", name, reason);
  }
  for (const std::string& note : notes_on(ranking, record)) fmt::print(stderr, "note: {}\n", note);
  fmt::print(stderr, "wrote {}\n", arguments.out.string());
  return 0;
}

}  // namespace espalier
