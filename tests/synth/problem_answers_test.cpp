// SPDX-License-Identifier: Apache-2.0
#include "espalier/synth/problem_answers.h"

#include <gtest/gtest.h>

#include <array>

namespace espalier {
namespace {

using enum ProblemKind;

/// What a problem must be answered with.
struct Expected {
  Problem problem;
  ProblemAnswers answers;
};

const std::vector<Expected> kExpected = {
    {{OneDigitSum, "a+b", {8, 5}},
     {.cot = "8+5=13. Answer: 13",
      .direct = "13",
      .rephrase = "Add 8 and 5.",
      .formalize = "y = 8 + 5",
      .verify = "Solvable. It asks for 8+5."}},
    {{OneDigitDifference, "a-b", {9, 9}},
     {.cot = "9-9=0. Answer: 0",
      .direct = "0",
      .rephrase = "Take 9 from 9.",
      .formalize = "y = 9 - 9",
      .verify = "Solvable. It asks for 9-9."}},
    {{OneDigitProduct, "a*b", {7, 8}},
     {.cot = "7*8=56. Answer: 56",
      .direct = "56",
      .rephrase = "Multiply 7 by 8.",
      .formalize = "y = 7 * 8",
      .verify = "Solvable. It asks for 7*8."}},
    // with a carry: 8 + 5 is 13, so that the tens are 3 + 2 + 1
    {{TwoDigitSum, "a+b", {38, 25}},
     {.cot = "38+25: 8+5=13, 3+2+1=6. Answer: 63",
      .direct = "63",
      .rephrase = "Add 38 and 25.",
      .formalize = "y = 38 + 25",
      .verify = "Solvable. It asks for 38+25."}},
    // without one
    {{TwoDigitSum, "a+b", {32, 25}},
     {.cot = "32+25: 2+5=7, 3+2=5. Answer: 57",
      .direct = "57",
      .rephrase = "Add 32 and 25.",
      .formalize = "y = 32 + 25",
      .verify = "Solvable. It asks for 32+25."}},
    // into the hundreds
    {{TwoDigitSum, "a+b", {75, 45}},
     {.cot = "75+45: 5+5=10, 7+4+1=12. Answer: 120",
      .direct = "120",
      .rephrase = "Add 75 and 45.",
      .formalize = "y = 75 + 45",
      .verify = "Solvable. It asks for 75+45."}},
    // 3 is less than 5: borrowed, 13 - 5, so that the tens are 6 - 2 - 1
    {{TwoDigitDifference, "a-b", {63, 25}},
     {.cot = "63-25: 13-5=8, 6-2-1=3. Answer: 38",
      .direct = "38",
      .rephrase = "Take 25 from 63.",
      .formalize = "y = 63 - 25",
      .verify = "Solvable. It asks for 63-25."}},
    {{TwoDigitDifference, "a-b", {67, 62}},
     {.cot = "67-62: 7-2=5, 6-6=0. Answer: 5",
      .direct = "5",
      .rephrase = "Take 62 from 67.",
      .formalize = "y = 67 - 62",
      .verify = "Solvable. It asks for 67-62."}},
    {{ThreeTerms, "a+b-c", {14, 9, 5}},
     {.cot = "14+9-5: 14+9=23, 23-5=18. Answer: 18",
      .direct = "18",
      .rephrase = "Add 14 and 9, then take away 5.",
      .formalize = "y = 14 + 9 - 5",
      .verify = "Solvable. It asks for 14+9-5."}},
    {{ThreeTerms, "a+b+c", {4, 9, 5}},
     {.cot = "4+9+5: 4+9=13, 13+5=18. Answer: 18",
      .direct = "18",
      .rephrase = "Add 4, 9 and 5.",
      .formalize = "y = 4 + 9 + 5",
      .verify = "Solvable. It asks for 4+9+5."}},
    {{ThreeTerms, "a-b+c", {14, 9, 5}},
     {.cot = "14-9+5: 14-9=5, 5+5=10. Answer: 10",
      .direct = "10",
      .rephrase = "Take 9 from 14, then add 5.",
      .formalize = "y = 14 - 9 + 5",
      .verify = "Solvable. It asks for 14-9+5."}},
    {{ThreeTerms, "a-b-c", {14, 9, 5}},
     {.cot = "14-9-5: 14-9=5, 5-5=0. Answer: 0",
      .direct = "0",
      .rephrase = "Take 9 from 14, then take away 5.",
      .formalize = "y = 14 - 9 - 5",
      .verify = "Solvable. It asks for 14-9-5."}},
    {{Unknown, "x+a=b", {7, 15}},
     {.cot = "x+7=15, x=15-7=8. Answer: 8",
      .direct = "8",
      .rephrase = "Which number plus 7 gives 15?",
      .formalize = "x + 7 = 15",
      .verify = "Solvable. It asks for x in x+7=15."}},
    {{Unknown, "a+x=b", {7, 15}},
     {.cot = "7+x=15, x=15-7=8. Answer: 8",
      .direct = "8",
      .rephrase = "7 plus which number gives 15?",
      .formalize = "7 + x = 15",
      .verify = "Solvable. It asks for x in 7+x=15."}},
    {{Unknown, "x-a=b", {7, 8}},
     {.cot = "x-7=8, x=8+7=15. Answer: 15",
      .direct = "15",
      .rephrase = "Which number minus 7 gives 8?",
      .formalize = "x - 7 = 8",
      .verify = "Solvable. It asks for x in x-7=8."}},
    {{Unknown, "a*x+b=c", {3, 4, 19}},
     {.cot = "3x+4=19, 3x=19-4=15, x=15/3=5. Answer: 5",
      .direct = "5",
      .rephrase = "3 times which number, plus 4, gives 19?",
      .formalize = "3 * x + 4 = 19",
      .verify = "Solvable. It asks for x in 3x+4=19."}},
    {{Comparison, "a?b", {37, 52}},
     {.cot = "37 ? 52: 3<5. Answer: <",
      .direct = "<",
      .rephrase = "Which is larger, 37 or 52?",
      .formalize = "y = sign(37 - 52)",
      .verify = "Solvable. It asks how 37 compares with 52."}},
    {{Comparison, "a?b", {37, 35}},
     {.cot = "37 ? 35: 3=3, 7>5. Answer: >",
      .direct = ">",
      .rephrase = "Which is larger, 37 or 35?",
      .formalize = "y = sign(37 - 35)",
      .verify = "Solvable. It asks how 37 compares with 35."}},
    {{Comparison, "a?b", {37, 37}},
     {.cot = "37 ? 37: 3=3, 7=7. Answer: =",
      .direct = "=",
      .rephrase = "Which is larger, 37 or 37?",
      .formalize = "y = sign(37 - 37)",
      .verify = "Solvable. It asks how 37 compares with 37."}},
    {{Table, "row 2", {3, 8, 5, 2}},
     {.cot = "3 8 / 5 2, row 2: 5+2=7. Answer: 7",
      .direct = "7",
      .rephrase = "Add 5 and 2, the numbers of row 2.",
      .formalize = "y = 5 + 2",
      .verify = "Solvable. It asks for the sum of row 2."}},
    {{Table, "col 2", {3, 8, 5, 2}},
     {.cot = "3 8 / 5 2, col 2: 8+2=10. Answer: 10",
      .direct = "10",
      .rephrase = "Add 8 and 2, the numbers of column 2.",
      .formalize = "y = 8 + 2",
      .verify = "Solvable. It asks for the sum of column 2."}},
};

TEST(ProblemAnswers, AreTheseForEachKind) {
  for (const auto& [problem, answers] : kExpected) {
    const ProblemAnswers found = answers_of(problem);
    EXPECT_EQ(found.cot, answers.cot);
    EXPECT_EQ(found.direct, answers.direct);
    EXPECT_EQ(found.rephrase, answers.rephrase);
    EXPECT_EQ(found.formalize, answers.formalize);
    EXPECT_EQ(found.verify, answers.verify);
  }
}

/// The value of a text such as "13-5" or "6-2-1": whole numbers, one after another.
int value_of(const std::string& expression) {
  int value = 0;
  char sign = '+';
  for (std::size_t i = 0; i < expression.size();) {
    std::size_t digits = 0;
    const int number = std::stoi(expression.substr(i), &digits);
    value = sign == '+'   ? value + number
            : sign == '-' ? value - number
            : sign == '*' ? value * number
                          : value / number;
    i += digits;
    if (i < expression.size()) sign = expression[i++];
  }
  return value;
}

/// Checks every "EXPRESSION=NUMBER" of a working. \return how many there were
int check_steps(const std::string& working) {
  int steps = 0;
  for (std::size_t begin = 0; begin < working.size();) {
    const std::size_t end = std::min(working.find_first_of(" ,:.", begin), working.size());
    std::string step = working.substr(begin, end - begin);
    begin = end + 1;
    // What x or a multiple of it is, "x=15-7=8", "3x=19-4=15".
    const std::size_t x = step.find("x=");
    if (x != std::string::npos) step.erase(0, x + 2);
    const std::size_t equals = step.rfind('=');
    if (equals == std::string::npos || step.find('x') != std::string::npos) continue;
    EXPECT_EQ(value_of(step.substr(0, equals)), std::stoi(step.substr(equals + 1))) << working;
    ++steps;
  }
  return steps;
}

TEST(ProblemAnswers, AreRightForEveryProblemThatIsDrawn) {
  Random random(1);
  for (const ProblemKind kind : problem_kinds()) {
    if (kind == Comparison) continue;
    for (int i = 0; i < 2000; ++i) {
      const Problem problem = draw_problem(kind, Split::Train, random);
      const ProblemAnswers answers = answers_of(problem);
      const std::size_t answer = answers.cot.find(". Answer: ");
      ASSERT_NE(answer, std::string::npos) << answers.cot;
      EXPECT_EQ(answers.cot.substr(answer + 10), answers.direct);
      EXPECT_TRUE(answers.cot.starts_with(text_of(problem)));
      EXPECT_GE(check_steps(answers.cot.substr(0, answer)), 1) << answers.cot;
      // A single operator or two: text_of reads as a calculation of its own.
      if (kind != Unknown && kind != Table) {
        EXPECT_EQ(answers.direct, std::to_string(value_of(text_of(problem))));
      }
    }
  }
}

TEST(Question, IsTheProblemInText) {
  EXPECT_EQ(question_of({TwoDigitSum, "a+b", {38, 25}}), "38+25=?");
  EXPECT_EQ(question_of({ThreeTerms, "a-b-c", {14, 9, 5}}), "14-9-5=?");
  EXPECT_EQ(question_of({Unknown, "a*x+b=c", {3, 4, 19}}), "3x+4=19");
  EXPECT_EQ(question_of({Comparison, "a?b", {37, 52}}), "37 ? 52");
  EXPECT_EQ(question_of({Table, "row 2", {3, 8, 5, 2}}), "3 8 / 5 2, row 2");
}

}  // namespace
}  // namespace espalier
