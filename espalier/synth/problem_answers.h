// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "espalier/synth/problems.h"

namespace espalier {

/// The exact answers to a problem, one for each of the paper's five subtasks on math.
struct ProblemAnswers {
  std::string cot;        ///< the problem, its working, units first, and "Answer: 63" at the end
  std::string direct;     ///< "63"; of a comparison "<", ">" or "="
  std::string rephrase;   ///< "Add 38 and 25."
  std::string formalize;  ///< "y = 38 + 25"
  std::string verify;     ///< "Solvable. It asks for 38+25."
  bool operator==(const ProblemAnswers&) const = default;
};

/// Answers to a problem; the same problem always has the same.
ProblemAnswers answers_of(const Problem& problem);

/// The problem as a question in text, which stands in the picture's place: "38+25=?", "x+7=15".
std::string question_of(const Problem& problem);

}  // namespace espalier
