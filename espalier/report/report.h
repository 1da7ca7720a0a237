// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "espalier/report/figure.h"
#include "espalier/report/gnuplot.h"
#include "espalier/report/run.h"
#include "espalier/report/table.h"

namespace espalier {

/// Every figure that the records of a run support.
std::vector<Figure> figures_of(const RunRecords& run);

/// Every table that the records of a run support.
std::vector<Table> tables_of(const RunRecords& run);

/// The criterion that the report's answer goes by: `mixed` where there is one, else the first that
/// a selection was made with; empty without selections.
std::string leading_criterion(const Ranking& ranking);

/// What a reader should know before acting on a ranking, in full sentences.
std::vector<std::string> caveats_of(const RunRecords& run);

/// How figures are written.
struct ReportOptions {
  std::vector<FigureFormat> formats = {FigureFormat::Svg, FigureFormat::Pdf, FigureFormat::Png};
  GnuplotOptions gnuplot;
};

/// The file of a folder of figures that says what is in it, and that espalier wrote it.
constexpr const char* kFigureIndex = "FIGURES.md";

/// Draws the figures into a folder and writes the tables there, as CSV, Markdown and LaTeX.
///
/// \param folder       exists and is empty; best an OutputDirectory's
/// \return             the report as one HTML page
/// \throws InputError  as draw_figure
std::string write_report(const RunRecords& run, const std::filesystem::path& folder,
                         const ReportOptions& options);

}  // namespace espalier
