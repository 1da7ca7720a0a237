// SPDX-License-Identifier: Apache-2.0
#include "espalier/report/alpha_diagram.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "espalier/base/error.h"

namespace espalier {

namespace {

// Lengths in points.
constexpr double kRight = 42.0;
constexpr double kHeading = 17.0;
constexpr double kPanelHeight = 62.0;
constexpr double kBetween = 10.0;
constexpr double kAxisHeight = 28.0;
constexpr double kWidestName = 110.0;

/// `alpha`, `alpha_2`, ... for the pairs of domains that a ranking compares.
std::string figure_name(std::string_view stem, std::size_t number) {
  return number == 0 ? std::string(stem) : fmt::format("{}_{}", stem, number + 1);
}

std::string heading_commands(const Figure& figure, const AlphaDiagram& diagram, double left,
                             double y) {
  const std::string heading = to_string(diagram.budget);
  return label_command(figure, {.text = heading, .x = left, .y = y, .bold = true}) +
         label_command(figure, {.text = fmt::format("K = {}", diagram.k),
                                .x = left + text_width(heading, kTextSize) * 1.06 + 8,
                                .y = y,
                                .colour = kMuted,
                                .size = kSmallTextSize});
}

/// One row for each interval and layer that it removes.
Table alpha_table(const Figure& figure, const std::vector<AlphaDiagram>& diagrams) {
  Table table{.name = figure.name,
              .caption = figure.title,
              .columns = {{"panel"}, {"budget"}, {"layer"}, {"alpha_low"}, {"alpha_high"}}};
  for (std::size_t panel = 0; panel < diagrams.size(); ++panel) {
    for (const auto& interval : diagrams[panel].intervals) {
      for (const std::int64_t layer : interval.removed) {
        table.rows.push_back({static_cast<std::int64_t>(panel), to_string(diagrams[panel].budget),
                              layer, interval.lo, interval.hi});
      }
    }
  }
  return table;
}

/// A thin line across the panel at each alpha where the set changes.
std::string edge_commands(const AlphaDiagram& diagram) {
  std::string commands = "unset arrow\n";
  for (std::size_t i = 1; i < diagram.intervals.size(); ++i) {
    commands += fmt::format(
        "set arrow from graph 0, first {0} to graph 1, first {0} nohead front linewidth 0.5 "
        "linecolor rgb '{1}'\n",
        diagram.intervals[i].lo, kLine);
  }
  return commands + fmt::format(
                        "set arrow from graph 0, first {0} to graph 1, first {0} nohead front "
                        "linewidth 0.9 dashtype (6,4) linecolor rgb '{1}'\n",
                        kPaperAlpha, kAccent);
}

std::string alpha_panel_commands(const Figure& figure, const AlphaDiagram& diagram,
                                 const PlotArea& area, std::size_t panel, std::int64_t layers) {
  return "unset label\n" + margin_commands(figure, area) +
         heading_commands(figure, diagram, area.left, area.top - kHeading / 2) +
         label_command(figure, {.text = "α = 0.7",
                                .x = area.right + 4,
                                .y = area.bottom - kPaperAlpha * (area.bottom - area.top),
                                .colour = kAccent,
                                .size = kSmallTextSize}) +
         edge_commands(diagram) +
         fmt::format(
             "plot sample [i=0:{}:1] '+' using (i):(0.5):(i-w):(i+w):(0):(1) with boxxyerror "
             "fillstyle solid noborder fillcolor rgb '{}', \\\n"
             "     data skip 1 using ($1 == {} ? $3 : NaN):(($4+$5)/2):($3-w):($3+w):4:5 with "
             "boxxyerror fillstyle solid noborder fillcolor rgb '{}'\n",
             layers - 1, kKept, panel, kRemoved);
}

/// One row a set.
Table pareto_table(const Figure& figure, const std::vector<AlphaDiagram>& diagrams) {
  const AlphaDiagram& any = diagrams.front();
  Table table{.name = figure.name,
              .caption = figure.title,
              .columns = {{"panel"},
                          {"budget"},
                          {"alpha_low"},
                          {"alpha_high"},
                          {"score_" + any.first_domain},
                          {"score_" + any.second_domain},
                          {"pareto"},
                          {"paper_alpha"},
                          {"removed"}}};
  for (std::size_t panel = 0; panel < diagrams.size(); ++panel) {
    const AlphaInterval& paper = interval_at(diagrams[panel], kPaperAlpha);
    for (const auto& interval : diagrams[panel].intervals) {
      table.rows.push_back({static_cast<std::int64_t>(panel), to_string(diagrams[panel].budget),
                            interval.lo, interval.hi, interval.first_score, interval.second_score,
                            static_cast<std::int64_t>(interval.pareto),
                            static_cast<std::int64_t>(&interval == &paper),
                            layer_list(interval.removed)});
    }
  }
  return table;
}

std::string pareto_panel_commands(const Figure& figure, const std::vector<AlphaDiagram>& diagrams,
                                  const PlotArea& area, std::size_t panel) {
  const AlphaDiagram& diagram = diagrams[panel];
  std::vector<double> across;
  std::vector<double> upward;
  for (const auto& interval : diagram.intervals) {
    across.push_back(interval.first_score);
    upward.push_back(interval.second_score);
  }
  const auto end_label = [](const AlphaInterval& interval, std::string_view text,
                            std::string_view place) {
    return fmt::format("set label '{}' at first {},{} {} font ',{}' textcolor rgb '{}'\n", text,
                       interval.first_score, interval.second_score, place, kSmallTextSize, kMuted);
  };
  return "unset label\n" + margin_commands(figure, area) +
         heading_commands(figure, diagram, area.left, area.top - kHeading / 2) +
         axis_commands('x', across, 4) + axis_commands('y', upward, 5) +
         (diagram.intervals.size() == 1
              ? end_label(diagram.intervals.front(), "any α", "right offset -0.8,0")
              : end_label(diagram.intervals.front(), "α = 0", "right offset -0.8,0") +
                    end_label(diagram.intervals.back(), "α = 1", "left offset 1,0.2")) +
         fmt::format(
             "plot data skip 1 using ($1 == {0} && $7 > 0 ? $5 : NaN):6 with lines linewidth 0.8 "
             "linecolor rgb '{1}', \\\n"
             "     data skip 1 using ($1 == {0} && $7 < 1 ? $5 : NaN):6 with points pointtype 6 "
             "pointsize 0.45 linewidth 0.8 linecolor rgb '{2}', \\\n"
             "     data skip 1 using ($1 == {0} && $7 > 0 ? $5 : NaN):6 with points pointtype 7 "
             "pointsize 0.45 linecolor rgb '{3}', \\\n"
             "     data skip 1 using ($1 == {0} && $8 > 0 ? $5 : NaN):6 with points pointtype 6 "
             "pointsize 0.9 linewidth 1.2 linecolor rgb '{4}'\n",
             panel, kLine, kMuted, kRemoved, kAccent);
}

}  // namespace

std::vector<std::vector<AlphaDiagram>> by_domains(const Ranking& ranking) {
  std::vector<std::vector<AlphaDiagram>> groups;
  for (const AlphaDiagram& diagram : ranking.alpha) {
    if (diagram.intervals.empty()) continue;
    const auto same = std::ranges::find_if(groups, [&](const auto& group) {
      return group.front().first_domain == diagram.first_domain &&
             group.front().second_domain == diagram.second_domain;
    });
    if (same == groups.end()) {
      groups.push_back({diagram});
    } else {
      same->push_back(diagram);
    }
  }
  return groups;
}

const AlphaInterval& interval_at(const AlphaDiagram& diagram, double alpha) {
  const auto found = std::ranges::find_if(
      diagram.intervals, [&](const AlphaInterval& interval) { return alpha <= interval.hi; });
  assume(found != diagram.intervals.end(), "an alpha diagram goes to 1");
  return *found;
}

Figure alpha_figure(std::int64_t layers, const std::vector<AlphaDiagram>& diagrams,
                    std::size_t number) {
  const AlphaDiagram& any = diagrams.front();
  Figure figure{
      .name = figure_name("alpha", number),
      .title = fmt::format("Layers removed as alpha goes from {} to {}", any.first_domain,
                           any.second_domain),
      .caption = fmt::format(
          "Alpha (upward) is the weight of {1} in the mixed ranking (Eq. 9): 0 ranks by {0} alone, "
          "1 by "
          "{1} alone. A layer's column is blue at the alphas at which the layer goes; a column "
          "that is "
          "blue throughout goes whatever the mix. Thin lines: the set changes. Dashed: the paper's "
          "0.7.",
          any.first_domain, any.second_domain),
      .width = kFigureWidth,
      .height = 0.0};
  const std::string low = "0  " + shortened(any.first_domain, kWidestName, kSmallTextSize);
  const std::string high = "1  " + shortened(any.second_domain, kWidestName, kSmallTextSize);
  const double left =
      std::max(text_width(low, kSmallTextSize), text_width(high, kSmallTextSize)) + 8;
  const double step = kHeading + kPanelHeight + kBetween;
  figure.height = std::ceil(step * static_cast<double>(diagrams.size()) - kBetween + kAxisHeight);
  figure.data = {alpha_table(figure, diagrams)};
  figure.commands = fmt::format(
      "data = '{}.csv'\nw = 0.46\nset multiplot\nset border 5 linewidth 0.6 linecolor rgb '{}'\n"
      "set yrange [0:1]\nset ytics ({} 0, {} 1) scale 0 offset 0.5,0 font ',{}'\n",
      figure.name, kMuted, gnuplot_string(low), gnuplot_string(high), kSmallTextSize);
  for (std::size_t panel = 0; panel < diagrams.size(); ++panel) {
    const double top = kHeading + step * static_cast<double>(panel);
    const PlotArea area{
        .left = left, .right = kFigureWidth - kRight, .top = top, .bottom = top + kPanelHeight};
    const bool lowest = panel + 1 == diagrams.size();
    std::string panel_text = alpha_panel_commands(figure, diagrams[panel], area, panel, layers);
    const std::string axis =
        lowest ? "set xtics format '%g'\n" + layer_axis_commands(figure, area, layers)
               : fmt::format("set xrange [-0.5:{}.5]\nset xtics scale 0 format ''\n", layers - 1);
    panel_text.insert(panel_text.find("plot "), axis);
    figure.commands += panel_text;
  }
  figure.commands += "unset multiplot\n";
  return figure;
}

Figure pareto_figure(const std::vector<AlphaDiagram>& diagrams, std::size_t number) {
  const AlphaDiagram& any = diagrams.front();
  const double columns = diagrams.size() == 3 || diagrams.size() > 4 ? 3.0 : 2.0;
  const double left = 40.0;
  const double between = 30.0;
  const double width = (kFigureWidth - left - 8 - between * (columns - 1)) / columns;
  const double height = 92.0;
  const double step = kHeading + height + 22.0;
  const double rows = std::ceil(static_cast<double>(diagrams.size()) / columns);
  Figure figure{
      .name = figure_name("pareto", number),
      .title = fmt::format("What a mix of {} and {} gives up in each", any.first_domain,
                           any.second_domain),
      .caption = fmt::format(
          "Each dot is a set of layers that some alpha removes, placed by the sum of its layers' "
          "z-scores in {0} (across) and in {1} (upward). Farther right and up is better: what goes "
          "is "
          "more redundant. The line joins the Pareto front. Ringed: the set at the paper's alpha, "
          "0.7. "
          "Hollow: another set is as good in both domains and better in one.",
          any.first_domain, any.second_domain),
      .width = kFigureWidth,
      .height = std::ceil(rows * step + 14)};
  const std::string texts =
      label_command(figure, {.text = "redundancy in " + any.first_domain + " (sum of z-scores)",
                             .x = (left + kFigureWidth - 8) / 2,
                             .y = figure.height - 8,
                             .align = "center",
                             .size = kSmallTextSize}) +
      label_command(figure, {.text = "in " + shortened(any.second_domain, 80, kSmallTextSize),
                             .x = 5,
                             .y = kHeading + height / 2,
                             .align = "center",
                             .size = kSmallTextSize,
                             .upright = true});
  figure.data = {pareto_table(figure, diagrams)};
  figure.commands = fmt::format(
      "data = '{0}.csv'\nset multiplot\nset border 3 linewidth 0.6 linecolor rgb '{1}'\n",
      figure.name, kMuted);
  const auto per_row = static_cast<std::size_t>(columns);
  for (std::size_t panel = 0; panel < diagrams.size(); ++panel) {
    const double x = left + static_cast<double>(panel % per_row) * (width + between);
    const std::size_t row = panel / per_row;
    const double y = kHeading + static_cast<double>(row) * step;
    const PlotArea area{.left = x, .right = x + width, .top = y, .bottom = y + height};
    std::string text = pareto_panel_commands(figure, diagrams, area, panel);
    if (panel == 0) text.insert(text.find("plot data"), texts);
    figure.commands += text;
  }
  figure.commands += "unset multiplot\n";
  return figure;
}

}  // namespace espalier
