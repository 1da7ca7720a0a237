// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "espalier/records/budget.h"
#include "espalier/records/probe_record.h"

namespace espalier {

/// The file names of an evaluation's folder.
inline constexpr const char* kScoreboardName = "scoreboard.json";
inline constexpr const char* kPredictionsName = "predictions.jsonl";

/// How a share of right answers is known: `correct` of `count` questions.
struct ScoreGroup {
  std::optional<std::string> domain;  ///< none: over all domains
  std::optional<std::string> kind;    ///< none: over all kinds of the domain
  std::int64_t correct = 0;
  std::int64_t count = 0;  ///< at least 1
  double accuracy = 0.0;   ///< correct / count
  double low = 0.0;        ///< Wilson's interval of the scoreboard's level
  double high = 0.0;
  bool operator==(const ScoreGroup&) const = default;
};

/// A question file, or those of its questions that were asked.
struct ScoredQuestions {
  std::string file;         ///< its name, without folders
  std::string fingerprint;  ///< SHA-256 over the questions that were asked and their pictures
  std::int64_t count = 0;
  bool operator==(const ScoredQuestions&) const = default;
};

/// How the model that answered was pruned.
struct ScoredPlan {
  std::string base_fingerprint;
  std::string criterion;  ///< empty where the user named the layers
  Budget budget;
  std::int64_t removed = 0;  ///< layers, of the base's
  bool operator==(const ScoredPlan&) const = default;
};

/// How the adapter was trained that a model answered with.
struct ScoredTraining {
  std::string loss;      ///< "sft", "kd" or "kd+hidden"
  bool control = false;  ///< the unpruned model was trained, by the recipe that heals pruned ones
  std::int64_t steps = 0;
  std::int64_t batch = 0;  ///< samples a step
  bool operator==(const ScoredTraining&) const = default;
};

/// What a training's record, `training.json` beside its adapter, says of it.
///
/// \throws InputError for a broken record, or one of a training that has not ended
ScoredTraining read_scored_training(const std::filesystem::path& file);

/// What `espalier eval` found, as `scoreboard.json`.
struct Scoreboard {
  ModelIdentity model;
  std::optional<ScoredPlan> plan;          ///< none: the model was not pruned by a plan
  std::string adapter_fingerprint;         ///< empty: no adapter
  std::optional<ScoredTraining> training;  ///< of the adapter, where its record lies beside it
  std::vector<ScoredQuestions> questions;
  double level = 0.95;  ///< of the intervals
  /// Each domain (kind none) followed by its kinds, then all together (domain and kind none).
  std::vector<ScoreGroup> groups;
  std::string options = "{}";  ///< a JSON object: everything that decides the answers
  bool operator==(const Scoreboard&) const = default;
};

/// The group over all questions. \pre the scoreboard is complete
const ScoreGroup& overall(const Scoreboard& scoreboard);

/// The scoreboard as it stands in its file.
std::string to_json_text(const Scoreboard& scoreboard);

/// `scoreboard.json` of an evaluation that has not ended: what is asked, and of whom.
std::string unfinished_header(const Scoreboard& scoreboard);

/// \throws InputError for a missing, broken or contradictory file (e.g. kinds that do not add up to
///                    their domain), another schema, or an evaluation that has not ended
Scoreboard read_scoreboard(const std::filesystem::path& file);

/// What a model answered to one question.
struct Prediction {
  std::string id;  ///< of the question
  std::string answer;
  bool correct = false;
  std::vector<std::string> expected;
  bool operator==(const Prediction&) const = default;
};

/// A line of `predictions.jsonl`, with its line feed.
std::string to_json_line(const Prediction& prediction);

/// What a line says.
///
/// \param place        for errors: file:line
/// \throws InputError  if it is no prediction
Prediction prediction_of(const nlohmann::json& row, const std::string& place);

/// \throws InputError for a missing or broken file
std::vector<Prediction> read_predictions(const std::filesystem::path& file);

}  // namespace espalier
