// SPDX-License-Identifier: Apache-2.0
#include "espalier/synth/problems.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <utility>

#include "espalier/base/error.h"
#include "espalier/base/words.h"

namespace espalier {

namespace {

constexpr auto kKindNames = std::to_array<std::pair<ProblemKind, std::string_view>>({
    {ProblemKind::OneDigitSum, "one-digit-sum"},
    {ProblemKind::OneDigitDifference, "one-digit-difference"},
    {ProblemKind::OneDigitProduct, "one-digit-product"},
    {ProblemKind::TwoDigitSum, "two-digit-sum"},
    {ProblemKind::TwoDigitDifference, "two-digit-difference"},
    {ProblemKind::ThreeTerms, "three-terms"},
    {ProblemKind::Unknown, "unknown"},
    {ProblemKind::Comparison, "comparison"},
    {ProblemKind::Table, "table"},
});

/// A whole number from `least` to `most`.
int draw(Random& random, int least, int most) {
  return least + static_cast<int>(random.below(static_cast<std::uint64_t>(most - least) + 1));
}

Problem draw_pair(ProblemKind kind, char sign, int least, int most, Random& random) {
  int a = draw(random, least, most);
  int b = draw(random, least, most);
  if (sign == '-' && a < b) std::swap(a, b);
  return {.kind = kind, .form = fmt::format("a{}b", sign), .numbers = {a, b}};
}

/// Neither the result nor what comes after two terms is negative.
Problem draw_three_terms(Random& random) {
  while (true) {
    const char first = random.below(2) == 0 ? '+' : '-';
    const char second = random.below(2) == 0 ? '+' : '-';
    const int a = draw(random, 1, 20);
    const int b = draw(random, 1, 9);
    const int c = draw(random, 1, 9);
    const int after_two = first == '+' ? a + b : a - b;
    if (after_two < 0 || (second == '-' && after_two < c)) continue;
    return {.kind = ProblemKind::ThreeTerms,
            .form = fmt::format("a{}b{}c", first, second),
            .numbers = {a, b, c}};
  }
}

Problem draw_unknown(Random& random) {
  Problem problem{.kind = ProblemKind::Unknown};
  const std::uint64_t form = random.below(4);
  if (form == 3) {
    const int factor = draw(random, 2, 9);
    const int added = draw(random, 1, 9);
    problem.form = "a*x+b=c";
    problem.numbers = {factor, added, factor * draw(random, 1, 9) + added};
    return problem;
  }
  const int x = draw(random, 1, 20);
  if (form == 2) {
    const int taken = draw(random, 1, x);
    problem.form = "x-a=b";
    problem.numbers = {taken, x - taken};
    return problem;
  }
  const int added = draw(random, 1, 20);
  problem.form = form == 0 ? "x+a=b" : "a+x=b";
  problem.numbers = {added, x + added};
  return problem;
}

/// One in five compares a number with itself, two in five need the units.
Problem draw_comparison(Random& random) {
  const std::uint64_t difficulty = random.below(5);
  const int a = draw(random, 10, 99);
  int b = a;
  while (difficulty > 0 && a == b) {
    b = difficulty <= 2 ? a / 10 * 10 + draw(random, 0, 9) : draw(random, 10, 99);
  }
  return {.kind = ProblemKind::Comparison, .form = "a?b", .numbers = {a, b}};
}

Problem draw_table(Random& random) {
  Problem problem{.kind = ProblemKind::Table};
  problem.form =
      fmt::format("{} {}", random.below(2) == 0 ? "row" : "col", random.below(2) == 0 ? 1 : 2);
  for (int cell = 0; cell < 4; ++cell) problem.numbers.push_back(draw(random, 1, 9));
  return problem;
}

Problem draw_any(ProblemKind kind, Random& random) {
  switch (kind) {
    case ProblemKind::OneDigitSum:
      return draw_pair(kind, '+', 0, 9, random);
    case ProblemKind::OneDigitDifference:
      return draw_pair(kind, '-', 0, 9, random);
    case ProblemKind::OneDigitProduct:
      return draw_pair(kind, '*', 0, 9, random);
    case ProblemKind::TwoDigitSum:
      return draw_pair(kind, '+', 10, 99, random);
    case ProblemKind::TwoDigitDifference:
      return draw_pair(kind, '-', 10, 99, random);
    case ProblemKind::ThreeTerms:
      return draw_three_terms(random);
    case ProblemKind::Unknown:
      return draw_unknown(random);
    case ProblemKind::Comparison:
      return draw_comparison(random);
    case ProblemKind::Table:
      return draw_table(random);
  }
  throw std::logic_error("an unknown kind of problem");
}

/// Terms that are added, then those that are taken away, each in order: all that the value depends
/// on.
std::string sorted_terms(const Problem& problem) {
  std::vector<int> added{problem.numbers.at(0)};
  std::vector<int> taken;
  for (std::size_t term = 1; term < problem.numbers.size(); ++term) {
    (problem.form.at(2 * term - 1) == '+' ? added : taken).push_back(problem.numbers[term]);
  }
  std::ranges::sort(added);
  std::ranges::sort(taken);
  std::string terms;
  for (const int term : added) terms += fmt::format(" +{}", term);
  for (const int term : taken) terms += fmt::format(" -{}", term);
  return terms;
}

}  // namespace

const std::vector<ProblemKind>& problem_kinds() {
  static const std::vector<ProblemKind> kinds = [] {
    std::vector<ProblemKind> all;
    all.reserve(kKindNames.size());
    for (const auto& [kind, name] : kKindNames) all.push_back(kind);
    return all;
  }();
  return kinds;
}

std::string_view name_of(ProblemKind kind) {
  return kKindNames.at(static_cast<std::size_t>(kind)).second;
}

ProblemKind parse_problem_kind(std::string_view name) {
  std::vector<std::string> known;
  for (const auto& [kind, its_name] : kKindNames) {
    if (its_name == name) return kind;
    known.emplace_back(its_name);
  }
  throw InputError(unknown_word("kind of problem", std::string(name), known));
}

bool is_split_by_rendering(ProblemKind kind) {
  return kind == ProblemKind::OneDigitSum || kind == ProblemKind::OneDigitDifference ||
         kind == ProblemKind::OneDigitProduct;
}

Problem draw_problem(ProblemKind kind, Split split, Random& random) {
  while (true) {
    Problem problem = draw_any(kind, random);
    if (is_split_by_rendering(kind) || split_of(content_of(problem)) == split) return problem;
  }
}

std::string content_of(const Problem& problem) {
  const std::string_view name = name_of(problem.kind);
  switch (problem.kind) {
    case ProblemKind::OneDigitProduct:
    case ProblemKind::Comparison: {
      const auto [least, most] = std::ranges::minmax(problem.numbers);
      return fmt::format("{} {} {}", name, least, most);
    }
    case ProblemKind::Unknown: {
      const std::string form = problem.form == "a+x=b" ? "x+a=b" : problem.form;
      return fmt::format("{} {} {}", name, form, fmt::join(problem.numbers, " "));
    }
    case ProblemKind::Table:
      return fmt::format("{} {} {}", name, problem.form, fmt::join(problem.numbers, " "));
    default:
      return fmt::format("{}{}", name, sorted_terms(problem));
  }
}

std::string text_of(const Problem& problem) {
  const auto& n = problem.numbers;
  if (problem.kind == ProblemKind::Table) {
    return fmt::format("{} {} / {} {}, {}", n.at(0), n.at(1), n.at(2), n.at(3), problem.form);
  }
  if (problem.kind == ProblemKind::Comparison) return fmt::format("{} ? {}", n.at(0), n.at(1));
  std::string text = expression_of(problem);
  if (const auto factor = text.find("*x"); factor != std::string::npos) text.erase(factor, 1);
  return text;
}

std::string expression_of(const Problem& problem) {
  assume(problem.kind != ProblemKind::Table, "a table is no expression");
  std::string expression;
  for (const char sign : problem.form) {
    if (sign >= 'a' && sign <= 'c') {
      expression += std::to_string(problem.numbers.at(static_cast<std::size_t>(sign - 'a')));
    } else {
      expression += sign;
    }
  }
  return expression;
}

std::pair<int, int> summands_of_table(const Problem& problem) {
  assume(problem.kind == ProblemKind::Table, "only a table has cells");
  const auto& cells = problem.numbers;
  const bool second = problem.form.back() == '2';
  if (problem.form.starts_with("row")) {
    return second ? std::pair(cells.at(2), cells.at(3)) : std::pair(cells.at(0), cells.at(1));
  }
  return second ? std::pair(cells.at(1), cells.at(3)) : std::pair(cells.at(0), cells.at(2));
}

}  // namespace espalier
