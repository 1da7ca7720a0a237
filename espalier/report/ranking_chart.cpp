// SPDX-License-Identifier: Apache-2.0
#include "espalier/report/ranking_chart.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "espalier/report/removal_map.h"

namespace espalier {

namespace {

// Lengths in points.
constexpr double kColumns = 2;
constexpr double kLeft = 36.0;
constexpr double kBetween = 40.0;
constexpr double kRight = 28.0;
constexpr double kLegendHeight = 18.0;
constexpr double kTitleHeight = 16.0;
constexpr double kPlotHeight = 74.0;
constexpr double kTicsHeight = 16.0;
constexpr double kAxisHeight = 14.0;

/// Budgets of a ranking with the layers that each takes, fewest first.
struct Limit {
  Budget budget;
  std::int64_t k = 0;
};

std::vector<Limit> limits_of(const Ranking& ranking) {
  std::vector<Limit> limits;
  for (const auto& selection : ranking.selections) {
    if (std::ranges::find(limits, selection.budget, &Limit::budget) == limits.end()) {
      limits.push_back({.budget = selection.budget, .k = selection.k});
    }
  }
  std::ranges::stable_sort(limits, {}, &Limit::k);
  return limits;
}

/// How strongly the dots of a budget are inked: the sooner a layer goes, the more.
double ink_of(std::int64_t budget, std::size_t budgets) {
  return budgets < 2 ? 1.0
                     : 1.0 - 0.65 * static_cast<double>(budget) / static_cast<double>(budgets - 1);
}

/// `kRemoved` with an opacity, as gnuplot's "#aarrggbb" has it.
std::string inked(double opacity) {
  return fmt::format("#{:02x}{}", static_cast<int>(std::lround(255.0 * (1.0 - opacity))),
                     kRemoved.substr(1));
}

PlotArea panel_area(std::size_t panel) {
  const double width = (kFigureWidth - kLeft - kBetween - kRight) / kColumns;
  const double left = kLeft + static_cast<double>(panel % 2) * (width + kBetween);
  const std::size_t row = panel / 2;
  const double top = kLegendHeight + kTitleHeight +
                     static_cast<double>(row) * (kTitleHeight + kPlotHeight + kTicsHeight);
  return {.left = left, .right = left + width, .top = top, .bottom = top + kPlotHeight};
}

double figure_height(std::size_t panels) {
  return panel_area(panels - 1).bottom + kTicsHeight + kAxisHeight;
}

/// A dot of a colour at a place of the figure, in points.
std::string dot_command(const Figure& figure, double x, double y, std::string_view colour,
                        int point_type) {
  return fmt::format(
      "set label '' at screen {:.5f},{:.5f} point pointtype {} pointsize 0.4 linecolor rgb '{}'\n",
      x / figure.width, 1.0 - y / figure.height, point_type, colour);
}

/// What the dots mean, in one line above the panels.
std::string legend_commands(const Figure& figure, const std::vector<Limit>& limits) {
  std::string commands;
  double x = kLeft + 4;
  const double y = kLegendHeight / 2;
  const auto add = [&](const std::string& text, std::string_view colour, int point_type) {
    commands += dot_command(figure, x, y, colour, point_type);
    commands += label_command(figure, {.text = text, .x = x + 6, .y = y, .size = kSmallTextSize});
    x += 6 + text_width(text, kSmallTextSize) + 10;
  };
  for (std::size_t i = 0; i < limits.size(); ++i) {
    add((i == 0 ? "removed at " : "at ") + to_string(limits[i].budget),
        inked(ink_of(static_cast<std::int64_t>(i), limits.size())), 7);
  }
  add(limits.empty() ? "layer" : "kept", kMuted, 6);
  return commands;
}

/// The axes of one panel with its title; what is drawn into them follows.
std::string panel_commands(const Figure& figure, const Ranking& ranking, std::size_t panel) {
  const PlotArea area = panel_area(panel);
  const std::size_t last = ranking.criteria.size() - 1;
  std::string commands = "unset label\nunset arrow\n" + margin_commands(figure, area);
  const std::string& name = ranking.criteria[panel].name;
  const double room = area.right - area.left;
  const double size = text_width(name, kTextSize) > room ? kSmallestTextSize : kTextSize;
  commands += label_command(figure, {.text = shortened(name, room + kBetween - 10, size),
                                     .x = area.left,
                                     .y = area.top - kTitleHeight / 2 - 1,
                                     .size = size,
                                     .bold = true});
  commands +=
      fmt::format("set xrange [-0.5:{}.5]\nset xtics 0,{} scale 0 offset 0,0.4 font ',{}'\n",
                  ranking.model.num_layers - 1,
                  layer_step(ranking.model.num_layers, area.right - area.left), kSmallTextSize);
  if (panel + 2 > last) {  // the lowest of its column
    commands += label_command(figure, {.text = "decoder layer",
                                       .x = (area.left + area.right) / 2,
                                       .y = area.bottom + kTicsHeight + 4,
                                       .align = "center",
                                       .size = kSmallTextSize});
  }
  return commands;
}

double dot_size(const Ranking& ranking) {
  return std::min(0.42, 9.0 / static_cast<double>(ranking.model.num_layers));
}

/// The function that chooses a dot's colour by its budget's number.
std::string colour_function(const std::vector<Limit>& limits) {
  std::string commands = "colour(b) = ";
  for (std::size_t i = 0; i < limits.size(); ++i) {
    commands += fmt::format("b == {} ? 0x{} : ", i,
                            inked(ink_of(static_cast<std::int64_t>(i), limits.size())).substr(1));
  }
  return commands + fmt::format("0x{}\n", kMuted.substr(1));
}

/// "rank" or "score" beside the panels of the left column.
std::string axis_name_command(const Figure& figure, std::size_t panel, std::string_view name) {
  if (panel % 2 != 0) return {};
  const PlotArea area = panel_area(panel);
  return label_command(figure, {.text = std::string(name),
                                .x = 5,
                                .y = (area.top + area.bottom) / 2,
                                .align = "center",
                                .size = kSmallTextSize,
                                .upright = true});
}

/// Dots of one panel's layers at a column of the data: full for those that some budget removes.
std::string dots(const Ranking& ranking, std::size_t panel, std::string_view column) {
  return fmt::format(
      "data skip 1 using ($1 == {0} && $8 < 0 ? $3 : NaN):{1} with points pointtype 6 pointsize "
      "{2:.3f} linewidth 0.8 linecolor rgb '{3}', \\\n"
      "     data skip 1 using ($1 == {0} && $8 >= 0 ? $3 : NaN):{1}:(colour($8)) with points "
      "pointtype 7 pointsize {2:.3f} linecolor rgb variable\n",
      panel, column, dot_size(ranking), kMuted);
}

/// One row a criterion and ranked layer, which both charts read.
Table ranking_table(const Figure& figure, const Ranking& ranking) {
  Table table{.name = figure.name,
              .caption = figure.title,
              .columns = {{"panel"},
                          {"criterion"},
                          {"layer"},
                          {"score", 9},
                          {"rank"},
                          {"rank_low"},
                          {"rank_high"},
                          {"budget"}}};
  for (std::size_t panel = 0; panel < ranking.criteria.size(); ++panel) {
    const CriterionResult& criterion = ranking.criteria[panel];
    const auto budgets = first_budget(ranking, criterion);
    for (std::size_t place = 0; place < criterion.order.size(); ++place) {
      const auto layer = static_cast<std::size_t>(criterion.order[place]);
      Cell low;
      Cell high;
      if (!criterion.rank_interval.empty() && criterion.rank_interval[layer].lo > 0) {
        low = criterion.rank_interval[layer].lo;
        high = criterion.rank_interval[layer].hi;
      }
      Cell score;
      if (criterion.scores[layer]) score = criterion.scores[layer].value();
      table.rows.push_back({static_cast<std::int64_t>(panel), criterion.name,
                            criterion.order[place], score, static_cast<std::int64_t>(place + 1),
                            low, high, budgets[layer]});
    }
  }
  return table;
}

/// Thin lines between the ranks that a budget takes and those that it leaves, named at the right.
std::string limit_commands(const Figure& figure, const Ranking& ranking, std::size_t panel,
                           const std::vector<Limit>& limits) {
  const PlotArea area = panel_area(panel);
  const double ranks = static_cast<double>(ranking.prunable.size());
  std::string commands;
  double last = -100.0;
  for (const Limit& limit : limits) {
    const double y = static_cast<double>(limit.k) + 0.5;
    commands += fmt::format(
        "set arrow from graph 0, first {0} to graph 1, first {0} nohead back linewidth 0.6 "
        "linecolor rgb '{1}'\n",
        y, kLine);
    const double place = area.top + (area.bottom - area.top) * (y - 0.5) / ranks;
    if (place - last < kSmallTextSize) continue;
    last = place;
    commands += label_command(figure, {.text = to_string(limit.budget).substr(0, 5),
                                       .x = area.right + 3,
                                       .y = place,
                                       .colour = kMuted,
                                       .size = kSmallestTextSize});
  }
  return commands;
}

/// How a panel shows its scores: as they are, or, where all are almost the same number, by how far
/// they lie below the best, since tics like 0.999998 say little and take much room.
struct ScoreScale {
  double best = 0.0;
  double unit = 1.0;
};

ScoreScale scale_of(const std::vector<double>& scores) {
  const auto [least, most] = std::ranges::minmax(scores);
  const double range = most - least;
  if (range == 0.0 || range > 1e-3 * std::abs(most)) return {};
  return {.best = most, .unit = std::pow(10.0, std::floor(std::log10(range)))};
}

std::string scale_label(const Figure& figure, std::size_t panel, const ScoreScale& scale) {
  if (scale.unit == 1.0) return {};
  const PlotArea area = panel_area(panel);
  return label_command(figure,
                       {.text = fmt::format("below {:.6f}, in {:g}", scale.best, scale.unit),
                        .x = area.right,
                        .y = area.bottom - 6,
                        .align = "right",
                        .colour = kMuted,
                        .size = kSmallestTextSize});
}

/// A chart of one panel a criterion.
///
/// \param axis  what the panels show upward: "rank" or "score"
/// \param draw  what follows a panel's axes: draw(figure, panel, limits)
template <typename Draw>
Figure panels(Figure figure, const Ranking& ranking, std::string_view axis, const Draw& draw) {
  figure.width = kFigureWidth;
  figure.height = figure_height(ranking.criteria.size());
  const auto limits = limits_of(ranking);
  figure.data = {ranking_table(figure, ranking)};
  figure.commands = fmt::format("data = '{}.csv'\n", figure.name) + colour_function(limits) +
                    "set multiplot\nset border 3 linewidth 0.6 linecolor rgb '" +
                    std::string(kMuted) + "'\n";
  for (std::size_t panel = 0; panel < ranking.criteria.size(); ++panel) {
    figure.commands += panel_commands(figure, ranking, panel);
    if (panel == 0) figure.commands += legend_commands(figure, limits);
    figure.commands += axis_name_command(figure, panel, axis);
    figure.commands += draw(figure, panel, limits);
  }
  figure.commands += "unset multiplot\n";
  return figure;
}

/// The scores of a panel, as gnuplot commands; nothing where there are none.
std::string score_commands(const Figure& figure, const Ranking& ranking, std::size_t panel) {
  std::vector<double> scores;
  for (const auto layer : ranking.criteria[panel].order) {
    const auto& score = ranking.criteria[panel].scores[static_cast<std::size_t>(layer)];
    if (score) scores.push_back(*score);
  }
  if (scores.empty()) return {};
  const ScoreScale scale = scale_of(scores);
  for (double& score : scores) score = (score - scale.best) / scale.unit;
  return scale_label(figure, panel, scale) + axis_commands('y', scores, 5) + "plot " +
         dots(ranking, panel, fmt::format("(($4 - {:.9f}) / {:g})", scale.best, scale.unit));
}

/// The ranks of a panel with their intervals, as gnuplot commands.
std::string rank_commands(const Ranking& ranking, std::size_t panel) {
  return fmt::format(
             "set yrange [{0}.5:0.5]\nset ytics ('1' 1, '{1}' {1}, '{0}' {0}) scale 0.4 offset "
             "0.5,0 font ',{2}'\n",
             ranking.prunable.size(), (ranking.prunable.size() + 1) / 2, kSmallTextSize) +
         fmt::format(
             "plot data skip 1 using ($1 == {0} ? $3 : NaN):6:(0):($7 - $6) with vectors nohead "
             "linewidth {1:.2f} linecolor rgb '{2}', \\\n     ",
             panel, std::min(2.2, 50.0 / static_cast<double>(ranking.model.num_layers)), kLine) +
         dots(ranking, panel, "5");
}

}  // namespace

std::vector<std::int64_t> first_budget(const Ranking& ranking, const CriterionResult& criterion) {
  std::vector<std::int64_t> budgets(static_cast<std::size_t>(ranking.model.num_layers), -1);
  const auto limits = limits_of(ranking);
  const auto first = std::ranges::find(ranking.selections, criterion.name, &Selection::criterion);
  if (first == ranking.selections.end()) return budgets;
  for (const auto& selection : ranking.selections) {
    if (selection.criterion != criterion.name || selection.rule != first->rule) continue;
    const auto number =
        std::ranges::find(limits, selection.budget, &Limit::budget) - limits.begin();
    for (const std::int64_t layer : selection.removed) {
      auto& budget = budgets[static_cast<std::size_t>(layer)];
      if (budget < 0 || number < budget) budget = number;
    }
  }
  return budgets;
}

Figure score_chart(const Ranking& ranking) {
  Figure figure{.name = "scores",
                .title = "Scores of the layers, by criterion",
                .caption =
                    "Each panel is a criterion, each dot a layer. The higher, the sooner the layer "
                    "goes. Full dots are removed at some budget: the stronger the blue, the "
                    "smaller the budget. Scores of different criteria have different units; where "
                    "all are almost equal, a panel shows how far they lie below the best."};
  return panels(std::move(figure), ranking, "score",
                [&](const Figure& drawn, std::size_t panel, const std::vector<Limit>&) {
                  return score_commands(drawn, ranking, panel);
                });
}

Figure rank_chart(const Ranking& ranking) {
  std::string bars = "No bootstrap was made, so no bars are drawn.";
  if (ranking.bootstrap.resamples > 0) {
    bars = fmt::format(
        "Bars: the middle {} of the ranks in {} bootstrap resamples of the pictures; a criterion "
        "without bars has no bootstrap.",
        percent(ranking.bootstrap.level), ranking.bootstrap.resamples);
  }
  Figure figure{.name = "ranks",
                .title = "Rank of each layer, by criterion",
                .caption =
                    "Each panel is a criterion, each dot a layer; rank 1, on top, goes first. "
                    "What lies above a thin line goes at that budget under the top-K rule. " +
                    bars +
                    " Bars that cross a line mark layers whose fate the data do not settle."};
  return panels(std::move(figure), ranking, "rank",
                [&](const Figure& drawn, std::size_t panel, const std::vector<Limit>& limits) {
                  return limit_commands(drawn, ranking, panel, limits) +
                         rank_commands(ranking, panel);
                });
}

}  // namespace espalier
