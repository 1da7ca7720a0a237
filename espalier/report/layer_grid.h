// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "espalier/report/figure.h"

namespace espalier {

/// One row of tiles, a tile a layer.
struct GridRow {
  std::string label;
  std::vector<double> values;        ///< [L]; NaN where there is none: that tile is crossed out
  std::vector<std::int64_t> dotted;  ///< layers whose tile has a dot
  std::string note;                  ///< right of the row; may be empty
  bool summary = false;              ///< sums up the rows above it: set off a little
};

/// Rows that belong together, under a heading.
struct GridPanel {
  std::string heading;
  std::string remark;  ///< beside the heading, in a lighter hand; may be empty
  std::vector<GridRow> rows;
};

/// What the colours of a grid's tiles mean: `Shade` goes from the colour of layers that stay, at 0,
/// to that of layers that go, at 1; `Palette` is viridis between two values, with a colour bar.
enum class TileColours { Shade, Palette };

/// One entry of the legend below a grid.
struct GridKey {
  enum class Tile { Shaded, Crossed, Dotted };
  std::string text;
  Tile tile = Tile::Shaded;
  double share = 1.0;  ///< of a shaded tile, in [0, 1]
};

/// Tiles of layers (across) by rows (down), in panels: the form of the heat map, the removal map
/// and the stability map.
struct LayerGrid {
  std::int64_t layers = 0;
  std::vector<std::int64_t> protected_layers;  ///< shown in a row of their own below the tiles
  std::vector<GridPanel> panels;
  TileColours colours = TileColours::Shade;
  double low = 0.0;      ///< of the palette; lower values have its colour
  bool clipped = false;  ///< there are such values
  double high = 1.0;     ///< of the palette; higher values have its colour
  std::vector<GridKey> keys;
  std::string value_name;  ///< what the tiles show: on the colour bar and in the data file
  std::string note_name;   ///< heading of the rows' notes; may be empty
};

/// Sets height, commands and data of a figure whose name and texts are set.
///
/// \param grid  at least one layer and one row; each row has L values
void draw_layer_grid(Figure& figure, const LayerGrid& grid);

}  // namespace espalier
