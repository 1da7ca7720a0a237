// SPDX-License-Identifier: Apache-2.0
#include "espalier/report/accuracy_chart.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>

#include "espalier/base/json.h"

namespace espalier {

namespace {

// Lengths in points.
constexpr double kLeft = 38.0;
constexpr double kBetween = 32.0;
constexpr double kRight = 10.0;
constexpr double kLegendHeight = 16.0;
constexpr double kTitleHeight = 17.0;
constexpr double kPlotHeight = 104.0;
constexpr double kTicsHeight = 16.0;
constexpr double kAxisHeight = 14.0;
constexpr double kBarHeight = 14.0;
constexpr double kWidestName = 130.0;

/// Of Okabe and Ito's palette but for the first, as all colours of figures.
constexpr std::array<std::string_view, 6> kSeriesColours = {kRemoved,  kAccent,   "#009e73",
                                                            "#cc79a7", "#e69f00", "#56b4e9"};

double in_percent(double share) { return 100.0 * share; }

/// Scoreboards that one line joins: one criterion's, asked in one way.
struct Series {
  std::string criterion;
  std::string manner;
  std::vector<const Scoreboard*> scoreboards;  ///< by layers removed

  [[nodiscard]] std::string name() const { return criterion + manner; }
};

/// What the lines' `part` is, each value once, in their order.
std::vector<std::string> each(const std::vector<Series>& series, std::string Series::*part) {
  std::vector<std::string> values;
  for (const Series& line : series) {
    if (std::ranges::find(values, line.*part) == values.end()) values.push_back(line.*part);
  }
  return values;
}

std::int64_t removed_of(const Scoreboard& scoreboard) {
  return scoreboard.plan ? scoreboard.plan->removed : 0;
}

const std::string& base_of(const Scoreboard& scoreboard) {
  return scoreboard.plan ? scoreboard.plan->base_fingerprint : scoreboard.model.fingerprint;
}

/// What tells two evaluations of one model apart.
std::string manner_of(const Scoreboard& scoreboard) {
  const auto options = parse_json(scoreboard.options, "the scoreboard's options");
  std::string manner;
  if (scoreboard.training) {
    manner += ", healed by " + scoreboard.training->loss;
  } else if (!scoreboard.adapter_fingerprint.empty()) {
    manner += ", with adapter";
  }
  if (options.value("shuffle_pictures", false)) manner += ", pictures shuffled";
  return manner;
}

/// Whether a scoreboard stands on some line.
bool is_shown(const Scoreboard& scoreboard, const std::vector<Series>& series) {
  return std::ranges::any_of(series, [&](const Series& line) {
    return std::ranges::find(line.scoreboards, &scoreboard) != line.scoreboards.end();
  });
}

/// The lines of the scoreboards; none where they are not of one base, where nothing was pruned,
/// where two would stand in one place or one in none.
std::vector<Series> series_of(const std::vector<NamedScoreboard>& scoreboards) {
  std::vector<Series> series;
  for (const auto& [name, scoreboard] : scoreboards) {
    if (base_of(scoreboard) != base_of(scoreboards.front().scoreboard)) return {};
    if (!scoreboard.plan) continue;
    const std::string& criterion = scoreboard.plan->criterion;
    const Series line{.criterion = criterion.empty() ? "named layers" : criterion,
                      .manner = manner_of(scoreboard)};
    auto known = std::ranges::find(series, line.name(), &Series::name);
    if (known == series.end()) known = series.insert(series.end(), line);
    known->scoreboards.push_back(&scoreboard);
  }
  for (Series& line : series) {
    for (const auto& [name, scoreboard] : scoreboards) {
      if (!scoreboard.plan && manner_of(scoreboard) == line.manner) {
        line.scoreboards.push_back(&scoreboard);
      }
    }
    const auto removed = [](const Scoreboard* one) { return removed_of(*one); };
    std::ranges::stable_sort(line.scoreboards, {}, removed);
    const bool twice =
        std::ranges::adjacent_find(line.scoreboards, {}, removed) != line.scoreboards.end();
    if (twice) return {};
  }
  const bool all_shown = std::ranges::all_of(
      scoreboards, [&](const NamedScoreboard& one) { return is_shown(one.scoreboard, series); });
  const bool colours = each(series, &Series::criterion).size() <= kSeriesColours.size();
  return all_shown && colours ? series : std::vector<Series>();
}

std::string title_label(const Figure& figure, const PlotArea& area, const std::string& domain) {
  return label_command(figure, {.text = shortened(domain, area.right - area.left, kTextSize),
                                .x = area.left,
                                .y = area.top - kTitleHeight / 2 - 1,
                                .bold = true});
}

// ---- by layers removed ----

/// One panel: some lines, of one domain.
struct Panel {
  std::string domain;
  std::string title;
  std::vector<std::size_t> series;
};

/// The panels and what they share.
struct Layout {
  std::vector<Panel> panels;
  std::size_t columns = 2;
  std::vector<std::size_t> colours;  ///< of each line
  std::vector<std::string> legend;   ///< of each colour
};

/// Few lines are together in a domain's panel, a colour each. Of many, those that were asked in one
/// way are, a row of panels a domain and a colour a criterion.
Layout layout_of(const std::vector<Series>& series, const std::vector<std::string>& domains) {
  Layout layout;
  if (series.size() <= kSeriesColours.size()) {
    std::vector<std::size_t> all;
    for (std::size_t s = 0; s < series.size(); ++s) {
      all.push_back(s);
      layout.colours.push_back(s);
      layout.legend.push_back(series[s].name());
    }
    for (const auto& domain : domains) layout.panels.push_back({domain, domain, all});
    return layout;
  }
  layout.legend = each(series, &Series::criterion);
  for (const Series& line : series) {
    const auto place = std::ranges::find(layout.legend, line.criterion) - layout.legend.begin();
    layout.colours.push_back(static_cast<std::size_t>(place));
  }
  const auto manners = each(series, &Series::manner);
  layout.columns = manners.size();
  for (const auto& domain : domains) {
    for (const auto& manner : manners) {
      // The first of a row names its domain; ", healed by sft" says enough beside it.
      const bool first = manner == manners.front();
      Panel panel{.domain = domain,
                  .title = first || manner.empty() ? domain + manner : manner.substr(2),
                  .series = {}};
      for (std::size_t s = 0; s < series.size(); ++s) {
        if (series[s].manner == manner) panel.series.push_back(s);
      }
      layout.panels.push_back(std::move(panel));
    }
  }
  return layout;
}

PlotArea panel_area(std::size_t panel, std::size_t columns) {
  const auto count = static_cast<double>(columns);
  const double width = (kFigureWidth - kLeft - (count - 1) * kBetween - kRight) / count;
  const double left = kLeft + static_cast<double>(panel % columns) * (width + kBetween);
  const double top =
      kLegendHeight + kTitleHeight +
      static_cast<double>(panel / columns) * (kTitleHeight + kPlotHeight + kTicsHeight);
  return {.left = left, .right = left + width, .top = top, .bottom = top + kPlotHeight};
}

/// Rows of the data that one line of one panel reads.
struct RowRange {
  std::size_t series;
  std::size_t first;
  std::size_t last;
};

/// The rows of a panel's lines, appended to the data.
std::vector<RowRange> add_rows(Table& data, const std::vector<Series>& series, const Panel& panel) {
  const std::string& domain = panel.domain;
  std::vector<RowRange> ranges;
  for (const std::size_t s : panel.series) {
    const std::size_t first = data.rows.size();
    for (const Scoreboard* scoreboard : series[s].scoreboards) {
      const ScoreGroup* group = domain_group(*scoreboard, domain);
      if (group == nullptr) continue;
      data.rows.push_back({domain, series[s].name(), removed_of(*scoreboard),
                           in_percent(group->accuracy), in_percent(group->low),
                           in_percent(group->high)});
    }
    if (data.rows.size() > first) {
      ranges.push_back({.series = s, .first = first, .last = data.rows.size() - 1});
    }
  }
  return ranges;
}

std::string legend_commands(const Figure& figure, const std::vector<std::string>& names) {
  std::string commands;
  const double room = (kFigureWidth - kLeft) / static_cast<double>(names.size()) - 18;
  double x = kLeft;
  for (std::size_t s = 0; s < names.size(); ++s) {
    const double y = kLegendHeight / 2;
    commands += fmt::format(
        "set label '' at screen {:.5f},{:.5f} point pointtype 7 pointsize 0.5 linecolor rgb '{}'\n",
        x / figure.width, 1.0 - y / figure.height, kSeriesColours[s]);
    const std::string name = shortened(names[s], room, kSmallTextSize);
    commands += label_command(figure, {.text = name, .x = x + 6, .y = y, .size = kSmallTextSize});
    x += text_width(name, kSmallTextSize) + 18;
  }
  return commands;
}

/// Numbers of layers removed, each once.
std::vector<std::int64_t> all_removed(const std::vector<Series>& series) {
  std::vector<std::int64_t> removed;
  for (const Series& line : series) {
    for (const Scoreboard* scoreboard : line.scoreboards)
      removed.push_back(removed_of(*scoreboard));
  }
  std::ranges::sort(removed);
  const auto twice = std::ranges::unique(removed);
  removed.erase(twice.begin(), twice.end());
  return removed;
}

std::string removed_axis(const std::vector<std::int64_t>& removed) {
  const auto most = static_cast<double>(removed.back());
  std::string tics;
  for (const std::int64_t number : removed) {
    tics += fmt::format("{}'{}' {}", tics.empty() ? "" : ", ", number, number);
  }
  return fmt::format(
      "set xrange [{:.3f}:{:.3f}]\nset xtics ({}) scale 0.4 offset 0,0.4 font ',{}'\n",
      -0.06 * most, 1.06 * most, tics, kSmallTextSize);
}

/// The values of a domain in all its panels, for their axes.
std::vector<double> values_of(const std::vector<Series>& series, const std::string& domain) {
  std::vector<double> values;
  for (const Series& line : series) {
    for (const Scoreboard* scoreboard : line.scoreboards) {
      const ScoreGroup* group = domain_group(*scoreboard, domain);
      if (group == nullptr) continue;
      values.push_back(in_percent(group->low));
      values.push_back(in_percent(group->high));
    }
  }
  return values;
}

/// Lines with their intervals, side by side where they would cover each other.
std::string lines_command(const std::vector<RowRange>& ranges, const Layout& layout,
                          std::int64_t most_removed) {
  std::string commands;
  for (const RowRange& range : ranges) {
    const std::size_t colour = layout.colours[range.series];
    const double aside =
        (static_cast<double>(colour) - static_cast<double>(layout.legend.size() - 1) / 2) * 0.012 *
        static_cast<double>(most_removed);
    // All begin in the base's one point.
    const std::string rows =
        fmt::format("data skip 1 every ::{}::{} using ($3 + ($3 > 0) * {:.4f})", range.first,
                    range.last, aside);
    commands += fmt::format(
        "{0}{1}:4 with lines linewidth 1.4 linecolor rgb '{2}', \\\n"
        "     {1}:5:(0):($6 - $5) with vectors nohead linewidth 0.9 linecolor rgb '{2}', \\\n"
        "     {1}:4 with points pointtype 7 pointsize 0.4 linecolor rgb '{2}'",
        commands.empty() ? "plot " : ", \\\n     ", rows, kSeriesColours[colour]);
  }
  return commands + "\n";
}

Figure lines_chart(Figure figure, const std::vector<Series>& series,
                   const std::vector<std::string>& domains) {
  figure.caption =
      "Share of right answers, by the number of layers that were removed; bars are Wilson "
      "intervals "
      "of 95 %. Two models that answered the same questions differ with more certainty than the "
      "overlap of their bars suggests: espalier eval --against compares them question by question.";
  const Layout layout = layout_of(series, domains);
  const std::size_t columns = layout.columns;
  figure.height = panel_area(layout.panels.size() - 1, columns).bottom + kTicsHeight + kAxisHeight;
  Table data{.name = figure.name,
             .caption = figure.title,
             .columns = {{"domain"}, {"series"}, {"removed"}, {"accuracy"}, {"low"}, {"high"}}};
  const auto removed = all_removed(series);
  figure.commands =
      fmt::format("data = '{}.csv'\nset multiplot\nset border 3 linewidth 0.6 linecolor rgb '{}'\n",
                  figure.name, kMuted);
  for (std::size_t panel = 0; panel < layout.panels.size(); ++panel) {
    const PlotArea area = panel_area(panel, columns);
    const auto ranges = add_rows(data, series, layout.panels[panel]);
    figure.commands += "unset label\n" + margin_commands(figure, area) +
                       title_label(figure, area, layout.panels[panel].title) +
                       removed_axis(removed) +
                       axis_commands('y', values_of(series, layout.panels[panel].domain), 5);
    if (panel == 0) figure.commands += legend_commands(figure, layout.legend);
    if (panel + columns >= layout.panels.size()) {
      figure.commands += label_command(figure, {.text = "layers removed",
                                                .x = (area.left + area.right) / 2,
                                                .y = area.bottom + kTicsHeight + 4,
                                                .align = "center",
                                                .size = kSmallTextSize});
    }
    if (panel % columns == 0) {
      figure.commands += label_command(figure, {.text = "right answers (%)",
                                                .x = 6,
                                                .y = (area.top + area.bottom) / 2,
                                                .align = "center",
                                                .size = kSmallTextSize,
                                                .upright = true});
    }
    figure.commands += lines_command(ranges, layout, removed.back());
  }
  figure.commands += "unset multiplot\n";
  figure.data = {std::move(data)};
  return figure;
}

// ---- a bar a scoreboard ----

Figure bars_chart(Figure figure, const std::vector<NamedScoreboard>& scoreboards,
                  const std::vector<std::string>& domains) {
  figure.caption =
      "Share of right answers of each evaluation; thin bars are Wilson intervals of 95 %.";
  double widest = 0.0;
  for (const auto& [name, scoreboard] : scoreboards) {
    widest = std::max(widest, text_width(name, kSmallTextSize));
  }
  const double left = std::min(widest, kWidestName) + 10;
  const double rows = kBarHeight * static_cast<double>(scoreboards.size());
  const double step = kTitleHeight + rows;
  figure.height = step * static_cast<double>(domains.size()) + kTicsHeight + kAxisHeight;
  Table data{.name = figure.name,
             .caption = figure.title,
             .columns = {{"domain"}, {"scoreboard"}, {"row"}, {"accuracy"}, {"low"}, {"high"}}};
  figure.commands = fmt::format(
      "data = '{}.csv'\nset multiplot\nset bars 0.3\nset style fill solid noborder\n"
      "set xrange [0:100]\nset yrange [{}.5:-0.5]\nset border 1 linewidth 0.6 linecolor rgb '{}'\n",
      figure.name, scoreboards.size() - 1, kMuted);
  for (std::size_t panel = 0; panel < domains.size(); ++panel) {
    const double top = kTitleHeight + step * static_cast<double>(panel);
    const PlotArea area{
        .left = left, .right = kFigureWidth - kRight, .top = top, .bottom = top + rows};
    const std::size_t first = data.rows.size();
    std::string names;
    for (std::size_t i = 0; i < scoreboards.size(); ++i) {
      const ScoreGroup* group = domain_group(scoreboards[i].scoreboard, domains[panel]);
      names += fmt::format(
          "{}{} {}", names.empty() ? "" : ", ",
          gnuplot_string(shortened(scoreboards[i].name, kWidestName, kSmallTextSize)), i);
      if (group == nullptr) continue;
      data.rows.push_back({domains[panel], scoreboards[i].name, static_cast<std::int64_t>(i),
                           in_percent(group->accuracy), in_percent(group->low),
                           in_percent(group->high)});
    }
    const bool lowest = panel + 1 == domains.size();
    figure.commands +=
        "unset label\n" + margin_commands(figure, area) +
        title_label(figure, area, domains[panel]) +
        fmt::format("set ytics ({}) scale 0 offset 0.5,0 font ',{}'\n", names, kSmallTextSize) +
        fmt::format("set xtics 0,20 scale 0.4 offset 0,0.4 font ',{}' format '{}'\n",
                    kSmallTextSize, lowest ? "%g" : "");
    if (lowest) {
      figure.commands += label_command(figure, {.text = "right answers (%)",
                                                .x = (area.left + area.right) / 2,
                                                .y = area.bottom + kTicsHeight + 4,
                                                .align = "center",
                                                .size = kSmallTextSize});
    }
    const std::string read =
        fmt::format("data skip 1 every ::{}::{} using", first, data.rows.size() - 1);
    figure.commands += fmt::format(
        "plot {0} ($4 / 2):3:(0):4:($3 - 0.3):($3 + 0.3) with boxxyerror fillcolor rgb '{1}', \\\n"
        "     {0} 4:3:5:6 with xerrorbars pointtype 7 pointsize 0.3 linewidth 0.9 linecolor rgb "
        "'{2}'\n",
        read, kLine, kInk);
  }
  figure.commands += "unset multiplot\n";
  figure.data = {std::move(data)};
  return figure;
}

}  // namespace

std::vector<std::string> scored_domains(const std::vector<NamedScoreboard>& scoreboards) {
  std::vector<std::string> domains;
  for (const auto& [name, scoreboard] : scoreboards) {
    for (const ScoreGroup& group : scoreboard.groups) {
      if (group.domain && std::ranges::find(domains, *group.domain) == domains.end()) {
        domains.push_back(*group.domain);
      }
    }
  }
  return domains;
}

const ScoreGroup* domain_group(const Scoreboard& scoreboard, const std::string& domain) {
  const auto group = std::ranges::find_if(
      scoreboard.groups, [&](const ScoreGroup& one) { return one.domain == domain && !one.kind; });
  return group == scoreboard.groups.end() ? nullptr : &*group;
}

Figure accuracy_chart(const std::vector<NamedScoreboard>& scoreboards) {
  Figure figure{.name = "accuracy", .title = "Accuracy by domain", .width = kFigureWidth};
  const auto domains = scored_domains(scoreboards);
  const auto series = series_of(scoreboards);
  return series.empty() ? bars_chart(std::move(figure), scoreboards, domains)
                        : lines_chart(std::move(figure), series, domains);
}

}  // namespace espalier
