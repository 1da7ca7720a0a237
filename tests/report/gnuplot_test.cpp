// SPDX-License-Identifier: Apache-2.0
#include "espalier/report/gnuplot.h"

#include <gmock/gmock.h>

#include <array>
#include <filesystem>

#include "espalier/base/files.h"
#include "tests/support.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;
using test::input_error;
using test::TemporaryDirectory;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

constexpr std::array kAll = {FigureFormat::Svg, FigureFormat::Pdf, FigureFormat::Png};

/// Two points from a data file, with a bold label.
Figure small_figure() {
  Figure figure{.name = "small",
                .title = "Two <points>",
                .caption = "They rise.",
                .width = 144,
                .height = 72,
                .data = {{.name = "small",
                          .columns = {{"x"}, {"y"}},
                          .rows = {{std::int64_t{1}, 0.5}, {std::int64_t{2}, 0.75}}}}};
  figure.commands = label_command(figure, {.text = "rising", .x = 72, .y = 10, .bold = true}) +
                    "plot 'small.csv' skip 1 using 1:2 with points pointtype 7 linecolor rgb '" +
                    std::string(kRemoved) + "'\n";
  return figure;
}

/// A program that the tests put in gnuplot's place.
fs::path script(const TemporaryDirectory& folder, const std::string& body) {
  const fs::path path = folder / "program";
  test::write_quickly(path, "#!/bin/sh\n" + body + "\n");
  fs::permissions(path, fs::perms::owner_all);
  return path;
}

TEST(DrawFigure, WritesScriptDataAndEachFormat) {
  const TemporaryDirectory folder;
  draw_figure(small_figure(), folder.path(), kAll, {});
  EXPECT_EQ(read_file(folder / "small.csv"), "x,y\n1,0.5\n2,0.75\n");
  EXPECT_EQ(read_file(folder / "small.gp"), script_of(small_figure()));
  EXPECT_THAT(read_file(folder / "small.svg"),
              HasSubstr("<svg width=\"2.000in\" height=\"1.000in\""));
  EXPECT_THAT(read_file(folder / "small.pdf"), StartsWith("%PDF-"));
  EXPECT_THAT(read_file(folder / "small.png"), StartsWith("\x89PNG"));
}

TEST(DrawFigure, DrawsOnlyWhatIsAskedFor) {
  const TemporaryDirectory folder;
  draw_figure(small_figure(), folder.path(), std::array{FigureFormat::Png}, {});
  EXPECT_FALSE(fs::exists(folder / "small.svg"));
  EXPECT_FALSE(fs::exists(folder / "small.pdf"));
}

TEST(DrawFigure, GivesTheSameBytesEachTime) {
  const TemporaryDirectory first;
  const TemporaryDirectory second;
  draw_figure(small_figure(), first.path(), kAll, {});
  draw_figure(small_figure(), second.path(), kAll, {});
  EXPECT_EQ(test::snapshot(first.path()), test::snapshot(second.path()));
  // Two runs of one second would agree even with a date.
  EXPECT_THAT(read_file(first / "small.pdf"), HasSubstr("/CreationDate (D:19700101000000"));
}

TEST(DrawFigure, WritesAScriptThatDrawsTheFigureByItself) {
  const TemporaryDirectory folder;
  draw_figure(small_figure(), folder.path(), std::array{FigureFormat::Svg}, {});
  fs::remove(folder / "small.svg");
  const auto again =
      test::run_command({"sh", "-c", "cd " + folder.path().string() + " && gnuplot small.gp"});
  EXPECT_EQ(again.exit_code, 0) << again.err;
  EXPECT_TRUE(fs::exists(folder / "small.svg"));
}

TEST(DrawFigure, KeepsTextAsTextAndIdsApart) {
  const TemporaryDirectory folder;
  draw_figure(small_figure(), folder.path(), std::array{FigureFormat::Svg}, {});
  const std::string svg = read_file(folder / "small.svg");
  EXPECT_THAT(svg, AllOf(HasSubstr(">rising</text>"), HasSubstr("font-weight=\"bold\""),
                         HasSubstr("<title>Two &lt;points&gt;</title>")));
  EXPECT_THAT(svg, AllOf(HasSubstr("id='small-gpPt6'"), HasSubstr("href='#small-gpPt6'"),
                         Not(HasSubstr("'gpPt6'")), Not(HasSubstr("'#gpPt6'"))));
}

TEST(DrawFigure, NamesAMissingProgramAndItsPackage) {
  const TemporaryDirectory folder;
  const std::string message = input_error(
      [&] { draw_figure(small_figure(), folder.path(), kAll, {.program = "/nowhere/gnuplot"}); });
  EXPECT_THAT(message, AllOf(HasSubstr("/nowhere/gnuplot"), HasSubstr("No such file"),
                             HasSubstr("apt-get install gnuplot-nox")));
}

TEST(DrawFigure, SaysWhatGnuplotSaidWhenItFails) {
  const TemporaryDirectory folder;
  Figure figure = small_figure();
  figure.commands = "plot 'nowhere.csv'\n";
  const std::string message = input_error([&] { draw_figure(figure, folder.path(), kAll, {}); });
  EXPECT_THAT(message,
              AllOf(HasSubstr("small.svg"), HasSubstr("small.gp"), HasSubstr("nowhere.csv")));
}

TEST(DrawFigure, RefusesAProgramThatWritesNothing) {
  const TemporaryDirectory folder;
  const fs::path program = script(folder, "echo sorry >&2");
  const std::string message = input_error(
      [&] { draw_figure(small_figure(), folder.path(), kAll, {.program = program.string()}); });
  EXPECT_THAT(message, AllOf(HasSubstr("wrote nothing"), HasSubstr("sorry")));
}

TEST(DrawFigure, StopsAProgramThatTakesTooLong) {
  const TemporaryDirectory folder;
  // Ends by itself only after an hour, and then with another message.
  const fs::path program = script(folder, "exec sleep 3600");
  const std::string message = input_error([&] {
    draw_figure(small_figure(), folder.path(), kAll,
                {.program = program.string(), .time_limit_seconds = 1});
  });
  EXPECT_THAT(message, HasSubstr("longer than 1 s"));
}

TEST(DrawFigure, RunsNothingThatALabelSays) {
  const TemporaryDirectory folder;
  Figure figure = small_figure();
  std::string labels;
  for (const char* text :
       {"'; system('touch broken'); '", "`touch broken`", "a\nsystem('touch broken')",
        "\"\n!touch broken", "@broken $(broken) \\"}) {
    labels += label_command(figure, {.text = text, .x = 10, .y = 10});
  }
  figure.commands = labels + figure.commands;
  draw_figure(figure, folder.path(), kAll, {});
  EXPECT_FALSE(fs::exists(folder / "broken"));
}

TEST(InlineSvg, NeedsNothingFromOutsideAndFollowsThePage) {
  const TemporaryDirectory folder;
  draw_figure(small_figure(), folder.path(), std::array{FigureFormat::Svg}, {});
  const std::string svg = inline_svg(read_file(folder / "small.svg"), small_figure());
  EXPECT_THAT(svg, StartsWith("<svg viewBox=\"0 0 144 72\" role=\"img\" aria-label=\"Two "
                              "&lt;points&gt;\">"));
  EXPECT_THAT(svg, AllOf(HasSubstr("var(--figure-removed)"), HasSubstr("var(--figure-ink)"),
                         Not(HasSubstr("xlink")), Not(HasSubstr("http")),
                         Not(HasSubstr(std::string(kRemoved)))));
}

TEST(ParseFigureFormats, TakesSomeInAnyOrder) {
  EXPECT_EQ(parse_figure_formats("png,svg"), (std::vector{FigureFormat::Png, FigureFormat::Svg}));
}

TEST(ParseFigureFormats, RefusesWhatItDoesNotKnow) {
  EXPECT_THAT(input_error([] { parse_figure_formats("svg,gif"); }),
              AllOf(HasSubstr("svg,pdf,png"), HasSubstr("'gif'")));
  EXPECT_THAT(input_error([] { parse_figure_formats(""); }), HasSubstr("''"));
  EXPECT_THAT(input_error([] { parse_figure_formats("svg,"); }), HasSubstr("''"));
  EXPECT_THAT(input_error([] { parse_figure_formats("pdf,pdf"); }), HasSubstr("twice"));
}

}  // namespace
}  // namespace espalier
