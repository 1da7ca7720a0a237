// SPDX-License-Identifier: Apache-2.0
#include "espalier/report/layer_grid.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "espalier/base/error.h"

namespace espalier {

namespace {

// Lengths in points.
constexpr double kHeadingHeight = 16.0;
constexpr double kPanelGap = 7.0;
constexpr double kSummaryGap = 3.0;
constexpr double kLabelGap = 6.0;
constexpr double kWidestLabel = 0.42 * kFigureWidth;
constexpr double kAxisHeight = 28.0;
constexpr double kProtectedHeight = 13.0;
constexpr double kKeyHeight = 14.0;
constexpr double kColourBarWidth = 53.0;
constexpr double kShortestColourBar = 62.0;
/// Between tiles, where there is room.
constexpr double kTileGap = 1.0;

std::size_t count_rows(const LayerGrid& grid) {
  std::size_t rows = 0;
  for (const auto& panel : grid.panels) rows += panel.rows.size();
  return rows;
}

/// Where everything lies, in points.
struct Layout {
  double row_height = 0.0;
  PlotArea area;
  std::vector<double> headings;           ///< [panels] middle, from the figure's top
  std::vector<std::vector<double>> rows;  ///< [panels][rows] middle, from the axes' top
  double protected_row = 0.0;             ///< middle, from the axes' top
};

double widest_label(const LayerGrid& grid, double size) {
  double width = 0.0;
  for (const auto& panel : grid.panels) {
    for (const auto& row : panel.rows) width = std::max(width, text_width(row.label, size));
  }
  return width;
}

/// Of the rows' labels: smaller where there are long ones.
double label_size(const LayerGrid& grid) {
  return widest_label(grid, kTextSize) > kWidestLabel ? kSmallestTextSize : kTextSize;
}

double left_margin(const LayerGrid& grid) {
  const double strip =
      grid.protected_layers.empty() ? 0.0 : text_width("protected", kSmallTextSize);
  return std::max(std::min(widest_label(grid, label_size(grid)), kWidestLabel), strip) + kLabelGap +
         2.0;
}

double right_margin(const LayerGrid& grid) {
  if (grid.colours == TileColours::Palette) return kColourBarWidth;
  double width = grid.note_name.empty() ? 0.0 : text_width(grid.note_name, kSmallTextSize);
  for (const auto& panel : grid.panels) {
    for (const auto& row : panel.rows) width = std::max(width, text_width(row.note, kTextSize));
  }
  return width > 0.0 ? width + kLabelGap + 2.0 : 6.0;
}

Layout lay_out(const LayerGrid& grid) {
  const std::size_t rows = count_rows(grid);
  Layout layout{.row_height = rows <= 3 ? 22.0 : rows <= 24 ? 13.0 : rows <= 48 ? 12.0 : 11.0};
  layout.area = {.left = left_margin(grid), .right = kFigureWidth - right_margin(grid), .top = 2.0};
  double y = 0.0;
  for (const auto& panel : grid.panels) {
    if (!panel.heading.empty()) {
      layout.headings.push_back(layout.area.top + y + kHeadingHeight / 2);
      y += kHeadingHeight;
    }
    auto& middles = layout.rows.emplace_back();
    for (const auto& row : panel.rows) {
      if (row.summary) y += kSummaryGap;
      middles.push_back(y + layout.row_height / 2);
      y += layout.row_height;
    }
    y += kPanelGap;
  }
  y -= kPanelGap;
  if (!grid.protected_layers.empty()) {
    layout.protected_row = y + kProtectedHeight / 2 + 1.0;
    y += kProtectedHeight;
  }
  layout.area.bottom = layout.area.top + y;
  return layout;
}

/// The tiles' numbers: what is drawn, and where.
Table tile_table(const Figure& figure, const LayerGrid& grid, const Layout& layout) {
  Table table{.name = figure.name,
              .caption = figure.title,
              .columns = {{"panel"}, {"row"}, {"layer"}, {"y"}, {grid.value_name}, {"dot"}}};
  for (std::size_t p = 0; p < grid.panels.size(); ++p) {
    for (std::size_t r = 0; r < grid.panels[p].rows.size(); ++r) {
      const GridRow& row = grid.panels[p].rows[r];
      assume(std::ssize(row.values) == grid.layers, "a row has a value for each layer");
      for (std::int64_t layer = 0; layer < grid.layers; ++layer) {
        const bool dotted = std::ranges::find(row.dotted, layer) != row.dotted.end();
        table.rows.push_back({grid.panels[p].heading, row.label, layer, layout.rows[p][r],
                              row.values[static_cast<std::size_t>(layer)],
                              static_cast<std::int64_t>(dotted)});
      }
    }
  }
  return table;
}

std::string text_commands(const Figure& figure, const LayerGrid& grid, const Layout& layout) {
  std::string commands;
  const PlotArea& area = layout.area;
  for (std::size_t p = 0; p < grid.panels.size(); ++p) {
    const GridPanel& panel = grid.panels[p];
    if (!panel.heading.empty()) {
      const std::string heading =
          shortened(panel.heading, (area.right - area.left) * 0.7, kTextSize);
      commands += label_command(
          figure, {.text = heading, .x = area.left, .y = layout.headings[p], .bold = true});
      // Bold text is wider than the estimate for plain text, which is generous.
      commands += label_command(figure, {.text = panel.remark,
                                         .x = area.left + text_width(heading, kTextSize) * 1.06 + 8,
                                         .y = layout.headings[p],
                                         .colour = kMuted,
                                         .size = kSmallTextSize});
    }
    for (std::size_t r = 0; r < panel.rows.size(); ++r) {
      const GridRow& row = panel.rows[r];
      const double y = area.top + layout.rows[p][r];
      commands +=
          label_command(figure, {.text = shortened(row.label, kWidestLabel, label_size(grid)),
                                 .x = area.left - kLabelGap,
                                 .y = y,
                                 .align = "right",
                                 .colour = row.summary ? kMuted : kInk,
                                 .size = label_size(grid)});
      if (row.note.empty()) continue;
      commands += label_command(
          figure, {.text = row.note, .x = kFigureWidth - 2, .y = y, .align = "right"});
    }
  }
  if (!grid.note_name.empty() && !layout.headings.empty()) {
    commands += label_command(figure, {.text = grid.note_name,
                                       .x = kFigureWidth - 2,
                                       .y = layout.headings[0],
                                       .align = "right",
                                       .colour = kMuted,
                                       .size = kSmallTextSize});
  }
  return commands;
}

/// A filled rectangle in points from the figure's left and top.
std::string rectangle_command(const Figure& figure, const PlotArea& place, std::string_view colour,
                              double opacity = 1.0) {
  return fmt::format(
      "set object rectangle from screen {:.5f},{:.5f} to screen {:.5f},{:.5f} fillcolor rgb "
      "'#{:02x}{}' fillstyle solid noborder\n",
      place.left / figure.width, 1.0 - place.bottom / figure.height, place.right / figure.width,
      1.0 - place.top / figure.height, static_cast<int>(std::lround(255.0 * (1.0 - opacity))),
      colour.substr(1));
}

/// Share of a place so wide (or high) that a tile fills.
double filled(double width) { return 1.0 - std::min(kTileGap / width, 0.1); }

double tile_step(const LayerGrid& grid, const Layout& layout) {
  return (layout.area.right - layout.area.left) / static_cast<double>(grid.layers);
}

std::string protected_commands(const Figure& figure, const LayerGrid& grid, const Layout& layout) {
  if (grid.protected_layers.empty()) return {};
  const double y = layout.area.top + layout.protected_row;
  const double step = tile_step(grid, layout);
  std::string commands = label_command(figure, {.text = "protected",
                                                .x = layout.area.left - kLabelGap,
                                                .y = y,
                                                .align = "right",
                                                .colour = kMuted,
                                                .size = kSmallTextSize});
  for (const std::int64_t layer : grid.protected_layers) {
    const double left = layout.area.left + step * static_cast<double>(layer);
    commands += rectangle_command(figure,
                                  {.left = left + step * (1 - filled(step)) / 2,
                                   .right = left + step * (1 + filled(step)) / 2,
                                   .top = y - 1.5,
                                   .bottom = y + 1.5},
                                  kMuted);
  }
  return commands;
}

std::string key_tile_commands(const Figure& figure, const GridKey& key, const PlotArea& tile) {
  std::string commands = rectangle_command(figure, tile, kKept);
  if (key.tile != GridKey::Tile::Crossed && key.share > 0.0) {
    commands += rectangle_command(figure, tile, kRemoved, key.share);
  }
  const double x = (tile.left + tile.right) / 2 / figure.width;
  const double y = 1.0 - (tile.top + tile.bottom) / 2 / figure.height;
  if (key.tile == GridKey::Tile::Crossed) {
    commands += fmt::format(
        "set arrow from screen {:.5f},{:.5f} to screen {:.5f},{:.5f} nohead linecolor rgb '{}' "
        "linewidth 0.8\n",
        tile.left / figure.width, 1.0 - tile.bottom / figure.height, tile.right / figure.width,
        1.0 - tile.top / figure.height, kMuted);
  } else if (key.tile == GridKey::Tile::Dotted) {
    commands += fmt::format(
        "set label '' at screen {:.5f},{:.5f} point pointtype 7 pointsize 0.3 linecolor rgb '{}'\n",
        x, y, kAccent);
  }
  return commands;
}

constexpr double kKeyTileWidth = 10.0;

/// The legend in lines as wide as the figure, from a height downward.
/// \param height  set to what it takes
std::string key_commands(const Figure& figure, const LayerGrid& grid, double left, double top,
                         double& height) {
  std::string commands;
  double x = left;
  double y = top;
  for (const GridKey& key : grid.keys) {
    const double width = kKeyTileWidth + 4 + text_width(key.text, kSmallTextSize);
    if (x > left && x + width > kFigureWidth) {
      x = left;
      y += kKeyHeight;
    }
    commands += key_tile_commands(
        figure, key, {.left = x, .right = x + kKeyTileWidth, .top = y + 3, .bottom = y + 11});
    commands += label_command(
        figure, {.text = key.text, .x = x + kKeyTileWidth + 4, .y = y + 7, .size = kSmallTextSize});
    x += width + 8;
  }
  height = grid.keys.empty() ? 0.0 : y + kKeyHeight - top;
  return commands;
}

/// How tiles get their colours; with the colour bar where there is a palette.
std::string colour_commands(const Figure& figure, const LayerGrid& grid, const Layout& layout) {
  if (grid.colours == TileColours::Shade) {
    return fmt::format("shade(s) = (255 - int(255 * s)) * 0x1000000 + 0x{}\n", kRemoved.substr(1));
  }
  const double top = layout.rows.front().front() - layout.row_height / 2;
  // Beside few rows the bar goes on below them.
  const double bottom =
      std::max(layout.rows.back().back() + layout.row_height / 2, top + kShortestColourBar);
  return palette_command(viridis()) +
         label_command(figure, {.text = grid.value_name,
                                .x = figure.width - 5,
                                .y = layout.area.top + (top + bottom) / 2,
                                .align = "center",
                                .size = bottom - top > 80.0 ? kSmallTextSize : kSmallestTextSize,
                                .upright = true}) +
         fmt::format(
             "set cbrange [{0}:{1}]\nset cbtics {6} scale 0 offset -0.6,0 font ',{7}'\n"
             "set colorbox user noborder origin screen {2:.5f},{3:.5f} size screen "
             "{4:.5f},{5:.5f}\n",
             grid.low, grid.high, (layout.area.right + 8) / figure.width,
             1.0 - (layout.area.top + bottom) / figure.height, 8 / figure.width,
             (bottom - top) / figure.height,
             tic_list(grid.low, grid.high,
                      tic_step(grid.high - grid.low, bottom - top > 80.0 ? 6 : 3),
                      grid.clipped ? "≤" : ""),
             kSmallTextSize);
}

std::string plot_commands(const Figure& figure, const LayerGrid& grid, const Layout& layout) {
  const double step = tile_step(grid, layout);
  const double dots = std::min(0.3, step / 24.0);
  std::string commands =
      fmt::format("w = {:.4f}\nh = {:.4f}\ndata = '{}.csv'\n", filled(step) / 2,
                  filled(layout.row_height) * layout.row_height / 2, figure.name) +
      "plot data skip 1 using 3:4:($3-w):($3+w):($4-h):($4+h) with boxxyerror fillstyle solid "
      "noborder fillcolor rgb '" +
      std::string(kKept) + "', \\\n";
  commands +=
      grid.colours == TileColours::Shade
          ? "     data skip 1 using ($5 > 0 ? $3 : NaN):4:($3-w):($3+w):($4-h):($4+h):(shade($5)) "
            "with boxxyerror fillstyle solid noborder fillcolor rgb variable, \\\n"
          : "     data skip 1 using 3:4:($3-w):($3+w):($4-h):($4+h):5 with boxxyerror fillstyle "
            "solid noborder fillcolor palette, \\\n";
  return commands +
         fmt::format(
             "     data skip 1 using (strlen(strcol(5)) ? NaN : $3-w):($4+h):(2*w):(-2*h) with "
             "vectors nohead linecolor rgb '{}' linewidth 0.8, \\\n"
             "     data skip 1 using ($6 > 0 ? $3 : NaN):4 with points pointtype 7 pointsize "
             "{:.3f} "
             "linecolor rgb '{}'\n",
             kMuted, dots, kAccent);
}

}  // namespace

void draw_layer_grid(Figure& figure, const LayerGrid& grid) {
  assume(grid.layers > 0 && count_rows(grid) > 0, "a grid has layers and rows");
  const Layout layout = lay_out(grid);
  figure.width = kFigureWidth;
  const double keys_top = layout.area.bottom + kAxisHeight;
  double keys_height = 0.0;
  // Once for the height, on which every command depends.
  figure.height = keys_top;
  key_commands(figure, grid, layout.area.left, keys_top, keys_height);
  figure.height = std::ceil(keys_top + keys_height + 2.0);
  figure.data = {tile_table(figure, grid, layout)};
  figure.commands =
      margin_commands(figure, layout.area) + layer_axis_commands(figure, layout.area, grid.layers) +
      fmt::format("unset ytics\nset yrange [{:.2f}:0]\n", layout.area.bottom - layout.area.top) +
      text_commands(figure, grid, layout) + protected_commands(figure, grid, layout) +
      key_commands(figure, grid, layout.area.left, keys_top, keys_height) +
      colour_commands(figure, grid, layout) + plot_commands(figure, grid, layout);
}

}  // namespace espalier
