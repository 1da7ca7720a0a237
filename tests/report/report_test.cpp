// SPDX-License-Identifier: Apache-2.0
#include "espalier/report/report.h"

#include <gmock/gmock.h>

#include <filesystem>
#include <set>

#include "espalier/base/files.h"
#include "tests/report/sample.h"
#include "tests/support.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;
using test::TemporaryDirectory;
using testing::AllOf;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

const ReportOptions kSvgOnly = {.formats = {FigureFormat::Svg}};

RunRecords sample_run(const test::SampleShape& shape = {}) {
  RunRecords run{.name = "monday", .probe = test::sample_probe(shape)};
  run.ranking = test::sample_ranking(*run.probe, shape);
  run.plans = {{"pruned", test::sample_plan(*run.ranking, run.ranking->selections.back())}};
  return run;
}

/// What is wrong with a page's tags: one that closes another than the last opened, or none.
/// Scripts and styles are skipped; elements without content are known or end in "/>".
std::vector<std::string> unbalanced_tags(const std::string& html) {
  std::vector<std::string> open;
  std::vector<std::string> faults;
  for (std::size_t at = html.find('<'); at != std::string::npos; at = html.find('<', at + 1)) {
    const std::size_t end = html.find('>', at);
    const std::string tag = html.substr(at + 1, end - at - 1);
    const std::string name = tag.substr(0, tag.find_first_of(" \n/>", 1));
    if (tag.starts_with("!") || tag.starts_with("meta") || tag.ends_with("/")) continue;
    if (tag.starts_with("/")) {
      if (open.empty() || "/" + open.back() != name) faults.push_back(tag);
      if (!open.empty()) open.pop_back();
      continue;
    }
    open.push_back(name);
    if (name == "script" || name == "style") at = html.find("</" + name, end) - 1;
  }
  faults.insert(faults.end(), open.begin(), open.end());
  return faults;
}

/// Every value of an attribute, in either kind of quotes.
std::vector<std::string> values_of(const std::string& html, const std::string& attribute) {
  std::vector<std::string> values;
  for (const char quote : {'"', '\''}) {
    const std::string opening = " " + attribute + "=" + quote;
    for (std::size_t at = html.find(opening); at != std::string::npos;
         at = html.find(opening, at + 1)) {
      const std::size_t begin = at + opening.size();
      values.push_back(html.substr(begin, html.find(quote, begin) - begin));
    }
  }
  return values;
}

TEST(Report, IsAWellFormedPageThatNeedsNothingElse) {
  const TemporaryDirectory folder;
  const std::string html = write_report(sample_run(), folder.path(), kSvgOnly);
  EXPECT_THAT(unbalanced_tags(html), IsEmpty());
  const auto ids = values_of(html, "id");
  EXPECT_EQ(std::set(ids.begin(), ids.end()).size(), ids.size());
  for (const auto& target : values_of(html, "href")) {
    ASSERT_TRUE(target.starts_with("#")) << target;
    EXPECT_THAT(ids, Contains(target.substr(1)));
  }
  EXPECT_THAT(values_of(html, "src"), IsEmpty());
  EXPECT_THAT(html, AllOf(Not(HasSubstr("http://")), Not(HasSubstr("https://")),
                          Not(HasSubstr("@import"))));
}

TEST(Report, ShowsWhatTheModelsCanDo) {
  const TemporaryDirectory folder;
  for (const char* name : {"none", "two"}) fs::create_directory(folder / name);
  RunRecords run = sample_run();
  EXPECT_THAT(write_report(run, folder / "none", kSvgOnly), Not(HasSubstr("id=\"scored\"")));
  run.scoreboards = {{"eval-base", test::sample_scoreboard(8, 6)},
                     {"eval-pruned", test::sample_scoreboard(4, 5)}};
  const std::string html = write_report(run, folder / "two", kSvgOnly);
  EXPECT_THAT(unbalanced_tags(html), IsEmpty());
  EXPECT_THAT(html, AllOf(HasSubstr("id=\"scored\""), HasSubstr("50.00 (25.0–75.0)"),
                          HasSubstr("id=\"figure-accuracy\""), HasSubstr("eval, eval-pruned")));
  EXPECT_THAT(caveats_of(run), Not(Contains(HasSubstr("not comparable"))));
  run.scoreboards[1].scoreboard.questions[0].fingerprint = "other";
  EXPECT_THAT(caveats_of(run), Contains(HasSubstr("not comparable")));
}

TEST(Report, BeginsWithTheAnswer) {
  const TemporaryDirectory folder;
  const RunRecords run = sample_run();
  const std::string html = write_report(run, folder.path(), kSvgOnly);
  const std::size_t main = html.find("<main>\n<section id=\"answer\"");
  ASSERT_NE(main, std::string::npos);
  const std::string answer = html.substr(main, html.find("</section>", main) - main);
  EXPECT_THAT(answer, HasSubstr("<b>mixed</b>"));
  for (const auto& selection : run.ranking->selections) {
    if (selection.criterion != "mixed") continue;
    EXPECT_THAT(answer, HasSubstr("<dt>" + to_string(selection.budget) + "</dt>\n<dd>" +
                                  layer_list(selection.removed) + "<small>"));
  }
  EXPECT_THAT(answer, HasSubstr("62% of resamples remove exactly these"));
}

TEST(Report, EscapesWhateverARecordSays) {
  test::SampleShape shape{.layers = 6, .criteria = 3};
  const std::string bad = "<script>alert('x')</script> & \"`touch broken`\"\n{/_^}";
  shape.domains = {{bad, bad, {{bad, bad, 3}}}, {"other", "o", {{"s", "p", 3}}}};
  RunRecords run = sample_run(shape);
  run.name = bad;
  run.probe->skipped = {{bad, bad}};
  run.probe->options = R"({"<script>":"<script>"})";
  run.plans.front().name = bad;
  run.plans.front().plan.base_name = bad;
  const TemporaryDirectory folder;
  const std::string html = write_report(run, folder.path(), kSvgOnly);
  EXPECT_THAT(unbalanced_tags(html), IsEmpty());
  EXPECT_EQ(html.find("<script>"), html.rfind("<script>"));  // the page's own, alone
  EXPECT_THAT(html, Not(HasSubstr("<script>alert")));
  EXPECT_FALSE(fs::exists(folder / "broken"));
}

TEST(Report, WritesEveryFigureAndTableBesideThePage) {
  const TemporaryDirectory folder;
  const RunRecords run = sample_run();
  write_report(run, folder.path(), {});
  std::set<std::string> expected = {"FIGURES.md"};
  for (const auto& figure : figures_of(run)) {
    for (const char* ending : {".gp", ".csv", ".svg", ".pdf", ".png"}) {
      expected.insert(figure.name + ending);
    }
  }
  for (const auto& table : tables_of(run)) {
    for (const char* ending : {".csv", ".md", ".tex"}) expected.insert(table.name + ending);
  }
  std::set<std::string> found;
  for (const auto& [name, bytes] : test::snapshot(folder.path())) {
    EXPECT_NE(bytes, "") << name;
    found.insert(name);
  }
  EXPECT_EQ(found, expected);
}

TEST(Report, LeavesNoSvgWhereNoneIsAskedFor) {
  const TemporaryDirectory folder;
  const std::string html =
      write_report(sample_run({.layers = 6}), folder.path(), {.formats = {FigureFormat::Png}});
  EXPECT_THAT(html, HasSubstr("<svg"));
  EXPECT_TRUE(fs::exists(folder / "heat_map.png"));
  EXPECT_FALSE(fs::exists(folder / "heat_map.svg"));
}

TEST(Report, DrawsModelsOfAnyDepthAndAnyNumberOfDomains) {
  std::vector<ProbeDomain> many;
  for (int i = 0; i < 5; ++i) {
    many.push_back({"domain " + std::to_string(i),
                    "s",
                    {{"a subtask with a rather long name", "p", 2}, {"b", "p", 2}}});
  }
  const std::vector<test::SampleShape> shapes = {{.layers = 6,
                                                  .domains = {{"one", "s", {{"a", "p", 3}}}},
                                                  .budgets = {layer_budget(1)},
                                                  .criteria = 1},
                                                 {.layers = 36},
                                                 {.layers = 94,
                                                  .domains = many,
                                                  .budgets = {{1, 10}, {1, 5}, {3, 10}, {2, 5}},
                                                  .criteria = 20}};
  for (const auto& shape : shapes) {
    const TemporaryDirectory folder;
    RunRecords run{.name = "run", .probe = test::sample_probe(shape)};
    // A budget of layers has denominator 0, which the sample does not divide by.
    test::SampleShape ranked = shape;
    if (ranked.budgets.front().denominator == 0) ranked.budgets = {{1, 4}};
    run.ranking = test::sample_ranking(*run.probe, ranked);
    EXPECT_THAT(unbalanced_tags(write_report(run, folder.path(), kSvgOnly)), IsEmpty());
  }
}

TEST(Report, TellsWhatARunHasAlone) {
  RunRecords run = sample_run({.layers = 6});
  run.ranking.reset();
  run.plans.clear();
  const TemporaryDirectory first;
  EXPECT_THAT(write_report(run, first.path(), kSvgOnly),
              AllOf(HasSubstr("id=\"measured\""), Not(HasSubstr("id=\"answer\""))));
  run = sample_run({.layers = 6});
  run.probe.reset();
  run.ranking.reset();
  const TemporaryDirectory second;
  EXPECT_THAT(write_report(run, second.path(), kSvgOnly),
              AllOf(HasSubstr("id=\"pruned\""), Not(HasSubstr("id=\"measured\""))));
}

TEST(LeadingCriterion, IsMixedOrElseTheFirst) {
  Ranking ranking;
  EXPECT_EQ(leading_criterion(ranking), "");
  ranking.selections = {{.criterion = "math"}, {.criterion = "mixed"}};
  EXPECT_EQ(leading_criterion(ranking), "mixed");
  ranking.selections.pop_back();
  EXPECT_EQ(leading_criterion(ranking), "math");
}

TEST(Caveats, NameWhatSpeaksAgainstARanking) {
  RunRecords run = sample_run();
  EXPECT_THAT(caveats_of(run), Contains(HasSubstr("math has 60 samples only")));
  EXPECT_THAT(caveats_of(run), Contains(HasSubstr("CKA compares one row a subtask")));
  EXPECT_THAT(caveats_of(run), Not(Contains(HasSubstr("No bootstrap"))));
  run.ranking->bootstrap.resamples = 0;
  EXPECT_THAT(caveats_of(run), Contains(HasSubstr("No bootstrap")));
  run.ranking->selections = {{.removed = {3}}};
  EXPECT_THAT(caveats_of(run), Not(Contains(HasSubstr("DeepStack"))));
  run.ranking->selections = {{.removed = {2}}};
  EXPECT_THAT(caveats_of(run), Contains(HasSubstr("--protect 0-2")));
}

}  // namespace
}  // namespace espalier
