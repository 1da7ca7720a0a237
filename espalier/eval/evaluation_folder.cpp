// SPDX-License-Identifier: Apache-2.0
#include "espalier/eval/evaluation_folder.h"

#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>
#include <utility>

#include "espalier/base/error.h"
#include "espalier/base/files.h"
#include "espalier/base/json.h"

namespace espalier {

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

std::string lines_of(std::span<const Prediction> predictions) {
  std::string lines;
  for (const Prediction& prediction : predictions) lines += to_json_line(prediction);
  return lines;
}

/// The next line of a text, without its line feed; none if it has no line feed any more.
std::optional<std::string_view> take_line(std::string_view& text) {
  const std::size_t end = text.find('\n');
  if (end == std::string_view::npos) return std::nullopt;
  const std::string_view line = text.substr(0, end);
  text.remove_prefix(end + 1);
  return line;
}

/// The journal's first line: whose answers follow.
std::string first_line(const std::string& job) { return json({{"job", job}}).dump(); }

}  // namespace

EvaluationFolder::EvaluationFolder(fs::path folder, const Scoreboard& scoreboard, bool force)
    : job_(std::move(folder),
           {.name = "evaluation", .head = kScoreboardName, .others = {kPredictionsName}},
           unfinished_header(scoreboard), force) {}

fs::path EvaluationFolder::journal_file() const { return job_.journal() / kPredictionsName; }

std::vector<Prediction> EvaluationFolder::former_answers(
    const std::vector<Question>& questions) const {
  std::vector<Prediction> answers;
  if (!path_exists(journal_file())) return answers;
  const std::string bytes = read_file(journal_file());
  std::string_view text = bytes;
  if (take_line(text) != first_line(job_.job())) return answers;
  while (answers.size() < questions.size()) {
    const auto line = take_line(text);
    if (!line) break;
    try {
      Prediction answer =
          prediction_of(parse_json(*line, journal_file().string()), journal_file().string());
      if (answer.id != questions[answers.size()].id) break;
      answers.push_back(std::move(answer));
    } catch (const InputError&) {
      break;  // a block that did not reach the disk; its questions are asked again
    }
  }
  return answers;
}

void EvaluationFolder::begin(std::span<const Prediction> predictions) {
  const std::string text = first_line(job_.job()) + "\n" + lines_of(predictions);
  write_file(journal_file(), text, /*force=*/true);
  answers_ = std::make_unique<AppendFile>(journal_file(), text.size());
}

void EvaluationFolder::append(std::span<const Prediction> predictions) {
  answers_->append(lines_of(predictions));
}

void EvaluationFolder::finish(const Scoreboard& scoreboard,
                              const std::vector<Prediction>& predictions) const {
  write_file(job_.path() / kPredictionsName, lines_of(predictions), /*force=*/true);
  write_file(job_.path() / kScoreboardName, to_json_text(scoreboard), /*force=*/true);
  job_.remove_journal();
}

}  // namespace espalier
