// SPDX-License-Identifier: Apache-2.0
#include "espalier/synth/samples.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "espalier/synth/faces.h"
#include "espalier/synth/folder.h"
#include "tests/support.h"

namespace espalier {
namespace {

using testing::EndsWith;
using testing::HasSubstr;

SynthPrompts prompts() {
  SynthPrompts all;
  for (const std::string domain : {"math", "scenes"}) {
    for (const auto& subtask : prompted_subtasks_of(domain)) {
      all[domain + "/" + subtask] = "Do " + subtask + ".";
    }
  }
  return all;
}

const std::vector<KindWeight> kSums = {{.kind = ProblemKind::TwoDigitSum, .weight = 1}};

SynthSample text_sample(const SampleSource& source, const std::vector<KindWeight>& kinds = kSums) {
  return draw_math_sample(source, kinds, prompts(), nullptr, 1);
}

TEST(MathSample, AsksTheFiveSubtasksAndTwoQuestions) {
  const Typesetter typesetter(find_faces(SynthOptions{}.font_folders));
  const SynthSample sample = draw_math_sample({.split = Split::Train, .seed = 1, .index = 2}, kSums,
                                              prompts(), &typesetter, 1);
  EXPECT_EQ(sample.kind, "two-digit-sum");
  std::vector<std::string> names;
  for (const Turn& turn : sample.turns) {
    names.push_back(turn.subtask);
    EXPECT_EQ(turn.prompt, "Do " + turn.subtask + ".");
  }
  EXPECT_EQ(names, subtasks_of("math"));
  const std::string answer = sample.turns[1].answer;
  EXPECT_THAT(sample.turns[0].answer, EndsWith("Answer: " + answer));
  EXPECT_EQ(sample.questions,
            (std::vector<SynthQuestion>{{"direct", "two-digit-sum", "Do direct.", answer, "exact"},
                                        {"cot", "two-digit-sum", "Do cot.", answer, "final"}}));
}

TEST(MathSample, PutsTheProblemIntoThePromptWhereThereIsNoPicture) {
  const SampleSource source{.split = Split::Test, .seed = 1, .index = 2};
  const Typesetter typesetter(find_faces(SynthOptions{}.font_folders));
  const SynthSample drawn = draw_math_sample(source, kSums, prompts(), &typesetter, 1);
  const SynthSample text = text_sample(source);
  EXPECT_TRUE(text.image.rgb.empty());
  ASSERT_EQ(text.turns.size(), drawn.turns.size());
  // "y = 38 + 25" is what "38+25=?" asks.
  std::string asked = text.turns[3].answer.substr(4);
  std::erase(asked, ' ');
  for (std::size_t i = 0; i < text.turns.size(); ++i) {
    EXPECT_EQ(text.turns[i].prompt, drawn.turns[i].prompt + "\n" + asked + "=?");
    EXPECT_EQ(text.turns[i].answer, drawn.turns[i].answer);
  }
  EXPECT_EQ(text.questions[1].prompt, text.turns[0].prompt);
}

TEST(MathSample, DependsOnSplitSeedAndIndexAlone) {
  const SampleSource source{.split = Split::Train, .seed = 1, .index = 2};
  EXPECT_EQ(text_sample(source).turns, text_sample(source).turns);
  std::set<std::string> texts;
  for (const std::uint64_t seed : {1, 2}) {
    for (std::uint64_t index = 0; index < 50; ++index) {
      texts.insert(
          text_sample({.split = Split::Train, .seed = seed, .index = index}).turns[3].answer);
    }
  }
  // 100 draws of some 6,500 sums: a pair of equal ones now and then, not more.
  EXPECT_GT(texts.size(), 95U);
}

// One digit: the problems are shared by the splits, so the splits must not be drawn alike.
TEST(MathSample, DrawsOneDigitDifferentlyInEachSplit) {
  const std::vector<KindWeight> kinds = {{.kind = ProblemKind::OneDigitSum, .weight = 1}};
  int same = 0;
  for (std::uint64_t index = 0; index < 100; ++index) {
    const auto train = text_sample({.split = Split::Train, .seed = 0, .index = index}, kinds);
    const auto test = text_sample({.split = Split::Test, .seed = 0, .index = index}, kinds);
    same += train.turns == test.turns ? 1 : 0;
  }
  EXPECT_LT(same, 10);  // by chance 1 of 100
}

TEST(MathSample, DrawsKindsByTheirWeights) {
  const std::vector<KindWeight> kinds = {{.kind = ProblemKind::TwoDigitSum, .weight = 1},
                                         {.kind = ProblemKind::Table, .weight = 3}};
  int tables = 0;
  for (std::uint64_t index = 0; index < 1000; ++index) {
    tables +=
        text_sample({.split = Split::Train, .seed = 0, .index = index}, kinds).kind == "table";
  }
  EXPECT_NEAR(tables, 750, 50);
}

TEST(SceneSample, AsksSixSubtasksAndFourQuestions) {
  const SynthSample sample =
      draw_scene_sample({.split = Split::Validation, .seed = 0, .index = 0}, prompts(), 2);
  EXPECT_EQ(sample.image.width, 128);
  std::vector<std::string> names;
  for (const Turn& turn : sample.turns) names.push_back(turn.subtask);
  EXPECT_EQ(names, subtasks_of("scenes"));
  EXPECT_EQ(sample.turns[0].prompt, "Do caption.");
  EXPECT_THAT(sample.turns[4].prompt, HasSubstr("How many"));
  std::vector<std::string> kinds;
  for (const SynthQuestion& question : sample.questions) {
    kinds.push_back(question.kind);
    EXPECT_EQ(question.match, "exact");
  }
  EXPECT_EQ(kinds,
            (std::vector<std::string>{"count", "caption", "count by shape", "count by colour"}));
  EXPECT_EQ(sample.questions[0].answer, sample.turns[2].answer);
}

TEST(Subtasks, RefuseAnUnknownDomain) {
  EXPECT_THAT(test::input_error([] { subtasks_of("maths"); }), HasSubstr("did you mean math"));
}

}  // namespace
}  // namespace espalier
