// SPDX-License-Identifier: Apache-2.0
#include "espalier/records/scoreboard.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>
#include <set>

#include "espalier/base/error.h"
#include "espalier/base/json.h"
#include "espalier/base/lines.h"
#include "espalier/records/model_identity.h"

namespace espalier {

using nlohmann::json;

namespace {

constexpr std::int64_t kSchema = 1;
constexpr const char* kKind = "scoreboard";
constexpr double kRounding = 1e-12;

// --- to JSON ---

json to_json(const std::optional<std::string>& name) { return name ? json(*name) : json(nullptr); }

json to_json(const ScoreGroup& group) {
  return {{"domain", to_json(group.domain)},
          {"kind", to_json(group.kind)},
          {"correct", group.correct},
          {"count", group.count},
          {"accuracy", group.accuracy},
          {"low", group.low},
          {"high", group.high}};
}

json to_json(const ScoredPlan& plan) {
  return {{"base", {{"fingerprint", plan.base_fingerprint}}},
          {"criterion", plan.criterion},
          {"budget", to_string(plan.budget)},
          {"removed", plan.removed}};
}

json to_json(const ScoredTraining& training) {
  return {{"loss", training.loss},
          {"control", training.control},
          {"steps", training.steps},
          {"batch", training.batch}};
}

json to_json(const ScoredQuestions& questions) {
  return {
      {"file", questions.file}, {"fingerprint", questions.fingerprint}, {"count", questions.count}};
}

/// What is known before the first answer.
json header_of(const Scoreboard& scoreboard) {
  json questions = json::array();
  for (const ScoredQuestions& file : scoreboard.questions) questions.push_back(to_json(file));
  json adapter;  // null
  if (!scoreboard.adapter_fingerprint.empty()) {
    adapter = {{"fingerprint", scoreboard.adapter_fingerprint}};
    adapter["training"] = scoreboard.training ? to_json(*scoreboard.training) : json(nullptr);
  }
  return {{"schema", kSchema},
          {"kind", kKind},
          {"tool_version", ESPALIER_VERSION},
          {"complete", false},
          {"model", to_json(scoreboard.model)},
          {"plan", scoreboard.plan ? to_json(*scoreboard.plan) : json(nullptr)},
          {"adapter", std::move(adapter)},
          {"questions", std::move(questions)},
          {"level", scoreboard.level},
          {"options", parse_json(scoreboard.options, "the scoreboard's options")}};
}

// --- from JSON ---

std::optional<std::string> name_at(const JsonObject& object, std::string_view key) {
  const json& value = object.at(key);
  if (value.is_null()) return std::nullopt;
  return object.string(key);
}

ScoreGroup read_group(const JsonObject& object) {
  ScoreGroup group{.domain = name_at(object, "domain"),
                   .kind = name_at(object, "kind"),
                   .correct = object.integer("correct"),
                   .count = object.integer("count"),
                   .accuracy = object.number("accuracy"),
                   .low = object.number("low"),
                   .high = object.number("high")};
  object.refuse_unread();
  require(group.domain || !group.kind, "{}: a kind without a domain", object.place());
  require(0 <= group.correct && group.correct <= group.count && group.count >= 1,
          "{}: wanted correct answers among at least one, found {} of {}", object.place(),
          group.correct, group.count);
  const double share = static_cast<double>(group.correct) / static_cast<double>(group.count);
  require(std::abs(group.accuracy - share) <= kRounding && 0.0 <= group.low &&
              group.low <= group.accuracy && group.accuracy <= group.high && group.high <= 1.0,
          "{}: wanted an accuracy of {} inside its interval, found {} in {} to {}", object.place(),
          share, group.accuracy, group.low, group.high);
  return group;
}

/// Correct answers and questions of the groups that `belongs` takes.
template <typename Belongs>
std::pair<std::int64_t, std::int64_t> sum(const std::vector<ScoreGroup>& groups,
                                          const Belongs& belongs) {
  std::pair<std::int64_t, std::int64_t> total;
  for (const ScoreGroup& group : groups) {
    if (!belongs(group)) continue;
    total.first += group.correct;
    total.second += group.count;
  }
  return total;
}

/// Each group once; kinds add up to their domain, domains to the whole.
void check_groups(const std::vector<ScoreGroup>& groups, const std::string& place) {
  std::set<std::pair<std::optional<std::string>, std::optional<std::string>>> seen;
  for (const ScoreGroup& group : groups) {
    require(seen.emplace(group.domain, group.kind).second, "{}: groups: {} of {} comes twice",
            place, group.kind.value_or("every kind"), group.domain.value_or("every domain"));
  }
  require(seen.contains({std::nullopt, std::nullopt}),
          "{}: groups: wanted one over all questions, with no domain and no kind", place);
  for (const ScoreGroup& whole : groups) {
    if (whole.kind) {
      require(seen.contains({whole.domain, std::nullopt}), "{}: groups: {} has kinds, but no group",
              place, *whole.domain);
      continue;
    }
    const auto parts = sum(groups, [&](const ScoreGroup& part) {
      return whole.domain ? part.domain == whole.domain && part.kind
                          : part.domain.has_value() && !part.kind;
    });
    require(parts == std::pair(whole.correct, whole.count),
            "{}: groups: {} has {} of {}, but its parts together {} of {}", place,
            whole.domain.value_or("the whole"), whole.correct, whole.count, parts.first,
            parts.second);
  }
}

std::string fingerprint_of(const JsonObject& owner, std::string_view key) {
  const JsonObject object = owner.object(key);
  std::string fingerprint = object.string("fingerprint");
  object.refuse_unread();
  return fingerprint;
}

ScoredPlan read_scored_plan(const JsonObject& object) {
  ScoredPlan plan{.base_fingerprint = fingerprint_of(object, "base"),
                  .criterion = object.string("criterion"),
                  .budget = budget_of(object.string("budget"), object.place() + ": budget"),
                  .removed = object.integer("removed")};
  object.refuse_unread();
  require(plan.removed >= 0, "{}: removed: wanted a number of layers, found {}", object.place(),
          plan.removed);
  return plan;
}

std::vector<ScoredQuestions> read_scored_questions(const JsonObject& object) {
  std::vector<ScoredQuestions> questions;
  for (const JsonObject& file : object.objects("questions")) {
    questions.push_back({.file = file.string("file"),
                         .fingerprint = file.string("fingerprint"),
                         .count = file.integer("count")});
    file.refuse_unread();
    require(questions.back().count >= 1, "{}: count: wanted at least one question", file.place());
  }
  return questions;
}

ScoredTraining training_of(const JsonObject& object) {
  ScoredTraining training{.loss = object.string("loss"),
                          .control = object.boolean("control"),
                          .steps = object.integer("steps"),
                          .batch = object.integer("batch")};
  require(training.steps >= 1 && training.batch >= 1, "{}: wanted at least one step of one sample",
          object.place());
  return training;
}

void read_adapter_of(const JsonObject& object, Scoreboard& scoreboard) {
  scoreboard.adapter_fingerprint = object.string("fingerprint");
  if (object.has("training")) {
    const JsonObject training = object.object("training");
    scoreboard.training = training_of(training);
    training.refuse_unread();
  }
  object.refuse_unread();
}

/// A file of the kind and schema that this version reads, whole.
void check_head(const JsonObject& object) {
  const std::string kind = object.string("kind");
  require(kind == kKind, "{}: kind: wanted {}, found {}; espalier eval writes such a file",
          object.place(), kKind, kind);
  const std::int64_t schema = object.integer("schema");
  require(schema == kSchema, "{}: schema: wanted {}, found {}; evaluate again with this version",
          object.place(), kSchema, schema);
  require(object.boolean("complete"),
          "{}: this evaluation has not ended; repeat its command to go on with it", object.place());
  object.ignore({"tool_version"});
}

}  // namespace

ScoredTraining read_scored_training(const std::filesystem::path& file) {
  const json document = read_json(file);
  const JsonObject object(document, file.string());
  require(object.string("kind") == "training", "{}: this is no training's record", file.string());
  require(object.boolean("complete"), "{}: this training has not ended; repeat its command",
          file.string());
  const JsonObject options = object.object("options");
  return {.loss = options.string("loss"),
          .control = options.boolean("control"),
          .steps = object.object("results").integer("steps"),
          .batch = options.integer("batch")};
}

const ScoreGroup& overall(const Scoreboard& scoreboard) {
  const auto group = std::ranges::find_if(
      scoreboard.groups, [](const ScoreGroup& one) { return !one.domain && !one.kind; });
  assume(group != scoreboard.groups.end(), "a complete scoreboard has a group over all questions");
  return *group;
}

std::string to_json_text(const Scoreboard& scoreboard) {
  json document = header_of(scoreboard);
  document["complete"] = true;
  document["groups"] = json::array();
  for (const ScoreGroup& group : scoreboard.groups) document["groups"].push_back(to_json(group));
  return document.dump(1) + "\n";
}

std::string unfinished_header(const Scoreboard& scoreboard) {
  return header_of(scoreboard).dump(1) + "\n";
}

Scoreboard read_scoreboard(const std::filesystem::path& file) {
  const json document = read_json(file);
  const JsonObject object(document, file.string());
  check_head(object);
  Scoreboard scoreboard{.model = read_model_identity(object.object("model"))};
  if (object.has("plan")) scoreboard.plan = read_scored_plan(object.object("plan"));
  if (object.has("adapter")) read_adapter_of(object.object("adapter"), scoreboard);
  scoreboard.questions = read_scored_questions(object);
  scoreboard.level = object.number("level");
  require(scoreboard.level > 0.0 && scoreboard.level < 1.0,
          "{}: level: wanted a share between 0 and 1, found {}", object.place(), scoreboard.level);
  for (const JsonObject& group : object.objects("groups")) {
    scoreboard.groups.push_back(read_group(group));
  }
  check_groups(scoreboard.groups, object.place());
  const auto asked = [](std::int64_t total, const ScoredQuestions& questions) {
    return total + questions.count;
  };
  const std::int64_t count =
      std::accumulate(scoreboard.questions.begin(), scoreboard.questions.end(), 0L, asked);
  require(overall(scoreboard).count == count, "{}: {} questions were asked, but {} are counted",
          object.place(), count, overall(scoreboard).count);
  const json& options = object.at("options");
  require(options.is_object(), "{}: options: wanted an object", object.place());
  scoreboard.options = options.dump();
  object.refuse_unread();
  return scoreboard;
}

std::string to_json_line(const Prediction& prediction) {
  const json line = {{"id", prediction.id},
                     {"answer", prediction.answer},
                     {"correct", prediction.correct},
                     {"expected", prediction.expected}};
  return line.dump() + "\n";
}

Prediction prediction_of(const json& row, const std::string& place) {
  const JsonObject object(row, place);
  const json& expected = object.at("expected");
  require(
      expected.is_array() && std::ranges::all_of(expected, [](auto& v) { return v.is_string(); }),
      "{}: expected: wanted a list of texts, found {}", place, expected.dump());
  Prediction prediction{.id = object.string("id"),
                        .answer = object.string("answer"),
                        .correct = object.boolean("correct"),
                        .expected = expected.get<std::vector<std::string>>()};
  object.refuse_unread();
  return prediction;
}

std::vector<Prediction> read_predictions(const std::filesystem::path& file) {
  std::vector<Prediction> predictions;
  for_each_line(file, [&](std::string_view line, const std::string& place) {
    predictions.push_back(prediction_of(parse_json(line, place), place));
  });
  return predictions;
}

}  // namespace espalier
