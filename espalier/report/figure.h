// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "espalier/report/table.h"

namespace espalier {

/// A picture in gnuplot's language: what it shows, the commands that draw it and the numbers that
/// they read. Lengths are in points, 1/72 inch.
struct Figure {
  std::string name;     ///< file stem, e.g. "heat_map"
  std::string title;    ///< what it shows, in a few words
  std::string caption;  ///< how to read it; plain text
  double width = 0.0;
  double height = 0.0;
  std::string commands;     ///< without terminal and output, which `script_of` adds
  std::vector<Table> data;  ///< each becomes `NAME.csv`, which the commands name
  bool operator==(const Figure&) const = default;
};

/// Width of every figure: readable at full size, and when shrunk to a column of 3.3 inch.
constexpr double kFigureWidth = 389.0;

/// Sizes of text in figures, in points: plain, small, and where there is no room for these.
constexpr double kTextSize = 9.5;
constexpr double kSmallTextSize = 8.5;
constexpr double kSmallestTextSize = 7.5;

/// Colours by their part in a figure. The page gives those in grey and `kRemoved` another value in
/// the dark. The accents are of Okabe and Ito's palette, which the colour-blind can tell apart.
constexpr std::string_view kInk = "#202124";      ///< text
constexpr std::string_view kMuted = "#64686d";    ///< text of lower rank, axes
constexpr std::string_view kLine = "#b9bdc2";     ///< thin lines
constexpr std::string_view kKept = "#e3e6e9";     ///< tiles of layers that stay
constexpr std::string_view kPaper = "#fefefe";    ///< what lies under a figure
constexpr std::string_view kRemoved = "#1f4e79";  ///< layers that go
constexpr std::string_view kAccent = "#d55e00";   ///< vermilion

/// Colours from low to high for similarities: viridis of matplotlib (CC0), perceptually uniform and
/// safe for the colour-blind.
std::span<const std::string_view> viridis();

/// Colours from `kKept` to `kRemoved` for shares; even steps of lightness in CIELAB.
std::span<const std::string_view> removal_shades();

/// "set palette" with these colours at equal distances.
std::string palette_command(std::span<const std::string_view> colours);

/// A text as gnuplot's single-quoted string, in which nothing is substituted. Line breaks and other
/// control characters, which would end the command, become spaces; a quote becomes ’, since gnuplot
/// 5.4 takes a doubled quote at the beginning of a string for its end.
std::string gnuplot_string(std::string_view text);

/// An upper estimate of a text's width in DejaVu Sans, in points.
double text_width(std::string_view text, double size);

/// The text, or as much of both its ends as fits into a width, with an ellipsis between them.
std::string shortened(std::string_view text, double width, double size);

/// Where an axis plot lies on its figure.
struct PlotArea {
  double left = 0.0;  ///< edges of the axes, from the figure's left and top, in points
  double right = 0.0;
  double top = 0.0;
  double bottom = 0.0;
};

/// The four "set ...margin at screen" that put the axes there, whatever their labels.
std::string margin_commands(const Figure& figure, const PlotArea& area);

/// A label at a place of the figure, in points from its left and top.
struct Label {
  std::string text;
  double x = 0.0;
  double y = 0.0;                   ///< of the text's middle
  std::string_view align = "left";  ///< "left", "center", "right"
  std::string_view colour = kInk;
  double size = kTextSize;
  bool bold = false;
  bool upright = false;  ///< turned by 90 degrees
};
std::string label_command(const Figure& figure, const Label& label);

/// Tics at every 1st, 2nd, 5th, 10th, ... layer, so that `count` labels fit into a width in points.
std::int64_t layer_step(std::int64_t layers, double width);

/// "set xrange", "set xtics" and the axis label for layers 0 to L - 1.
std::string layer_axis_commands(const Figure& figure, const PlotArea& area, std::int64_t layers);

/// The smallest step of 1, 2 or 5 times a power of ten that goes at most `most` times into a width.
///
/// \param width  above 0
double tic_step(double width, int most);

/// "('0.8' 0.8, '0.9' 0.9, ...)": a tic at each multiple of a step within a range.
///
/// \param before_first  stands before the first tic's number, e.g. "≤"
std::string tic_list(double low, double high, double step, std::string_view before_first = "");

/// "set yrange" and "set ytics" that show all values, with some room at both ends and at most so
/// many tics.
///
/// \param axis    'x' or 'y'
/// \param values  at least one, finite
std::string axis_commands(char axis, std::span<const double> values, int most_tics);

/// Layer numbers as text: "1, 2, 17"; "none" for none.
std::string layer_list(std::span<const std::int64_t> layers);

/// "25%" of a share; "<1%" and ">99%" where rounding would say nothing or all.
std::string percent(double share);

}  // namespace espalier
