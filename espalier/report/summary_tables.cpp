// SPDX-License-Identifier: Apache-2.0
#include "espalier/report/summary_tables.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "espalier/base/json.h"
#include "espalier/report/accuracy_chart.h"
#include "espalier/report/figure.h"

namespace espalier {

namespace {

Cell percent_cell(const std::optional<double>& share) {
  return share ? Cell(100.0 * *share) : Cell();
}

double millions(std::int64_t count) { return static_cast<double>(count) / 1e6; }

double gigabytes(std::int64_t bytes) { return static_cast<double>(bytes) / 1e9; }

/// Percent that a quantity shrank; 0 where it was nothing.
double saved(const BeforeAfter& quantity) {
  if (quantity.before == 0) return 0.0;
  return 100.0 * static_cast<double>(quantity.before - quantity.after) /
         static_cast<double>(quantity.before);
}

/// "81.25 (71.3–88.3)"
std::string with_interval(const ScoreGroup& group) {
  return fmt::format("{:.2f} ({:.1f}–{:.1f})", 100.0 * group.accuracy, 100.0 * group.low,
                     100.0 * group.high);
}

/// How the adapter that a model answered with was trained, in words; empty without one.
std::string trained_by(const Scoreboard& scoreboard) {
  if (scoreboard.adapter_fingerprint.empty()) return "";
  if (!scoreboard.training) return "an adapter";
  const ScoredTraining& training = *scoreboard.training;
  return fmt::format("{}{}, {} steps of {}", training.loss, scoreboard.plan ? "" : " (control)",
                     training.steps, training.batch);
}

/// The evaluation of a control's model without its adapter, over the same questions.
const Scoreboard* untrained(const std::vector<NamedScoreboard>& scoreboards,
                            const Scoreboard& control) {
  const auto found = std::ranges::find_if(scoreboards, [&](const NamedScoreboard& one) {
    return one.scoreboard.adapter_fingerprint.empty() && !one.scoreboard.plan &&
           one.scoreboard.model == control.model && one.scoreboard.questions == control.questions &&
           one.scoreboard.options == control.options;
  });
  return found == scoreboards.end() ? nullptr : &found->scoreboard;
}

/// A difference of two shares with its interval.
struct Difference {
  double value;
  double low;
  double high;
};

/// Newcombe (1998), method 10: from the two shares' Wilson intervals, as if other questions had
/// been asked: wider than a paired interval.
Difference difference_of(const ScoreGroup& first, const ScoreGroup& second) {
  const double value = first.accuracy - second.accuracy;
  return {.value = value,
          .low = value - std::hypot(first.accuracy - first.low, second.high - second.accuracy),
          .high = value + std::hypot(first.high - first.accuracy, second.accuracy - second.low)};
}

}  // namespace

Table sample_table(const ProbeRecord& record) {
  Table table{.name = "samples",
              .caption = "What was measured",
              .columns = {{"domain"}, {"subtask"}, {"samples"}, {"prompt"}}};
  for (const auto& domain : record.domains) {
    for (const auto& subtask : domain.subtasks) {
      table.rows.push_back({domain.name, subtask.name, subtask.samples,
                            subtask.prompt.empty() ? Cell() : Cell(subtask.prompt)});
    }
  }
  return table;
}

Table skipped_table(const ProbeRecord& record) {
  Table table{.name = "skipped", .caption = "What was left out", .columns = {{"file"}, {"reason"}}};
  for (const auto& skipped : record.skipped) table.rows.push_back({skipped.file, skipped.reason});
  return table;
}

Table selection_table(const Ranking& ranking) {
  Table table{.name = "selections",
              .caption = "Layers that each criterion removes, by budget",
              .columns = {{"budget"},
                          {"criterion"},
                          {"rule"},
                          {"K"},
                          {"layers removed"},
                          {"same set in % of resamples", 0},
                          {"price", 3},
                          {"stages"}}};
  for (const auto& selection : ranking.selections) {
    table.rows.push_back(
        {to_string(selection.budget), selection.criterion, selection.rule, selection.k,
         layer_list(selection.removed), percent_cell(selection.stability), selection.price,
         selection.stages.empty() ? Cell()
                                  : Cell(fmt::format("{}", fmt::join(selection.stages, ", ")))});
  }
  return table;
}

Table order_table(const Ranking& ranking) {
  Table table{.name = "order",
              .caption =
                  "Layers in the order in which each criterion removes them, with the range "
                  "of their ranks in the bootstrap",
              .columns = {{"rank"}}};
  for (const auto& criterion : ranking.criteria) table.columns.push_back({criterion.name});
  for (std::size_t place = 0; place < ranking.prunable.size(); ++place) {
    std::vector<Cell> row = {static_cast<std::int64_t>(place + 1)};
    for (const auto& criterion : ranking.criteria) {
      const std::int64_t layer = criterion.order[place];
      if (criterion.rank_interval.empty()) {
        row.emplace_back(layer);
        continue;
      }
      const RankInterval& range = criterion.rank_interval[static_cast<std::size_t>(layer)];
      row.emplace_back(fmt::format("{} ({}–{})", layer, range.lo, range.hi));
    }
    table.rows.push_back(std::move(row));
  }
  return table;
}

Table alpha_table(const std::vector<AlphaDiagram>& diagrams, std::size_t number) {
  const AlphaDiagram& any = diagrams.front();
  Table table{.name = number == 0 ? "alpha_sets" : fmt::format("alpha_sets_{}", number + 1),
              .caption = fmt::format("Sets of layers by the weight alpha of {} against {} (Eq. 9)",
                                     any.second_domain, any.first_domain),
              .columns = {{"budget"},
                          {"alpha from", 4},
                          {"to", 4},
                          {"layers removed"},
                          {"z-scores in " + any.first_domain},
                          {"z-scores in " + any.second_domain},
                          {"Pareto"}}};
  for (const auto& diagram : diagrams) {
    for (const auto& interval : diagram.intervals) {
      table.rows.push_back({to_string(diagram.budget), interval.lo, interval.hi,
                            layer_list(interval.removed), interval.first_score,
                            interval.second_score, interval.pareto ? "yes" : "no"});
    }
  }
  return table;
}

Table plan_table(const std::vector<NamedPlan>& plans, const std::string& model) {
  Table table{.name = "plans",
              .caption = "What was pruned",
              .columns = {{"plan"},
                          {"base"},
                          {"criterion"},
                          {"budget"},
                          {"layers removed"},
                          {"layers left"},
                          {"parameters before (M)", 1},
                          {"after (M)", 1},
                          {"weights before (GB)", 3},
                          {"after (GB)", 3},
                          {"saved (%)", 1}}};
  for (const auto& [name, plan] : plans) {
    const bool other = !model.empty() && plan.base_fingerprint != model;
    table.rows.push_back(
        {name, plan.base_name + (other ? " (not the model that was measured)" : ""),
         plan.criterion.empty() ? "named by the user" : plan.criterion, to_string(plan.budget),
         layer_list(plan.removed), static_cast<std::int64_t>(plan.kept.size()),
         millions(plan.parameters.before), millions(plan.parameters.after),
         gigabytes(plan.bytes.before), gigabytes(plan.bytes.after), saved(plan.bytes)});
  }
  return table;
}

Table control_table(const std::vector<NamedScoreboard>& scoreboards) {
  Table table{.name = "controls",
              .caption = "What the healing recipe alone does to the unpruned model",
              .columns = {{"recipe"},
                          {"domain"},
                          {"unpruned (%)", 2},
                          {"after the recipe (%)", 2},
                          {"difference (points)", 2},
                          {"from", 2},
                          {"to", 2},
                          {"verdict"}}};
  for (const auto& [name, control] : scoreboards) {
    if (control.plan || !control.training) continue;
    const Scoreboard* before = untrained(scoreboards, control);
    if (before == nullptr) continue;
    for (const std::string& domain : scored_domains({{name, control}})) {
      const ScoreGroup* after_group = domain_group(control, domain);
      const ScoreGroup* before_group = domain_group(*before, domain);
      if (after_group == nullptr || before_group == nullptr) continue;
      const Difference difference = difference_of(*after_group, *before_group);
      table.rows.push_back({trained_by(control), domain, 100.0 * before_group->accuracy,
                            100.0 * after_group->accuracy, 100.0 * difference.value,
                            100.0 * difference.low, 100.0 * difference.high,
                            difference.high < 0.0  ? "the recipe hurts"
                            : difference.low > 0.0 ? "the recipe helps"
                                                   : "no difference seen"});
    }
  }
  return table;
}

Table score_table(const std::vector<NamedScoreboard>& scoreboards) {
  Table table{
      .name = "accuracies",
      .caption = "Right answers in percent, with Wilson intervals of 95 %",
      .columns = {
          {"evaluation"}, {"criterion"}, {"layers removed"}, {"trained by"}, {"questions"}}};
  const auto domains = scored_domains(scoreboards);
  for (const std::string& domain : domains) table.columns.push_back({domain});
  table.columns.push_back({"all domains"});
  for (const auto& [name, scoreboard] : scoreboards) {
    const ScoreGroup& all = overall(scoreboard);
    const auto& plan = scoreboard.plan;
    std::vector<Cell> row = {name, plan ? Cell(plan->criterion) : Cell(),
                             plan ? plan->removed : std::int64_t{0}, trained_by(scoreboard),
                             all.count};
    for (const std::string& domain : domains) {
      const ScoreGroup* group = domain_group(scoreboard, domain);
      row.push_back(group == nullptr ? Cell() : Cell(with_interval(*group)));
    }
    row.emplace_back(with_interval(all));
    table.rows.push_back(std::move(row));
  }
  return table;
}

Table score_group_table(const std::vector<NamedScoreboard>& scoreboards) {
  Table table{.name = "accuracies_by_kind",
              .caption = "Right answers by domain and kind, with Wilson intervals of 95 %",
              .columns = {{"evaluation"},
                          {"domain"},
                          {"kind"},
                          {"right"},
                          {"asked"},
                          {"accuracy (%)", 2},
                          {"from", 2},
                          {"to", 2}}};
  for (const auto& [name, scoreboard] : scoreboards) {
    for (const ScoreGroup& group : scoreboard.groups) {
      table.rows.push_back({name, group.domain.value_or("all"), group.kind.value_or("all"),
                            group.correct, group.count, 100.0 * group.accuracy, 100.0 * group.low,
                            100.0 * group.high});
    }
  }
  return table;
}

Table option_table(const std::string& name, const std::string& options) {
  Table table{.name = name, .caption = "Options", .columns = {{"option"}, {"value"}}};
  const nlohmann::json object = parse_json(options, name);
  for (const auto& [key, value] : object.items()) {
    table.rows.push_back({key, value.is_string() ? value.get<std::string>() : value.dump()});
  }
  return table;
}

}  // namespace espalier
