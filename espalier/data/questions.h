// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace espalier {

/// How an answer is held against the accepted ones.
enum class AnswerMatch {
  Exact,  ///< the whole answer, outer white space cut off
  Final,  ///< what follows its last "Answer:", outer white space cut off; wrong where there is none
};

/// A question with a known answer.
struct Question {
  std::string id;
  std::vector<std::filesystem::path> images;  ///< may be none
  std::string prompt;
  std::vector<std::string> answers;  ///< accepted; at least one
  std::string domain;
  std::string kind;
  AnswerMatch match = AnswerMatch::Exact;
  std::string place;  ///< for errors: file:line
  bool operator==(const Question&) const = default;
};

/// Reads questions: a JSONL file with rows {"id", "prompt", "answer": TEXT or [TEXT, ...],
/// "domain", "kind"}, which may have "image": PATH or "images": [PATH, ...], relative to the file,
/// and "match": "exact" (default) or "final". Other keys are ignored. Pictures are not opened.
///
/// \throws InputError  for a file without questions, a missing, empty or misshapen key, an unknown
///                     match, an accepted answer with outer white space, which no answer could
///                     equal, a missing picture, an id that comes twice; naming file:line
std::vector<Question> read_questions(const std::filesystem::path& file);

/// So many of the questions, drawn without repetition, in their old order; all where there are no
/// more.
///
/// \param stream  tells the draws of several files with one seed apart
std::vector<Question> draw_questions(std::vector<Question> questions, std::int64_t count,
                                     std::uint64_t seed, std::uint64_t stream);

/// The questions of several files, one after another.
struct QuestionFiles {
  std::vector<Question> questions;
  std::vector<std::size_t> ends;  ///< where each file's end, one a file
};

/// Reads several files, or so many questions of each, drawn with the seed.
///
/// \throws InputError as read_questions does, and for an id that stands in two files
QuestionFiles read_question_files(const std::vector<std::filesystem::path>& files,
                                  std::optional<std::int64_t> limit, std::uint64_t seed);

/// The text without the white space (ASCII) at both ends.
std::string_view without_outer_space(std::string_view text);

}  // namespace espalier
