// SPDX-License-Identifier: Apache-2.0
#include "espalier/data/prompts.h"

#include <gmock/gmock.h>

#include "tests/support.h"

namespace espalier {
namespace {

using test::input_error;
using ::testing::AllOf;
using ::testing::HasSubstr;

std::string error_of(const std::string& toml) {
  return input_error([&] { (void)parse_prompts(toml, "my.toml"); });
}

TEST(Prompts, OfThePaperAreFiveOfMathAndFourOthers) {
  const auto domains = parse_prompts(paper_prompts(), "paper");
  ASSERT_EQ(domains.size(), 2U);
  EXPECT_EQ(domains[0].name, "math");
  ASSERT_EQ(domains[0].subtasks.size(), 5U);
  EXPECT_EQ(domains[1].name, "nonmath");
  ASSERT_EQ(domains[1].subtasks.size(), 4U);
  EXPECT_EQ(domains[0].subtasks[1].prompt,
            "Solve the following mathematical problem. Provide only the final answer, without "
            "explanation. Problem: Look at the math problem in the image.");
  // Curly quotes, as in appendix A.2.
  EXPECT_THAT(domains[1].subtasks[3].prompt, HasSubstr("\u201cthe most prominent object\u201d"));
}

TEST(Prompts, AreReadInFileOrder) {
  const auto domains = parse_prompts(
      "[[domain]]\nname = 'charts'\n[[domain.subtask]]\nname = 'b'\nprompt = 'B?'\n"
      "[[domain.subtask]]\nname = 'a'\nprompt = 'A?'\n",
      "my.toml");
  EXPECT_EQ(
      domains,
      (std::vector<DomainPrompts>{{.name = "charts", .subtasks = {{"b", "B?"}, {"a", "A?"}}}}));
}

TEST(Prompts, NameTheLineOfAFault) {
  EXPECT_THAT(error_of("[[domain]]\nname = oops\n"), HasSubstr("my.toml:2:"));
  EXPECT_THAT(error_of("[[domain]]\nname = 'a'\nsubtasks = 1\n"),
              AllOf(HasSubstr("my.toml:1"), HasSubstr("subtasks")));
  EXPECT_THAT(error_of("[[domain]]\nname = 'a'\n[[domain.subtask]]\nname = 'x'\n"),
              AllOf(HasSubstr("my.toml:3"), HasSubstr("prompt")));
  EXPECT_THAT(error_of("[[domain]]\nname = 'a'\n"), HasSubstr("at least one [[subtask]]"));
  EXPECT_THAT(error_of("[[domain]]\nname = 'a:b'\n"), HasSubstr("\"a:b\""));
  EXPECT_THAT(error_of("title = 1\n"), HasSubstr("unknown key \"title\""));
  EXPECT_THAT(error_of(""), HasSubstr("at least one [[domain]]"));
  const std::string domain =
      "[[domain]]\nname = 'a'\n[[domain.subtask]]\nname = 'x'\nprompt = 'X'\n";
  EXPECT_THAT(error_of(domain + domain), HasSubstr("my.toml:6: a second \"a\""));
}

}  // namespace
}  // namespace espalier
