// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "espalier/base/random.h"
#include "espalier/synth/split.h"

namespace espalier {

/// What a problem asks. The numbers of each kind are drawn from the ranges that
/// docs/commands/synth.md lists.
enum class ProblemKind {
  OneDigitSum,
  OneDigitDifference,
  OneDigitProduct,
  TwoDigitSum,
  TwoDigitDifference,
  ThreeTerms,
  Unknown,
  Comparison,
  Table,
};

/// All kinds, in the order of the enumeration.
const std::vector<ProblemKind>& problem_kinds();

/// Its name on the command line and in files, e.g. "two-digit-sum".
std::string_view name_of(ProblemKind kind);

/// \throws InputError for an unknown name, with the nearest ones
ProblemKind parse_problem_kind(std::string_view name);

/// Whether a kind has too few problems to keep some of them from training: those of one digit.
/// Its splits share the problems and differ in how they are drawn alone.
bool is_split_by_rendering(ProblemKind kind);

/// A problem in numbers.
struct Problem {
  ProblemKind kind;
  /// How the numbers stand, `a` the first of them: "a+b-c", "x-a=b", "a*x+b=c", "a?b"; of a table
  /// what is to be added up: "row 1", "col 2".
  std::string form;
  std::vector<int> numbers;  ///< of a table the four cells, row by row
  bool operator==(const Problem&) const = default;
};

/// A problem of a kind and split, each that there is about equally likely.
Problem draw_problem(ProblemKind kind, Split split, Random& random);

/// What makes a problem another one, as text: kind and numbers, those that may be swapped without
/// changing what is to be worked out in order. `38+25` and `25+38` have the same content.
std::string content_of(const Problem& problem);

/// The problem in ASCII, as answers quote it: "38+25", "7*8", "3x+4=19", "37 ? 52",
/// "3 8 / 5 2, row 2". `*` multiplies; `x` is the unknown alone.
std::string text_of(const Problem& problem);

/// The form with its numbers in their places: "38+25", "3*x+4=19", "37?52". Not of a table.
std::string expression_of(const Problem& problem);

/// The two cells of a table that are to be added up.
std::pair<int, int> summands_of_table(const Problem& problem);

}  // namespace espalier
