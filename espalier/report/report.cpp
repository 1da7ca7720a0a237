// SPDX-License-Identifier: Apache-2.0
#include "espalier/report/report.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "espalier/base/files.h"
#include "espalier/base/json.h"
#include "espalier/report/accuracy_chart.h"
#include "espalier/report/alpha_diagram.h"
#include "espalier/report/heat_map.h"
#include "espalier/report/page.h"
#include "espalier/report/ranking_chart.h"
#include "espalier/report/removal_map.h"
#include "espalier/report/stability.h"
#include "espalier/report/summary_tables.h"

namespace espalier {

namespace {

namespace fs = std::filesystem;

/// Fewer samples than this a domain are named among the caveats; the paper has 4,000 and 5,000.
constexpr std::int64_t kFewSamples = 200;

/// A longer table of selections is shown only on request.
constexpr std::size_t kLongTable = 30;

/// Fewer rows than this make CKA noisy.
constexpr std::int64_t kFewRows = 32;

/// Decoder layers whose removal moves the places where vision features are added: the features of
/// DeepStack follow positions 0, 1 and 2, and layer 0 is protected unless the user says otherwise.
bool shifts_deepstack(const std::vector<std::int64_t>& removed) {
  return std::ranges::any_of(removed, [](std::int64_t layer) { return layer <= 2; });
}

std::int64_t samples_of(const ProbeDomain& domain) {
  std::int64_t samples = 0;
  for (const auto& subtask : domain.subtasks) samples += subtask.samples;
  return samples;
}

const ModelIdentity* model_of(const RunRecords& run) {
  if (run.probe) return &run.probe->model;
  return run.ranking ? &run.ranking->model : nullptr;
}

/// Whether all scoreboards are over the same questions.
bool same_questions(const std::vector<NamedScoreboard>& scoreboards) {
  return std::ranges::all_of(scoreboards, [&](const NamedScoreboard& one) {
    return std::ranges::equal(one.scoreboard.questions, scoreboards.front().scoreboard.questions,
                              {}, &ScoredQuestions::fingerprint, &ScoredQuestions::fingerprint);
  });
}

std::vector<Selection> selections_by(const Ranking& ranking, const std::string& criterion) {
  std::vector<Selection> selections;
  for (const auto& selection : ranking.selections) {
    if (selection.criterion != criterion) continue;
    if (selections.empty() || selection.rule == selections.front().rule) {
      selections.push_back(selection);
    }
  }
  return selections;
}

/// "6 of 26 prunable layers (28 in all)"
std::string extent(const Ranking& ranking, const Selection& selection) {
  return fmt::format("{} of {} prunable layers ({} in all)", selection.k, ranking.prunable.size(),
                     ranking.model.num_layers);
}

/// How sure a selection is; empty without a bootstrap.
std::string sureness(const Selection& selection) {
  if (!selection.stability) return {};
  std::string text =
      fmt::format("; {} of resamples remove exactly these", percent(*selection.stability));
  if (selection.removal_share.empty() || selection.removed.empty()) return text;
  const auto share = [&](std::int64_t layer) {
    return selection.removal_share[static_cast<std::size_t>(layer)];
  };
  const std::int64_t least = *std::ranges::min_element(selection.removed, {}, share);
  if (share(least) >= 1.0) return text;
  return text + fmt::format("; least sure: {} (removed in {})", least, percent(share(least)));
}

// --- sections ---

/// What the text beside a figure needs.
struct DrawnFigure {
  Figure figure;
  std::string svg;  ///< an element of the page
};

std::string figure_html(const DrawnFigure& drawn) {
  return fmt::format(
      "<figure id=\"figure-{0}\">\n<div class=\"scroll\">\n{1}</div>\n<figcaption><b>{2}.</b> {3} "
      "<code>{0}</code></figcaption>\n</figure>\n",
      drawn.figure.name, drawn.svg, html_escape(drawn.figure.title),
      html_escape(drawn.figure.caption));
}

/// The figures whose names begin so, in their order.
std::string figures_html(const std::vector<DrawnFigure>& figures, std::string_view beginning) {
  std::string html;
  for (const auto& drawn : figures) {
    if (drawn.figure.name.starts_with(beginning)) html += figure_html(drawn);
  }
  return html;
}

PageSection answer_section(const Ranking& ranking) {
  const std::string criterion = leading_criterion(ranking);
  const auto selections = selections_by(ranking, criterion);
  std::string html =
      fmt::format("<p>Layers to remove, by the criterion <b>{}</b> ({}):</p>\n<dl>\n",
                  html_escape(criterion), html_escape(selections.front().rule));
  for (const auto& selection : selections) {
    html += fmt::format("<dt>{}</dt>\n<dd>{}<small>{}{}</small></dd>\n",
                        html_escape(to_string(selection.budget)), layer_list(selection.removed),
                        extent(ranking, selection), sureness(selection));
  }
  html += "</dl>\n";
  return {.id = "answer", .title = "The answer", .html = html};
}

PageSection measured_section(const ProbeRecord& record) {
  std::vector<std::string> domains;
  domains.reserve(record.domains.size());
  for (const auto& domain : record.domains) {
    domains.push_back(
        fmt::format("{} samples of {} (from {})", samples_of(domain), domain.name, domain.source));
  }
  std::string html = html_paragraph(
      fmt::format("{} passes over {} pictures: {}. {} of {} decoder layers were measured.",
                  record.samples.size(), record.pictures.size(), fmt::join(domains, "; "),
                  record.measured_layers.size(), record.model.num_layers));
  html += html_scroll(to_html(sample_table(record)));
  if (!record.skipped.empty()) {
    html += html_details(fmt::format("{} left out", record.skipped.size()),
                         html_scroll(to_html(skipped_table(record))));
  }
  return {.id = "measured", .title = "What was measured", .html = html};
}

PageSection ranking_section(const Ranking& ranking, const std::vector<DrawnFigure>& figures) {
  std::string html = html_paragraph(
      "K is the number of layers that a budget takes; the price is the score that the rule lost "
      "against the K highest scores.");
  const Table selections = selection_table(ranking);
  const std::string table = html_scroll(to_html(selections));
  html += selections.rows.size() > kLongTable ? html_details("Every selection", table) : table;
  html += figures_html(figures, "scores") + figures_html(figures, "ranks");
  html += html_details("The order of every criterion", html_scroll(to_html(order_table(ranking))));
  return {.id = "rankings", .title = "Rankings", .html = html};
}

PageSection alpha_section(const Ranking& ranking, const std::vector<DrawnFigure>& figures) {
  std::string html = figures_html(figures, "alpha") + figures_html(figures, "pareto");
  const auto groups = by_domains(ranking);
  for (std::size_t number = 0; number < groups.size(); ++number) {
    html += html_details("Every set, with its alphas",
                         html_scroll(to_html(alpha_table(groups[number], number))));
  }
  return {.id = "alpha", .title = "The mix of domains", .html = html};
}

PageSection pruned_section(const RunRecords& run) {
  const ModelIdentity* model = model_of(run);
  std::string html =
      html_scroll(to_html(plan_table(run.plans, model == nullptr ? "" : model->fingerprint)));
  return {.id = "pruned", .title = "What was pruned", .html = html};
}

PageSection scored_section(const RunRecords& run, const std::vector<DrawnFigure>& figures) {
  std::string html = html_scroll(to_html(score_table(run.scoreboards)));
  html += figures_html(figures, "accuracy");
  const Table controls = control_table(run.scoreboards);
  if (!controls.rows.empty()) html += html_scroll(to_html(controls));
  html +=
      html_details("By kind of question", html_scroll(to_html(score_group_table(run.scoreboards))));
  return {.id = "scored", .title = "What the models can do", .html = html};
}

PageSection reproduction_section(const RunRecords& run) {
  std::vector<std::string> identities = {"espalier " ESPALIER_VERSION};
  if (const ModelIdentity* model = model_of(run)) {
    identities.push_back("model " + model->fingerprint);
  }
  if (run.probe) identities.push_back("probe record " + fingerprint(*run.probe));
  if (run.ranking) identities.push_back("ranking " + fingerprint(*run.ranking));
  std::string html = html_list(identities);
  const auto add = [&](const std::string& title, const std::string& options) {
    const Table table = option_table(title, options);
    if (!table.rows.empty()) {
      html += html_details("Options of espalier " + title, html_scroll(to_html(table)));
    }
  };
  if (run.probe) add("probe", run.probe->options);
  if (run.ranking) add("rank", run.ranking->options);
  for (const auto& [name, plan] : run.plans) add("prune, " + name, plan.options);
  for (const auto& [name, scoreboard] : run.scoreboards) {
    add("eval, " + name, scoreboard.options);
  }
  return {.id = "reproduction", .title = "How to make it again", .html = html};
}

std::vector<PageSection> sections_of(const RunRecords& run,
                                     const std::vector<DrawnFigure>& figures) {
  std::vector<PageSection> sections;
  const bool selected = run.ranking && !run.ranking->selections.empty();
  if (selected) {
    sections.push_back(answer_section(*run.ranking));
    sections.push_back({.id = "removed",
                        .title = "Criteria compared",
                        .html = figures_html(figures, "removal_map")});
  }
  if (run.probe) {
    sections.push_back(measured_section(*run.probe));
    sections.push_back(
        {.id = "similarity", .title = "Similarity", .html = figures_html(figures, "heat_map")});
  }
  if (run.ranking && has_stability(*run.ranking)) {
    sections.push_back(
        {.id = "stability", .title = "Stability", .html = figures_html(figures, "stability")});
  }
  if (run.ranking && !run.ranking->criteria.empty()) {
    sections.push_back(ranking_section(*run.ranking, figures));
  }
  if (run.ranking && !by_domains(*run.ranking).empty()) {
    sections.push_back(alpha_section(*run.ranking, figures));
  }
  if (!run.plans.empty()) sections.push_back(pruned_section(run));
  if (!run.scoreboards.empty()) sections.push_back(scored_section(run, figures));
  sections.push_back(
      {.id = "caveats", .title = "Before you act on it", .html = html_list(caveats_of(run))});
  sections.push_back(reproduction_section(run));
  return sections;
}

std::string subtitle_of(const RunRecords& run) {
  const ModelIdentity* model = model_of(run);
  if (model == nullptr) {
    return fmt::format("{} plan(s), {} evaluation(s)", run.plans.size(), run.scoreboards.size());
  }
  return fmt::format("{}, {} decoder layers of width {}, fingerprint {:.12}", model->architecture,
                     model->num_layers, model->hidden_size, model->fingerprint);
}

// --- the folder of figures ---

void write_table(const Table& table, const fs::path& folder) {
  write_file(folder / (table.name + ".csv"), to_csv(table), /*force=*/false);
  write_file(folder / (table.name + ".md"), to_markdown(table), /*force=*/false);
  write_file(folder / (table.name + ".tex"), to_latex(table), /*force=*/false);
}

std::string index_text(const std::vector<Figure>& figures, const std::vector<Table>& tables) {
  std::string text =
      "# Figures and tables\n\nWritten by espalier report. A figure `NAME` is `NAME.gp` (gnuplot's "
      "commands), `NAME.csv` (its\nnumbers) and its pictures. To restyle one, edit `NAME.gp` and "
      "run, "
      "in this folder,\n`gnuplot -e \"format='pdf'\" NAME.gp`. A table is CSV (every digit), "
      "Markdown "
      "and LaTeX (booktabs).\n\n## Figures\n\n";
  for (const auto& figure : figures) {
    text += fmt::format("* `{}`: {}. {}\n", figure.name, figure.title, figure.caption);
  }
  text += "\n## Tables\n\n";
  for (const auto& table : tables) text += fmt::format("* `{}`: {}\n", table.name, table.caption);
  return text;
}

DrawnFigure draw(const Figure& figure, const fs::path& folder, const ReportOptions& options) {
  auto formats = options.formats;
  const bool wanted = std::ranges::find(formats, FigureFormat::Svg) != formats.end();
  if (!wanted) formats.push_back(FigureFormat::Svg);  // the page needs it
  draw_figure(figure, folder, formats, options.gnuplot);
  const fs::path svg = folder / (figure.name + ".svg");
  DrawnFigure drawn{.figure = figure, .svg = inline_svg(read_file(svg), figure)};
  if (!wanted) fs::remove(svg);
  return drawn;
}

}  // namespace

std::vector<Figure> figures_of(const RunRecords& run) {
  std::vector<Figure> figures;
  const auto protected_layers =
      run.ranking ? run.ranking->protected_layers : std::vector<std::int64_t>();
  if (run.probe) {
    for (const auto tokens : {TokenGroup::All, TokenGroup::Visual, TokenGroup::Text}) {
      if (has_similarity(*run.probe, tokens)) {
        figures.push_back(heat_map(*run.probe, tokens, protected_layers));
      }
    }
  }
  if (!run.scoreboards.empty()) figures.push_back(accuracy_chart(run.scoreboards));
  if (!run.ranking) return figures;
  const Ranking& ranking = *run.ranking;
  if (!ranking.selections.empty()) figures.push_back(removal_map(ranking));
  if (has_stability(ranking)) figures.push_back(stability_map(ranking));
  if (!ranking.criteria.empty()) {
    figures.push_back(score_chart(ranking));
    figures.push_back(rank_chart(ranking));
  }
  const auto groups = by_domains(ranking);
  for (std::size_t number = 0; number < groups.size(); ++number) {
    figures.push_back(alpha_figure(ranking.model.num_layers, groups[number], number));
    figures.push_back(pareto_figure(groups[number], number));
  }
  return figures;
}

std::vector<Table> tables_of(const RunRecords& run) {
  std::vector<Table> tables;
  if (run.probe) {
    tables.push_back(sample_table(*run.probe));
    if (!run.probe->skipped.empty()) tables.push_back(skipped_table(*run.probe));
  }
  if (run.ranking) {
    tables.push_back(selection_table(*run.ranking));
    if (!run.ranking->criteria.empty()) tables.push_back(order_table(*run.ranking));
    const auto groups = by_domains(*run.ranking);
    for (std::size_t number = 0; number < groups.size(); ++number) {
      tables.push_back(alpha_table(groups[number], number));
    }
  }
  if (!run.plans.empty()) {
    const ModelIdentity* model = model_of(run);
    tables.push_back(plan_table(run.plans, model == nullptr ? "" : model->fingerprint));
  }
  if (!run.scoreboards.empty()) {
    tables.push_back(score_table(run.scoreboards));
    tables.push_back(score_group_table(run.scoreboards));
    Table controls = control_table(run.scoreboards);
    if (!controls.rows.empty()) tables.push_back(std::move(controls));
  }
  return tables;
}

std::string leading_criterion(const Ranking& ranking) {
  if (ranking.selections.empty()) return {};
  const auto mixed = std::ranges::find(ranking.selections, "mixed", &Selection::criterion);
  return mixed == ranking.selections.end() ? ranking.selections.front().criterion
                                           : mixed->criterion;
}

std::vector<std::string> caveats_of(const RunRecords& run) {
  std::vector<std::string> caveats = {
      "A score says how little a layer turns its tokens. It does not say how much accuracy is lost "
      "without it: measure that after pruning.",
      "Weights that were never trained (espalier init) have rankings too; they mean nothing."};
  if (run.probe) {
    for (const auto& domain : run.probe->domains) {
      if (samples_of(domain) < kFewSamples) {
        caveats.push_back(
            fmt::format("The domain {} has {} samples only (the paper: 4,000 and "
                        "5,000).",
                        domain.name, samples_of(domain)));
      }
    }
    if (!run.probe->skipped.empty()) {
      caveats.push_back(
          fmt::format("{} file(s) were left out; see above why.", run.probe->skipped.size()));
    }
  }
  if (!same_questions(run.scoreboards)) {
    caveats.push_back(
        "Not all evaluations asked the same questions: their accuracies are not comparable.");
  }
  if (!run.ranking) return caveats;
  const bool uses_cka = std::ranges::any_of(run.ranking->criteria, [](const auto& criterion) {
    return criterion.name == "cka" || criterion.name == "cka-debiased";
  });
  if (uses_cka && (!run.probe || count_subtasks(*run.probe) < kFewRows)) {
    caveats.push_back(
        "CKA compares one row a subtask. With nine rows and thousands of columns even unrelated "
        "activations reach 0.99, so its order lives in the third decimal; cka-sample has a row a "
        "sample.");
  }
  if (run.ranking->bootstrap.resamples == 0) {
    caveats.push_back("No bootstrap was made, so nothing here says how sure the order is.");
  }
  const auto& selections = run.ranking->selections;
  if (std::ranges::any_of(selections, shifts_deepstack, &Selection::removed)) {
    caveats.push_back(
        "Some selections remove a decoder layer from 0 to 2. The vision features of DeepStack are "
        "added after positions 0, 1 and 2, so they then reach another layer than in training; "
        "--protect 0-2 avoids that.");
  }
  return caveats;
}

std::string write_report(const RunRecords& run, const fs::path& folder,
                         const ReportOptions& options) {
  const auto figures = figures_of(run);
  const auto tables = tables_of(run);
  std::vector<DrawnFigure> drawn;
  drawn.reserve(figures.size());
  for (const auto& figure : figures) drawn.push_back(draw(figure, folder, options));
  for (const auto& table : tables) write_table(table, folder);
  write_file(folder / kFigureIndex, index_text(figures, tables), /*force=*/false);
  return html_page("Which layers can go: " + run.name, subtitle_of(run), sections_of(run, drawn));
}

}  // namespace espalier
