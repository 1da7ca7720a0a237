// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "espalier/report/figure.h"

namespace espalier {

enum class FigureFormat { Svg, Pdf, Png };

std::string_view name_of(FigureFormat format);  ///< "svg", "pdf", "png": also the file's ending

/// Understands "svg,pdf,png": each at most once, in any order.
///
/// \throws InputError for an unknown, empty or repeated format
std::vector<FigureFormat> parse_figure_formats(std::string_view text);

/// How gnuplot is run.
struct GnuplotOptions {
  std::string program = "gnuplot";  ///< a path, or a name that is looked for in PATH
  int time_limit_seconds = 60;      ///< for one picture
};

/// A figure's commands as a file that draws it on its own:
/// `gnuplot -e "format='pdf'" NAME.gp`, in the folder that has its data; SVG without `format`.
std::string script_of(const Figure& figure);

/// Writes `NAME.gp`, its data as CSV, and one picture for each format. The same figure gives the
/// same bytes. In SVG every id begins with the figure's name, so that several may stand in one
/// page; text stays text.
///
/// \param folder       exists; best an OutputDirectory's, so that nothing half-written remains
/// \throws InputError  if gnuplot is missing (how to install it), fails (what it said), writes
///                     nothing or takes longer than the limit; if a file exists or cannot be
///                     written
void draw_figure(const Figure& figure, const std::filesystem::path& folder,
                 std::span<const FigureFormat> formats, const GnuplotOptions& options);

/// An SVG of `draw_figure` as an element of an HTML page: without prolog and outer size, labelled
/// with the figure's title, its colours of paper and ink as the CSS variables `--figure-ink`,
/// `--figure-muted`, `--figure-line`, `--figure-kept`, `--figure-paper` and `--figure-removed`.
std::string inline_svg(std::string_view svg, const Figure& figure);

}  // namespace espalier
