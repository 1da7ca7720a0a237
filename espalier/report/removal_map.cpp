// SPDX-License-Identifier: Apache-2.0
#include "espalier/report/removal_map.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "espalier/report/layer_grid.h"

namespace espalier {

namespace {

/// [L] 1 for a layer that goes, 0 for one that stays, NaN for one that is protected.
std::vector<double> fates(const Ranking& ranking, const Selection& selection) {
  std::vector<double> values(static_cast<std::size_t>(ranking.model.num_layers));
  for (const std::int64_t layer : ranking.protected_layers) {
    values[static_cast<std::size_t>(layer)] = std::numeric_limits<double>::quiet_NaN();
  }
  for (const std::int64_t layer : selection.removed) {
    values[static_cast<std::size_t>(layer)] = 1.0;
  }
  return values;
}

}  // namespace

std::vector<Budget> budgets_of(const Ranking& ranking) {
  std::vector<Budget> budgets;
  for (const auto& selection : ranking.selections) {
    if (std::ranges::find(budgets, selection.budget) == budgets.end()) {
      budgets.push_back(selection.budget);
    }
  }
  return budgets;
}

std::string row_name(const Ranking& ranking, const Selection& selection) {
  const bool several = std::ranges::any_of(ranking.selections, [&](const Selection& other) {
    return other.criterion == selection.criterion && other.rule != selection.rule;
  });
  return several ? selection.criterion + ", " + selection.rule : selection.criterion;
}

Figure removal_map(const Ranking& ranking) {
  LayerGrid grid{.layers = ranking.model.num_layers,
                 .keys = {{.text = "removed"}, {.text = "kept", .share = 0.0}},
                 .value_name = "removed"};
  if (!ranking.protected_layers.empty()) {
    grid.keys.push_back({.text = "protected", .tile = GridKey::Tile::Crossed});
  }
  for (const Budget& budget : budgets_of(ranking)) {
    GridPanel panel{.heading = to_string(budget)};
    for (const auto& selection : ranking.selections) {
      if (selection.budget != budget) continue;
      panel.remark = fmt::format("{} of {} prunable layers", selection.k, ranking.prunable.size());
      panel.rows.push_back(
          {.label = row_name(ranking, selection), .values = fates(ranking, selection)});
    }
    grid.panels.push_back(std::move(panel));
  }
  Figure figure{.name = "removal_map",
                .title = "Layers that each criterion removes",
                .caption =
                    "Each row is a criterion, each column a decoder layer, each panel a "
                    "budget. Blue: removed. Grey: kept. Crossed out: protected."};
  draw_layer_grid(figure, grid);
  return figure;
}

}  // namespace espalier
