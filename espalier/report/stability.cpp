// SPDX-License-Identifier: Apache-2.0
#include "espalier/report/stability.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "espalier/report/layer_grid.h"
#include "espalier/report/removal_map.h"

namespace espalier {

namespace {

GridRow row_of(const Ranking& ranking, const Selection& selection) {
  GridRow row{.label = row_name(ranking, selection),
              .values = selection.removal_share,
              .dotted = selection.removed};
  for (const std::int64_t layer : ranking.protected_layers) {
    row.values[static_cast<std::size_t>(layer)] = std::numeric_limits<double>::quiet_NaN();
  }
  if (selection.stability) row.note = percent(*selection.stability);
  return row;
}

}  // namespace

bool has_stability(const Ranking& ranking) {
  return std::ranges::any_of(ranking.selections, [](const Selection& selection) {
    return !selection.removal_share.empty();
  });
}

Figure stability_map(const Ranking& ranking) {
  LayerGrid grid{.layers = ranking.model.num_layers,
                 .keys = {{.text = "removed in 0%", .share = 0.0},
                          {.text = "25%", .share = 0.25},
                          {.text = "50%", .share = 0.5},
                          {.text = "75%", .share = 0.75},
                          {.text = "100%"},
                          {.text = "chosen", .tile = GridKey::Tile::Dotted, .share = 0.0}},
                 .value_name = "share of resamples",
                 .note_name = "same set"};
  for (const Budget& budget : budgets_of(ranking)) {
    GridPanel panel{.heading = to_string(budget)};
    for (const auto& selection : ranking.selections) {
      if (selection.budget != budget || selection.removal_share.empty()) continue;
      panel.remark = fmt::format("{} of {} prunable layers", selection.k, ranking.prunable.size());
      panel.rows.push_back(row_of(ranking, selection));
    }
    if (!panel.rows.empty()) grid.panels.push_back(std::move(panel));
  }
  Figure figure{
      .name = "stability",
      .title = "Share of resamples in which each layer is removed",
      .caption = fmt::format(
          "The pictures were drawn anew {} times, with replacement, and ranked again. The fuller a "
          "tile's blue, the more of these rankings remove the layer; dots mark the layers that the "
          "data as it is removes. A dot on a pale tile, or a full tile without a dot, is a choice "
          "that other pictures might change. At the right: the share of resamples that remove "
          "exactly the same set.",
          ranking.bootstrap.resamples)};
  draw_layer_grid(figure, grid);
  return figure;
}

}  // namespace espalier
