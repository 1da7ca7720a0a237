// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "espalier/base/random.h"
#include "espalier/image/image.h"
#include "espalier/synth/problems.h"
#include "espalier/synth/split.h"
#include "espalier/synth/typesetter.h"

namespace espalier {

/// The user's texts by domain and subtask, e.g. under "math/cot".
using SynthPrompts = std::map<std::string, std::string, std::less<>>;

/// A kind of problem, and how often it is drawn in proportion to the others.
struct KindWeight {
  ProblemKind kind;
  std::uint64_t weight;  ///< at least 1
  bool operator==(const KindWeight&) const = default;
};

/// One exchange of words about a picture.
struct Turn {
  std::string subtask;
  std::string prompt;
  std::string answer;
  bool operator==(const Turn&) const = default;
};

/// What is asked to measure a model.
struct SynthQuestion {
  std::string suffix;  ///< of its id
  std::string kind;
  std::string prompt;
  std::string answer;
  std::string match;  ///< "exact", or "final": what follows the last "Answer:"
  bool operator==(const SynthQuestion&) const = default;
};

/// A picture with everything that is said about it.
struct SynthSample {
  std::string kind;  ///< of the problem; of a scene "1 object", "2 objects"
  Image image;       ///< empty where only text is wanted
  std::vector<Turn> turns;
  std::vector<SynthQuestion> questions;
};

/// The names of a domain's subtasks, in order: the paper's, then our own.
///
/// \throws InputError for another domain than "math" and "scenes"
const std::vector<std::string>& subtasks_of(std::string_view domain);

/// The subtasks whose prompts are the paper's and must be given.
std::vector<std::string> prompted_subtasks_of(std::string_view domain);

/// What a sample is drawn from: nothing but these, so that samples can be drawn in any order.
struct SampleSource {
  Split split;
  std::uint64_t seed;
  std::uint64_t index;
};

/// A problem, drawn and asked about.
///
/// \param kinds       at least one
/// \param prompts     of all prompted subtasks of "math"
/// \param typesetter  none: no picture; the problem stands in each prompt's last line instead
SynthSample draw_math_sample(const SampleSource& source, const std::vector<KindWeight>& kinds,
                             const SynthPrompts& prompts, const Typesetter* typesetter, int scale);

/// A scene, drawn and asked about.
///
/// \param prompts  of all prompted subtasks of "scenes"
SynthSample draw_scene_sample(const SampleSource& source, const SynthPrompts& prompts, int scale);

}  // namespace espalier
