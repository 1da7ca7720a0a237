// SPDX-License-Identifier: Apache-2.0
// `espalier report` over a run that the test makes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "espalier/base/files.h"
#include "tests/report/sample.h"
#include "tests/support.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;
using test::CommandResult;
using test::run_espalier;
using testing::AllOf;
using testing::HasSubstr;

/// A run of six layers: record and ranking.
class ReportCommand : public testing::Test {
 protected:
  ReportCommand() {
    fs::create_directories(run_ / "probe");
    const test::SampleShape shape{.layers = 6, .budgets = {{1, 4}, {1, 2}}};
    const ProbeRecord record = test::sample_probe(shape);
    write_probe_record(run_ / "probe", record, /*force=*/false);
    write_ranking(run_ / "ranking.json", test::sample_ranking(record, shape), /*force=*/false);
  }

  /// Checks that a command line is refused with exit code 2 and that nothing in the folder changed.
  void expect_refused(const std::vector<std::string>& arguments,
                      const std::vector<std::string>& parts) {
    const auto before = test::snapshot(scratch_.path());
    const CommandResult result = run_espalier(arguments);
    EXPECT_EQ(result.exit_code, 2) << result.err;
    for (const auto& part : parts) EXPECT_THAT(result.err, HasSubstr(part));
    EXPECT_EQ(result.out, "");
    EXPECT_EQ(test::snapshot(scratch_.path()), before);
  }

  const test::TemporaryDirectory scratch_;
  const fs::path run_ = scratch_ / "run";
};

TEST_F(ReportCommand, WritesThePageAndItsFigures) {
  const CommandResult result = run_espalier({"report", run_});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.out, "");
  EXPECT_THAT(result.err, AllOf(HasSubstr("report.html"), HasSubstr("report_figures")));
  EXPECT_THAT(read_file(run_ / "report.html"), HasSubstr("<h2>The answer</h2>"));
  EXPECT_TRUE(fs::exists(run_ / "report_figures" / "removal_map.pdf"));
}

TEST_F(ReportCommand, GivesTheSameBytesEachTime) {
  const fs::path first = scratch_ / "first";
  const fs::path second = scratch_ / "second";
  for (const fs::path& folder : {first, second}) {
    fs::create_directory(folder);
    EXPECT_EQ(run_espalier({"report", run_, "--out", folder / "page.html", "--quiet"}).exit_code,
              0);
  }
  EXPECT_EQ(test::snapshot(first), test::snapshot(second));
}

TEST_F(ReportCommand, PutsThingsWhereItIsToldAndSaysSo) {
  const fs::path page = scratch_ / "page.html";
  const fs::path figures = scratch_ / "figures";
  const CommandResult result = run_espalier({"report", run_, "--out", page, "--figures", figures,
                                             "--formats", "png", "--json", "--quiet"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.err, "");
  const auto json = nlohmann::json::parse(result.out);
  EXPECT_EQ(json["out"], page.string());
  EXPECT_EQ(json["figures_folder"], figures.string());
  EXPECT_EQ(json["formats"], nlohmann::json({"png"}));
  EXPECT_EQ(json["figures"][0], "heat_map");
  EXPECT_TRUE(fs::exists(figures / "heat_map.png"));
  EXPECT_FALSE(fs::exists(figures / "heat_map.svg"));
  EXPECT_FALSE(fs::exists(run_ / "report.html"));
}

TEST_F(ReportCommand, ReplacesAnOlderReportOnlyWhenForced) {
  ASSERT_EQ(run_espalier({"report", run_, "--quiet"}).exit_code, 0);
  expect_refused({"report", run_}, {"exists already", "--force"});
  EXPECT_EQ(run_espalier({"report", run_, "--force", "--quiet"}).exit_code, 0);
}

TEST_F(ReportCommand, NeverReplacesAFolderOfOtherThings) {
  fs::create_directory(scratch_ / "photos");
  test::write_quickly(scratch_ / "photos" / "cat.jpg", "precious");
  expect_refused({"report", run_, "--figures", scratch_ / "photos", "--force"},
                 {"photos", "did not write", "--figures"});
}

TEST_F(ReportCommand, RefusesAPageInsideTheFolderOfFigures) {
  expect_refused({"report", run_, "--out", run_ / "f" / "page.html", "--figures", run_ / "f"},
                 {"page.html", "lies in"});
}

TEST_F(ReportCommand, NamesGnuplotsPackageWhereThereIsNone) {
  const auto before = test::snapshot(scratch_.path());
  const CommandResult result = test::run_command(
      {"env", "PATH=/nowhere", std::string(ESPALIER_BIN) + "/espalier", "report", run_.string()});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.err, AllOf(HasSubstr("gnuplot"), HasSubstr("apt-get install gnuplot-nox")));
  EXPECT_EQ(test::snapshot(scratch_.path()), before);
}

TEST_F(ReportCommand, RefusesAFolderWithoutRecords) {
  fs::create_directory(scratch_ / "empty");
  expect_refused({"report", scratch_ / "empty"}, {"empty", "probe/probe.json", "ranking.json"});
  expect_refused({"report", scratch_ / "nowhere"}, {"nowhere", "found nothing"});
}

TEST_F(ReportCommand, RefusesABrokenRanking) {
  test::write_quickly(run_ / "ranking.json", "{");
  expect_refused({"report", run_}, {"ranking.json"});
}

TEST_F(ReportCommand, RefusesAnUnknownFormat) {
  expect_refused({"report", run_, "--formats", "svg,gif"}, {"svg,pdf,png", "gif"});
}

}  // namespace
}  // namespace espalier
