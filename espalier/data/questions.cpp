// SPDX-License-Identifier: Apache-2.0
#include "espalier/data/questions.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>
#include <utility>

#include "espalier/base/error.h"
#include "espalier/base/json.h"
#include "espalier/base/lines.h"
#include "espalier/base/random.h"
#include "espalier/base/words.h"
#include "espalier/data/domain_source.h"

namespace espalier {

namespace {

using nlohmann::json;

std::string text_at(const JsonObject& row, const char* key) {
  std::string text = row.string(key);
  require(!text.empty(), "{}: {}: wanted a text, found an empty one", row.place(), key);
  return text;
}

std::vector<std::string> answers_of(const JsonObject& row) {
  const json& value = row.at("answer");
  std::vector<std::string> answers;
  for (const json& answer : value.is_array() ? value : json::array({value})) {
    require(answer.is_string(), "{}: answer: wanted a text or a list of texts, found {}",
            row.place(), value.dump());
    answers.push_back(answer.get<std::string>());
    require(!answers.back().empty() && without_outer_space(answers.back()) == answers.back(),
            "{}: answer: {} can equal no answer: these have no outer white space and are not empty",
            row.place(), answer.dump());
  }
  require(!answers.empty(), "{}: answer: wanted at least one accepted answer", row.place());
  return answers;
}

AnswerMatch match_of(const JsonObject& row) {
  const std::string name = row.has("match") ? row.string("match") : "exact";
  require(name == "exact" || name == "final", "{}: {}", row.place(),
          unknown_word("match", name, {"exact", "final"}));
  return name == "exact" ? AnswerMatch::Exact : AnswerMatch::Final;
}

Question read_question(const json& value, const std::filesystem::path& folder,
                       const std::string& place) {
  const JsonObject row(value, place);
  Question question{.id = text_at(row, "id"),
                    .images = {},
                    .prompt = text_at(row, "prompt"),
                    .answers = answers_of(row),
                    .domain = text_at(row, "domain"),
                    .kind = text_at(row, "kind"),
                    .match = match_of(row),
                    .place = place};
  if (value.contains("image") || value.contains("images")) {
    for (const std::string& image : pictures_of_row(value, folder, place)) {
      question.images.push_back(folder / image);
    }
  }
  return question;
}

}  // namespace

std::vector<Question> read_questions(const std::filesystem::path& file) {
  std::vector<Question> questions;
  std::map<std::string, std::string> places;
  for_each_line(file, [&](std::string_view line, const std::string& place) {
    questions.push_back(read_question(parse_json(line, place), file.parent_path(), place));
    const auto [first, fresh] = places.emplace(questions.back().id, place);
    require(fresh, "{}: the id {} stands at {} already", place, questions.back().id, first->second);
  });
  require(!questions.empty(), "{}: no question in it", file.string());
  return questions;
}

std::vector<Question> draw_questions(std::vector<Question> questions, std::int64_t count,
                                     std::uint64_t seed, std::uint64_t stream) {
  const auto wanted = static_cast<std::size_t>(count);
  if (wanted >= questions.size()) return questions;
  std::vector<std::size_t> order(questions.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  Random random(seed, stream);
  for (std::size_t i = 0; i < wanted; ++i) {
    std::swap(order[i], order[i + random.below(order.size() - i)]);
  }
  order.resize(wanted);
  std::ranges::sort(order);
  std::vector<Question> drawn;
  for (const std::size_t i : order) drawn.push_back(std::move(questions[i]));
  return drawn;
}

QuestionFiles read_question_files(const std::vector<std::filesystem::path>& files,
                                  std::optional<std::int64_t> limit, std::uint64_t seed) {
  QuestionFiles read;
  std::map<std::string, std::string> places;
  for (std::size_t file = 0; file < files.size(); ++file) {
    std::vector<Question> questions = read_questions(files[file]);
    if (limit) questions = draw_questions(std::move(questions), *limit, seed, file);
    for (Question& question : questions) {
      const auto [first, fresh] = places.emplace(question.id, question.place);
      require(fresh, "{}: the id {} stands at {} already", question.place, question.id,
              first->second);
      read.questions.push_back(std::move(question));
    }
    read.ends.push_back(read.questions.size());
  }
  return read;
}

std::string_view without_outer_space(std::string_view text) {
  constexpr std::string_view kSpace = " \t\n\v\f\r";
  const std::size_t begin = text.find_first_not_of(kSpace);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpace) - begin + 1);
}

}  // namespace espalier
