// SPDX-License-Identifier: Apache-2.0
#include "espalier/report/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "espalier/base/error.h"
#include "espalier/base/files.h"
#include "espalier/cli/commands.h"
#include "espalier/cli/output.h"

namespace espalier {

namespace {

namespace fs = std::filesystem;

/// Where the report goes.
struct ReportPaths {
  fs::path page;
  fs::path figures;
};

/// Whether `path` is `folder` or lies in it.
bool lies_in(const fs::path& path, const fs::path& folder) {
  const fs::path inner = fs::weakly_canonical(path);
  const fs::path outer = fs::weakly_canonical(folder);
  return std::ranges::mismatch(outer, inner).in1 == outer.end();
}

/// \throws InputError if one output would replace the other, or what no report has written
ReportPaths paths_of(const ReportArguments& arguments) {
  ReportPaths paths{.page = arguments.out.value_or(arguments.run / "report.html")};
  paths.figures = arguments.figures.value_or(paths.page.parent_path() / "report_figures");
  require(!lies_in(paths.page, paths.figures), "--out: {} lies in the folder of figures {}",
          paths.page.string(), paths.figures.string());
  // --force replaces a whole folder: only one that is known to hold nothing else.
  require(
      !fs::is_directory(paths.figures) || fs::is_empty(paths.figures) ||
          path_exists(paths.figures / kFigureIndex),
      "{}: has files that espalier report did not write (there is no {}); choose another folder "
      "with --figures",
      paths.figures.string(), kFigureIndex);
  return paths;
}

nlohmann::json summary_of(const RunRecords& run, const ReportPaths& paths,
                          const std::vector<FigureFormat>& formats) {
  nlohmann::json result = {{"out", paths.page.string()},
                           {"figures_folder", paths.figures.string()}};
  for (const auto& figure : figures_of(run)) result["figures"].push_back(figure.name);
  for (const auto& table : tables_of(run)) result["tables"].push_back(table.name);
  for (const auto format : formats) result["formats"].push_back(name_of(format));
  return result;
}

}  // namespace

int run_report(const ReportArguments& arguments) {
  const ReportOptions options{.formats = parse_figure_formats(arguments.formats)};
  const RunRecords run = read_run(arguments.run);
  const ReportPaths paths = paths_of(arguments);
  OutputFile page(paths.page, arguments.force);
  OutputDirectory figures(paths.figures, arguments.force);
  page.write(write_report(run, figures.path(), options));
  figures.commit();
  page.commit();
  if (!arguments.quiet) {
    fmt::print(stderr, "wrote {} and {}\n", paths.page.string(), paths.figures.string());
  }
  if (arguments.json) print_json(summary_of(run, paths, options.formats));
  return 0;
}

}  // namespace espalier
