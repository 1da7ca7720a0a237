// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "espalier/checkpoint/side_files.h"
#include "espalier/data/encoder.h"
#include "espalier/data/questions.h"
#include "espalier/eval/metrics.h"
#include "espalier/model/qwen3_vl.h"
#include "espalier/records/scoreboard.h"
#include "espalier/text/tokenizer.h"

namespace espalier {

/// The model that answers; all must outlive what is made with it.
struct AnsweringModel {
  const Qwen3VL& model;
  const Tokenizer& tokenizer;
  const PreprocessorConfig& preprocessor;
  const std::vector<std::int64_t>& eos_token_ids;  ///< an answer ends before one of these
};

/// How far an evaluation is.
struct EvaluateProgress {
  enum class Phase { Checking, Answering };
  Phase phase = Phase::Checking;
  std::int64_t done = 0;
  std::int64_t count = 0;
  std::int64_t resumed = 0;  ///< of those that are done, by a former run
  std::int64_t correct = 0;  ///< of those that are done
};

struct PrepareOptions {
  std::int64_t max_new_tokens = 64;
  bool shuffle_pictures = false;  ///< each question gets another one's: shuffled_pictures
  std::uint64_t seed = 0;         ///< of the shuffle
  std::function<void(const EvaluateProgress&)> on_progress;
};

/// Questions that a model can be asked: each was looked at as a whole, pictures too. They can be
/// asked any number of times, of any model with the same configuration and tokenizer.
struct PreparedQuestions {
  std::vector<Question> questions;             ///< with the pictures that will be shown
  std::vector<std::vector<std::int64_t>> ids;  ///< tokens of each prompt
  std::vector<PlacedPictures> placed;
  /// XXH3-128 of each question and its own pictures' bytes, before any shuffle.
  std::vector<std::array<std::uint8_t, 16>> hashes;
  std::int64_t max_new_tokens = 0;
};

/// Opens all questions: each is one user message, the pictures first, then the prompt. All threads.
///
/// \throws InputError  naming the questions, up to five, whose picture or prompt cannot be used, or
///                     whose prompt and answer together would exceed the model's positions; for
///                     pictures that cannot be shuffled
PreparedQuestions prepare_questions(const AnsweringModel& model, std::vector<Question> questions,
                                    const PrepareOptions& options);

/// What the questions [begin, end) are, in 64 hexadecimal digits.
std::string fingerprint(const PreparedQuestions& questions, std::size_t begin, std::size_t end);

struct EvaluateOptions {
  /// The most questions that are answered together; fewer where their tokens are many
  /// (`kMostBatchTokens`), which bounds the memory.
  std::int64_t batch = 64;
  /// Answers of a former run to the first questions: whole batches.
  std::vector<Prediction> done;
  /// Called with each batch's answers.
  std::function<void(std::span<const Prediction>)> on_batch;
  std::function<void(const EvaluateProgress&)> on_progress;
};

/// Tokens of prompts and answers that a batch has room for; a question with more is alone.
inline constexpr std::int64_t kMostBatchTokens = 8192;

/// How many of a former run's first answers make whole batches: what lies behind is asked again, so
/// that a run that was cut off and one that was not see the same batches.
std::size_t answers_of_whole_batches(const PreparedQuestions& questions, std::int64_t batch,
                                     std::size_t answers);

/// What came out.
struct Evaluation {
  std::vector<Prediction> predictions;  ///< one a question, in their order
  std::vector<ScoreGroup> groups;       ///< as a scoreboard has them
  bool operator==(const Evaluation&) const = default;
};

/// Asks the model: greedy answers, special tokens left out of their texts, in batches of
/// neighbouring questions. Answers do not depend on the batches beyond rounding. Keeps no gradient.
Evaluation evaluate(const AnsweringModel& model, const PreparedQuestions& questions,
                    const EvaluateOptions& options = {});

}  // namespace espalier
