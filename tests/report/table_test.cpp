// SPDX-License-Identifier: Apache-2.0
#include "espalier/report/table.h"

#include <gmock/gmock.h>

#include <limits>
#include <stdexcept>

namespace espalier {
namespace {

using testing::HasSubstr;
using testing::Not;

/// Every kind of cell, and texts that each format must escape.
Table small_table() {
  return {.name = "small",
          .caption = "50% & more",
          .columns = {{"name"}, {"count"}, {"score", 2}},
          .rows = {{"a|b, \"c\"", std::int64_t{7}, 0.125},
                   {"<i>_x_</i>", std::int64_t{1234}, -0.001},
                   {std::monostate{}, std::int64_t{-1}, std::numeric_limits<double>::quiet_NaN()}}};
}

TEST(Table, WritesMarkdownInColumnsOfEqualWidth) {
  // 0.125 has an exact half in the third place and rounds to even; -0.001 rounds to 0, without a
  // sign.
  EXPECT_EQ(to_markdown(small_table()),
            "| name               | count | score |\n"
            "| ------------------ | ----: | ----: |\n"
            "| a\\|b, \"c\"          |     7 |  0.12 |\n"
            "| &lt;i>\\_x\\_&lt;/i> |  1234 |  0.00 |\n"
            "| –                  |    -1 |     – |\n");
}

TEST(Table, WritesCsvWithEveryDigitAndQuotesWhereNeeded) {
  EXPECT_EQ(to_csv(small_table()),
            "name,count,score\n"
            "\"a|b, \"\"c\"\"\",7,0.125\n"
            "<i>_x_</i>,1234,-0.001\n"
            ",-1,\n");
}

TEST(Table, WritesLatexWithBooktabsAndEscapesItsSpecials) {
  EXPECT_EQ(
      to_latex(small_table()),
      "% needs \\usepackage{booktabs}\n"
      "\\begin{table}\n"
      "  \\centering\n"
      "  \\caption{50\\% \\& more}\n"
      "  \\label{tab:small}\n"
      "  \\begin{tabular}{lrr}\n"
      "    \\toprule\n"
      "    name & count & score \\\\\n"
      "    \\midrule\n"
      "    a|b, \"c\" & 7 & 0.12 \\\\\n"
      "    \\textless{}i\\textgreater{}\\_x\\_\\textless{}/i\\textgreater{} & 1234 & 0.00 \\\\\n"
      "    -- & -1 & -- \\\\\n"
      "    \\bottomrule\n"
      "  \\end{tabular}\n"
      "\\end{table}\n");
}

TEST(Table, WritesHtmlWithFullValuesForSorting) {
  EXPECT_EQ(to_html(small_table()),
            "<table>\n"
            "<thead><tr><th scope=\"col\">name</th><th scope=\"col\" class=\"number\">count</th>"
            "<th scope=\"col\" class=\"number\">score</th></tr></thead>\n"
            "<tbody>\n"
            "<tr><td>a|b, &quot;c&quot;</td><td class=\"number\" data-value=\"7\">7</td>"
            "<td class=\"number\" data-value=\"0.125\">0.12</td></tr>\n"
            "<tr><td>&lt;i&gt;_x_&lt;/i&gt;</td><td class=\"number\" data-value=\"1234\">1234</td>"
            "<td class=\"number\" data-value=\"-0.001\">0.00</td></tr>\n"
            "<tr><td>–</td><td class=\"number\" data-value=\"-1\">-1</td>"
            "<td class=\"number\" data-value=\"\">–</td></tr>\n"
            "</tbody>\n</table>\n");
}

TEST(Table, SetsAColumnOfTextsAndNumbersToTheLeft) {
  const Table table{.name = "t",
                    .columns = {{"mixed"}, {"empty"}},
                    .rows = {{"text", std::monostate{}}, {std::int64_t{5}, std::monostate{}}}};
  EXPECT_THAT(to_latex(table), HasSubstr("{tabular}{ll}"));
  EXPECT_THAT(to_html(table), Not(HasSubstr("number")));
}

TEST(Table, LetsLongTextsBreak) {
  const Table table{
      .name = "t", .columns = {{"a"}}, .rows = {{std::string(32, 'x')}, {std::string(33, 'y')}}};
  EXPECT_THAT(to_html(table), HasSubstr("<td>xxx"));
  EXPECT_THAT(to_html(table), HasSubstr("<td class=\"long\">yyy"));
}

TEST(Table, PutsLineBreaksWhereTheFormatTakesThem) {
  const Table table{.name = "t", .columns = {{"a"}}, .rows = {{"one\ntwo"}}};
  EXPECT_EQ(to_csv(table), "a\n\"one\ntwo\"\n");
  EXPECT_EQ(to_markdown(table), "| a       |\n| ------- |\n| one two |\n");
  EXPECT_THAT(to_latex(table), HasSubstr("one two \\\\"));
}

TEST(Table, HasOneCellAColumnInEachRow) {
  const Table table{.name = "t", .columns = {{"a"}, {"b"}}, .rows = {{"alone"}}};
  EXPECT_THROW(to_csv(table), std::logic_error);
  EXPECT_THROW(to_html(table), std::logic_error);
}

TEST(HtmlEscape, LeavesNothingThatMarksUp) {
  EXPECT_EQ(html_escape("<script>'a' & \"b\"</script>"),
            "&lt;script&gt;&#39;a&#39; &amp; &quot;b&quot;&lt;/script&gt;");
  EXPECT_EQ(html_escape(std::string_view("a\0b\x1B", 4)),
            "a\xEF\xBF\xBD"
            "b\xEF\xBF\xBD");
}

}  // namespace
}  // namespace espalier
