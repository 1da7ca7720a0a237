// SPDX-License-Identifier: Apache-2.0
#include "espalier/data/questions.h"

#include <gmock/gmock.h>

#include <algorithm>

#include "tests/support.h"

namespace espalier {
namespace {

using test::input_error;
using test::TemporaryDirectory;
using test::write_quickly;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr std::string_view kWhole =
    R"({"id": "1", "image": "a.png", "prompt": "What is it?", "answer": "63", )"
    R"("domain": "math", "kind": "sum"})";

/// Questions of a file with these lines, beside pictures a.png and b.png.
std::vector<Question> read_lines(const TemporaryDirectory& folder, std::string_view lines) {
  write_quickly(folder / "a.png", "x");
  write_quickly(folder / "b.png", "x");
  write_quickly(folder / "rows.jsonl", lines);
  return read_questions(folder / "rows.jsonl");
}

std::string error_of(std::string_view lines) {
  const TemporaryDirectory folder;
  return input_error([&] { (void)read_lines(folder, lines); });
}

/// The whole row with one part replaced.
std::string changed(std::string_view part, std::string_view by) {
  std::string row(kWhole);
  return row.replace(row.find(part), part.size(), by);
}

TEST(Questions, AreReadAsTheyStand) {
  const TemporaryDirectory folder;
  const auto questions = read_lines(
      folder, std::string(kWhole) + "\n\n" +
                  R"({"id": "2", "images": ["a.png", "b.png"], "prompt": "Same?", "more": 1, )"
                  R"("answer": ["yes", "Yes"], "domain": "d", "kind": "k", "match": "final"})"
                  "\r\n"
                  R"({"id": "3", "prompt": "1+1?", "answer": "2", "domain": "d", "kind": "k"})");
  ASSERT_EQ(questions.size(), 3U);
  EXPECT_EQ(questions[0], (Question{.id = "1",
                                    .images = {folder / "a.png"},
                                    .prompt = "What is it?",
                                    .answers = {"63"},
                                    .domain = "math",
                                    .kind = "sum",
                                    .match = AnswerMatch::Exact,
                                    .place = (folder / "rows.jsonl").string() + ":1"}));
  EXPECT_THAT(questions[1].images, ElementsAre(folder / "a.png", folder / "b.png"));
  EXPECT_THAT(questions[1].answers, ElementsAre("yes", "Yes"));
  EXPECT_EQ(questions[1].match, AnswerMatch::Final);
  EXPECT_TRUE(questions[2].images.empty());
  EXPECT_THAT(questions[2].place, HasSubstr("rows.jsonl:4"));
}

TEST(Questions, RefuseAFileWithoutAny) {
  EXPECT_THAT(error_of("\n \n"), AllOf(HasSubstr("rows.jsonl"), HasSubstr("no question")));
  EXPECT_THAT(input_error([] { (void)read_questions("/nowhere/rows.jsonl"); }),
              HasSubstr("/nowhere/rows.jsonl"));
}

TEST(Questions, NameTheLineOfWhatIsWrong) {
  const std::string good(kWhole);
  EXPECT_THAT(error_of(good + "\nnot json\n"), HasSubstr("rows.jsonl:2"));
  EXPECT_THAT(error_of(good + "\n[1]\n"), HasSubstr("rows.jsonl:2"));
  EXPECT_THAT(error_of(good + "\n" + good), AllOf(HasSubstr("rows.jsonl:2"), HasSubstr("the id 1"),
                                                  HasSubstr("rows.jsonl:1 already")));
}

TEST(Questions, RefuseARowWithoutAKeyOrWithAnother) {
  for (const char* key : {"id", "prompt", "answer", "domain", "kind"}) {
    EXPECT_THAT(error_of(changed('"' + std::string(key) + '"', "\"other\"")),
                AllOf(HasSubstr("rows.jsonl:1"), HasSubstr(key)));
  }
  EXPECT_THAT(error_of(changed("\"What is it?\"", "\"\"")), HasSubstr("prompt: wanted a text"));
  EXPECT_THAT(error_of(changed("\"1\"", "7")), HasSubstr("id"));
  EXPECT_THAT(error_of(changed("\"63\"", "63")), HasSubstr("answer: wanted a text or a list"));
  EXPECT_THAT(error_of(changed("\"63\"", "[]")), HasSubstr("at least one accepted answer"));
  EXPECT_THAT(error_of(changed("\"63\"", "\" 63\"")), HasSubstr("can equal no answer"));
  EXPECT_THAT(error_of(changed("\"63\"", "[\"63\", \"\"]")), HasSubstr("can equal no answer"));
  EXPECT_THAT(error_of(changed("\"kind\"", "\"match\": \"finl\", \"kind\"")),
              AllOf(HasSubstr("rows.jsonl:1"), HasSubstr("did you mean final?")));
}

TEST(Questions, RefuseAMissingPicture) {
  EXPECT_THAT(error_of(changed("a.png", "c.png")),
              AllOf(HasSubstr("rows.jsonl:1"), HasSubstr("c.png"), HasSubstr("does not exist")));
  EXPECT_THAT(error_of(changed("\"image\": \"a.png\"", "\"images\": []")), HasSubstr("images"));
  EXPECT_THAT(error_of(changed("\"image\"", "\"images\": [\"a.png\"], \"image\"")),
              HasSubstr("wanted \"image\""));
}

TEST(DrawQuestions, TakesSomeInTheirOrder) {
  std::vector<Question> questions;
  for (int i = 0; i < 50; ++i)
    questions.push_back({.id = std::string(1, static_cast<char>(i + 40))});
  const auto drawn = draw_questions(questions, 7, 1, 0);
  ASSERT_EQ(drawn.size(), 7U);
  EXPECT_TRUE(std::ranges::is_sorted(drawn, {}, &Question::id));
  EXPECT_EQ(drawn, draw_questions(questions, 7, 1, 0));
  EXPECT_NE(drawn, draw_questions(questions, 7, 2, 0));
  EXPECT_NE(drawn, draw_questions(questions, 7, 1, 1));
  EXPECT_EQ(draw_questions(questions, 50, 1, 0), questions);
  EXPECT_EQ(draw_questions(questions, 60, 1, 0), questions);
}

TEST(WithoutOuterSpace, CutsBothEndsOnly) {
  EXPECT_EQ(without_outer_space(" \t a b\r\n"), "a b");
  EXPECT_EQ(without_outer_space(" \n"), "");
  EXPECT_EQ(without_outer_space(""), "");
}

}  // namespace
}  // namespace espalier
