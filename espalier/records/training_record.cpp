// SPDX-License-Identifier: Apache-2.0
#include "espalier/records/training_record.h"

#include <functional>
#include <limits>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "espalier/base/error.h"
#include "espalier/base/json.h"

namespace espalier {

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

/// The one list of a step's plain numbers: calls visit(key, value) for each.
template <typename Step, typename Visit>
void for_each_number(Step& step, const Visit& visit) {
  visit("step", step.step);
  visit("epoch", step.epoch);
  visit("loss", step.loss);
  visit("learning_rate", step.learning_rate);
  visit("gradient_norm", step.gradient_norm);
  visit("clip_coefficient", step.clip_coefficient);
  visit("samples", step.samples);
  visit("tokens", step.tokens);
  visit("visual_tokens", step.visual_tokens);
  visit("label_tokens", step.label_tokens);
  visit("seconds", step.seconds);
  visit("data_wait_seconds", step.data_wait_seconds);
  visit("tokens_per_second", step.tokens_per_second);
  visit("flops_per_second", step.flops_per_second);
  visit("peak_memory_bytes", step.peak_memory_bytes);
}

/// The same of those that a step may not have.
template <typename Step, typename Visit>
void for_each_optional(Step& step, const Visit& visit) {
  visit("sample_mean_loss", step.sample_mean_loss);
  visit("divergence", step.divergence);
  visit("hidden_loss", step.hidden_loss);
  visit("validation_loss", step.validation_loss);
}

/// A number that may be null, for one that is not finite.
double number_of(const JsonObject& object, const char* key) {
  if (object.at(key).is_null()) return std::numeric_limits<double>::quiet_NaN();
  return object.number(key);
}

void read_number(const JsonObject& object, const char* key, double& value) {
  value = number_of(object, key);
}

void read_number(const JsonObject& object, const char* key, std::int64_t& value) {
  value = object.integer(key);
}

std::optional<double> optional_number(const json& row, const JsonObject& object, const char* key) {
  if (!row.contains(key)) return std::nullopt;
  return number_of(object, key);
}

TrainingStep step_of(std::string_view line, const std::string& place) {
  const json row = parse_json(line, place);
  const JsonObject object(row, place);
  TrainingStep step;
  for_each_number(step, [&](const char* key, auto& value) { read_number(object, key, value); });
  for (const JsonObject& loss : object.objects("losses")) {
    step.losses.push_back({.name = loss.string("name"),
                           .loss = number_of(loss, "loss"),
                           .label_tokens = loss.integer("label_tokens")});
    loss.refuse_unread();
  }
  for_each_optional(step, [&](const char* key, std::optional<double>& value) {
    value = optional_number(row, object, key);
  });
  if (object.has("exact_match")) {
    const JsonObject match = object.object("exact_match");
    step.exact_match = {.value = number_of(match, "value"), .count = match.integer("count")};
    match.refuse_unread();
  }
  object.refuse_unread();
  return step;
}

/// Reads step after step, until `visit` wants no more. It is told where the step's line ends.
void for_each_step(const fs::path& file,
                   const std::function<bool(TrainingStep step, std::size_t end)>& visit) {
  const std::string text = read_file(file);
  std::int64_t number = 0;
  std::int64_t last = 0;
  for (std::size_t begin = 0, end; (end = text.find('\n', begin)) != std::string::npos;
       begin = end + 1) {
    const std::string place = fmt::format("{}:{}", file.string(), ++number);
    TrainingStep step = step_of(std::string_view(text).substr(begin, end - begin), place);
    require(step.step > last, "{}: step {} stands behind step {}; wanted ascending steps from 1",
            place, step.step, last);
    last = step.step;
    if (!visit(std::move(step), end + 1)) return;
  }
}

/// How many bytes of a log to keep.
std::uint64_t bytes_up_to(const fs::path& file, std::int64_t last_step) {
  std::uint64_t bytes = 0;
  if (last_step == 0 || !path_exists(file)) return bytes;
  for_each_step(file, [&](const TrainingStep& step, std::size_t end) {
    if (step.step <= last_step) bytes = end;
    return step.step < last_step;  // what a crash made of later lines is cut off unread
  });
  return bytes;
}

}  // namespace

std::string to_line(const TrainingStep& step) {
  json row = json::object();
  for_each_number(step, [&](const char* key, const auto& value) { row[key] = value; });
  row["losses"] = json::array();
  for (const SourceLoss& loss : step.losses) {
    row["losses"].push_back(
        {{"name", loss.name}, {"loss", loss.loss}, {"label_tokens", loss.label_tokens}});
  }
  for_each_optional(step, [&](const char* key, const std::optional<double>& value) {
    if (value) row[key] = *value;
  });
  if (step.exact_match) {
    row["exact_match"] = {{"value", step.exact_match->value}, {"count", step.exact_match->count}};
  }
  // A source may be named after a file, whose name may be of any bytes.
  return row.dump(-1, ' ', false, json::error_handler_t::replace);
}

std::vector<TrainingStep> read_training_steps(const fs::path& file) {
  std::vector<TrainingStep> steps;
  for_each_step(file, [&](TrainingStep step, std::size_t) {
    steps.push_back(std::move(step));
    return true;
  });
  return steps;
}

TrainingLog::TrainingLog(const fs::path& file, std::int64_t last_step)
    : last_step_(last_step), file_(file, bytes_up_to(file, last_step)) {}

void TrainingLog::append(const TrainingStep& step) {
  assume(step.step > last_step_, "steps are logged in order");
  file_.append(to_line(step) + "\n");
  last_step_ = step.step;
}

}  // namespace espalier
