// SPDX-License-Identifier: Apache-2.0
#include "espalier/synth/problem_answers.h"

#include <fmt/format.h>

#include "espalier/base/error.h"

namespace espalier {

namespace {

/// "38 + 25" of "38+25".
std::string spaced(const std::string& expression) {
  std::string wide;
  for (const char sign : expression) {
    if (std::string_view("+-*=").find(sign) != std::string_view::npos) {
      wide += fmt::format(" {} ", sign);
    } else {
      wide += sign;
    }
  }
  return wide;
}

std::string with_answer(const std::string& working, const std::string& answer) {
  return fmt::format("{}. Answer: {}", working, answer);
}

/// The units with the carry, then the tens: "38+25: 8+5=13, 3+2+1=6".
std::string sum_by_columns(int a, int b) {
  const int units = a % 10 + b % 10;
  const int carry = units / 10;
  return fmt::format("{}+{}: {}+{}={}, {}+{}{}={}", a, b, a % 10, b % 10, units, a / 10, b / 10,
                     carry == 1 ? "+1" : "", a / 10 + b / 10 + carry);
}

/// The units with what is borrowed, then the tens: "63-25: 13-5=8, 6-2-1=3".
std::string difference_by_columns(int a, int b) {
  const int borrowed = a % 10 < b % 10 ? 1 : 0;
  const int units = a % 10 + 10 * borrowed;
  return fmt::format("{}-{}: {}-{}={}, {}-{}{}={}", a, b, units, b % 10, units - b % 10, a / 10,
                     b / 10, borrowed == 1 ? "-1" : "", a / 10 - b / 10 - borrowed);
}

ProblemAnswers pair_answers(const Problem& problem) {
  const int a = problem.numbers.at(0);
  const int b = problem.numbers.at(1);
  const char sign = problem.form.at(1);
  const bool two_digits =
      problem.kind == ProblemKind::TwoDigitSum || problem.kind == ProblemKind::TwoDigitDifference;
  const int value = sign == '+' ? a + b : sign == '-' ? a - b : a * b;
  const std::string text = text_of(problem);
  const std::string working = !two_digits   ? fmt::format("{}={}", text, value)
                              : sign == '+' ? sum_by_columns(a, b)
                                            : difference_by_columns(a, b);
  return {.cot = with_answer(working, std::to_string(value)),
          .direct = std::to_string(value),
          .rephrase = sign == '+'   ? fmt::format("Add {} and {}.", a, b)
                      : sign == '-' ? fmt::format("Take {} from {}.", b, a)
                                    : fmt::format("Multiply {} by {}.", a, b),
          .formalize = "y = " + spaced(text),
          .verify = fmt::format("Solvable. It asks for {}.", text)};
}

std::string rephrase_three_terms(const Problem& problem) {
  const int a = problem.numbers.at(0);
  const int b = problem.numbers.at(1);
  const int c = problem.numbers.at(2);
  if (problem.form == "a+b+c") return fmt::format("Add {}, {} and {}.", a, b, c);
  if (problem.form == "a+b-c") return fmt::format("Add {} and {}, then take away {}.", a, b, c);
  if (problem.form == "a-b+c") return fmt::format("Take {} from {}, then add {}.", b, a, c);
  return fmt::format("Take {} from {}, then take away {}.", b, a, c);
}

ProblemAnswers three_terms_answers(const Problem& problem) {
  const auto& n = problem.numbers;
  const char first = problem.form.at(1);
  const char second = problem.form.at(3);
  const int after_two = first == '+' ? n.at(0) + n.at(1) : n.at(0) - n.at(1);
  const int value = second == '+' ? after_two + n.at(2) : after_two - n.at(2);
  const std::string text = text_of(problem);
  const std::string working = fmt::format("{}: {}{}{}={}, {}{}{}={}", text, n.at(0), first, n.at(1),
                                          after_two, after_two, second, n.at(2), value);
  return {.cot = with_answer(working, std::to_string(value)),
          .direct = std::to_string(value),
          .rephrase = rephrase_three_terms(problem),
          .formalize = "y = " + spaced(text),
          .verify = fmt::format("Solvable. It asks for {}.", text)};
}

ProblemAnswers unknown_answers(const Problem& problem) {
  const int a = problem.numbers.at(0);
  const int b = problem.numbers.at(1);
  const std::string text = text_of(problem);
  const auto answers = [&](int x, const std::string& steps, const std::string& rephrase) {
    return ProblemAnswers{.cot = with_answer(fmt::format("{}, {}", text, steps), std::to_string(x)),
                          .direct = std::to_string(x),
                          .rephrase = rephrase,
                          .formalize = spaced(expression_of(problem)),
                          .verify = fmt::format("Solvable. It asks for x in {}.", text)};
  };
  if (problem.form == "a*x+b=c") {
    const int c = problem.numbers.at(2);
    const int x = (c - b) / a;
    return answers(x, fmt::format("{0}x={1}-{2}={3}, x={3}/{0}={4}", a, c, b, c - b, x),
                   fmt::format("{} times which number, plus {}, gives {}?", a, b, c));
  }
  if (problem.form == "x-a=b") {
    return answers(b + a, fmt::format("x={}+{}={}", b, a, b + a),
                   fmt::format("Which number minus {} gives {}?", a, b));
  }
  return answers(b - a, fmt::format("x={}-{}={}", b, a, b - a),
                 problem.form == "x+a=b" ? fmt::format("Which number plus {} gives {}?", a, b)
                                         : fmt::format("{} plus which number gives {}?", a, b));
}

char compare(int a, int b) { return a < b ? '<' : a > b ? '>' : '='; }

/// The tens decide, or else the units.
ProblemAnswers comparison_answers(const Problem& problem) {
  const int a = problem.numbers.at(0);
  const int b = problem.numbers.at(1);
  const std::string answer(1, compare(a, b));
  std::string working =
      fmt::format("{}: {}{}{}", text_of(problem), a / 10, compare(a / 10, b / 10), b / 10);
  if (a / 10 == b / 10) {
    working += fmt::format(", {}{}{}", a % 10, compare(a % 10, b % 10), b % 10);
  }
  return {.cot = with_answer(working, answer),
          .direct = answer,
          .rephrase = fmt::format("Which is larger, {} or {}?", a, b),
          .formalize = fmt::format("y = sign({} - {})", a, b),
          .verify = fmt::format("Solvable. It asks how {} compares with {}.", a, b)};
}

ProblemAnswers table_answers(const Problem& problem) {
  const auto [a, b] = summands_of_table(problem);
  const std::string line =
      fmt::format("{} {}", problem.form.starts_with("row") ? "row" : "column", problem.form.back());
  return {.cot = with_answer(fmt::format("{}: {}+{}={}", text_of(problem), a, b, a + b),
                             std::to_string(a + b)),
          .direct = std::to_string(a + b),
          .rephrase = fmt::format("Add {} and {}, the numbers of {}.", a, b, line),
          .formalize = fmt::format("y = {} + {}", a, b),
          .verify = fmt::format("Solvable. It asks for the sum of {}.", line)};
}

}  // namespace

ProblemAnswers answers_of(const Problem& problem) {
  switch (problem.kind) {
    case ProblemKind::ThreeTerms:
      return three_terms_answers(problem);
    case ProblemKind::Unknown:
      return unknown_answers(problem);
    case ProblemKind::Comparison:
      return comparison_answers(problem);
    case ProblemKind::Table:
      return table_answers(problem);
    default:
      return pair_answers(problem);
  }
}

std::string question_of(const Problem& problem) {
  switch (problem.kind) {
    case ProblemKind::Unknown:
    case ProblemKind::Comparison:
    case ProblemKind::Table:
      return text_of(problem);
    default:
      return text_of(problem) + "=?";
  }
}

}  // namespace espalier
