// SPDX-License-Identifier: Apache-2.0
#include "espalier/report/page.h"

#include <gmock/gmock.h>

namespace espalier {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

TEST(HtmlPage, ListsItsSectionsAndEscapesTheirTitles) {
  const std::string html =
      html_page("<title>", "<subtitle>", {{.id = "one", .title = "<one>", .html = "<p>1</p>"}});
  EXPECT_THAT(html, AllOf(HasSubstr("<a href=\"#one\">&lt;one&gt;</a>"),
                          HasSubstr("<section id=\"one\">\n<h2>&lt;one&gt;</h2>\n<p>1</p>"),
                          HasSubstr("<h1>&lt;title&gt;</h1>"), HasSubstr("&lt;subtitle&gt;")));
}

TEST(HtmlPage, AllowsItselfNoNetwork) {
  EXPECT_THAT(html_page("t", "s", {}),
              AllOf(HasSubstr("default-src 'none'"), Not(HasSubstr("http:")),
                    Not(HasSubstr("https:")), Not(HasSubstr("url("))));
}

TEST(HtmlParts, EscapePlainText) {
  EXPECT_EQ(html_paragraph("a < b"), "<p>a &lt; b</p>\n");
  EXPECT_EQ(html_list({"a & b"}), "<ul>\n<li>a &amp; b</li>\n</ul>\n");
  EXPECT_EQ(html_details("<s>", "<p>x</p>\n"),
            "<details>\n<summary>&lt;s&gt;</summary>\n<p>x</p>\n</details>\n");
}

}  // namespace
}  // namespace espalier
