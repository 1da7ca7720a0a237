// SPDX-License-Identifier: Apache-2.0
#include "espalier/records/scoreboard.h"

#include <gmock/gmock.h>

#include <functional>
#include <nlohmann/json.hpp>

#include "tests/support.h"

namespace espalier {
namespace {

using nlohmann::json;
using test::input_error;
using test::TemporaryDirectory;
using test::write_quickly;
using testing::AllOf;
using testing::HasSubstr;

/// A scoreboard that has every field set.
Scoreboard small_scoreboard() {
  return {
      .model = {"m", "Qwen3VLForConditionalGeneration", 6, 8},
      .plan =
          ScoredPlan{.base_fingerprint = "b", .criterion = "mixed", .budget = {1, 4}, .removed = 2},
      .adapter_fingerprint = "a",
      .training = ScoredTraining{.loss = "kd", .control = true, .steps = 12, .batch = 4},
      .questions = {{.file = "test.jsonl", .fingerprint = "q", .count = 3},
                    {.file = "more.jsonl", .fingerprint = "r", .count = 1}},
      .groups = {{"math", std::nullopt, 1, 3, 1.0 / 3.0, 0.06, 0.79},
                 {"math", "sum", 1, 2, 0.5, 0.09, 0.91},
                 {"math", "product", 0, 1, 0.0, 0.0, 0.79},
                 {"scenes", std::nullopt, 1, 1, 1.0, 0.21, 1.0},
                 {"scenes", "count", 1, 1, 1.0, 0.21, 1.0},
                 {std::nullopt, std::nullopt, 2, 4, 0.5, 0.15, 0.85}},
      .options = R"({"seed":0})"};
}

/// The error of reading a scoreboard that was changed.
std::string error_of(const std::function<void(json&)>& change) {
  const TemporaryDirectory folder;
  json document = json::parse(to_json_text(small_scoreboard()));
  change(document);
  write_quickly(folder / "s.json", document.dump());
  return input_error([&] { (void)read_scoreboard(folder / "s.json"); });
}

TEST(Scoreboard, IsReadBackAsItWasWritten) {
  const TemporaryDirectory folder;
  write_quickly(folder / "s.json", to_json_text(small_scoreboard()));
  EXPECT_EQ(read_scoreboard(folder / "s.json"), small_scoreboard());
  Scoreboard plain = small_scoreboard();
  plain.plan.reset();
  plain.training.reset();
  write_quickly(folder / "s.json", to_json_text(plain));
  EXPECT_EQ(read_scoreboard(folder / "s.json"), plain);
  plain.adapter_fingerprint.clear();
  write_quickly(folder / "s.json", to_json_text(plain));
  EXPECT_EQ(read_scoreboard(folder / "s.json"), plain);
  EXPECT_EQ(overall(plain).correct, 2);
}

TEST(ScoredTraining, IsWhatATrainingsRecordSays) {
  const TemporaryDirectory folder;
  const auto read = [&](const char* text) {
    write_quickly(folder / "training.json", text);
    return read_scored_training(folder / "training.json");
  };
  EXPECT_EQ(read(R"({"kind": "training", "complete": true, "results": {"steps": 7},
                     "options": {"loss": "sft", "control": false, "batch": 64, "seed": 1}})"),
            (ScoredTraining{.loss = "sft", .control = false, .steps = 7, .batch = 64}));
  EXPECT_THAT(input_error([&] { (void)read(R"({"kind": "training", "complete": false})"); }),
              HasSubstr("has not ended"));
  EXPECT_THAT(input_error([&] { (void)read(R"({"kind": "probe", "complete": true})"); }),
              HasSubstr("no training's record"));
}

TEST(Scoreboard, RefusesOneThatIsNotFinished) {
  const TemporaryDirectory folder;
  write_quickly(folder / "s.json", unfinished_header(small_scoreboard()));
  EXPECT_THAT(input_error([&] { (void)read_scoreboard(folder / "s.json"); }),
              AllOf(HasSubstr("s.json"), HasSubstr("has not ended")));
}

TEST(Scoreboard, RefusesAnotherKindOrSchema) {
  EXPECT_THAT(error_of([](json& it) { it["kind"] = "ranking"; }), HasSubstr("found ranking"));
  EXPECT_THAT(error_of([](json& it) { it["schema"] = 2; }), HasSubstr("schema: wanted 1, found 2"));
  EXPECT_THAT(error_of([](json& it) { it["surplus"] = 2; }), HasSubstr("surplus"));
  EXPECT_THAT(error_of([](json& it) { it.erase("model"); }), HasSubstr("model"));
}

TEST(Scoreboard, RefusesNumbersThatContradictEachOther) {
  EXPECT_THAT(error_of([](json& it) { it["groups"][1]["correct"] = 3; }),
              AllOf(HasSubstr("groups[1]"), HasSubstr("3 of 2")));
  EXPECT_THAT(error_of([](json& it) { it["groups"][1]["accuracy"] = 0.6; }),
              HasSubstr("wanted an accuracy of 0.5"));
  EXPECT_THAT(error_of([](json& it) { it["groups"][1]["high"] = 0.4; }), HasSubstr("interval"));
  EXPECT_THAT(error_of([](json& it) { it["groups"][2] = it["groups"][1]; }),
              HasSubstr("sum of math comes twice"));
  EXPECT_THAT(error_of([](json& it) { it["groups"].erase(4); }),
              AllOf(HasSubstr("scenes has 1 of 1"), HasSubstr("together 0 of 0")));
  EXPECT_THAT(error_of([](json& it) { it["groups"].erase(3); }), HasSubstr("has kinds"));
  EXPECT_THAT(error_of([](json& it) { it["groups"].erase(5); }), HasSubstr("over all questions"));
  EXPECT_THAT(error_of([](json& it) { it["groups"][1]["domain"] = nullptr; }),
              HasSubstr("a kind without a domain"));
  EXPECT_THAT(error_of([](json& it) { it["questions"][0]["count"] = 2; }),
              HasSubstr("3 questions were asked, but 4 are counted"));
  EXPECT_THAT(error_of([](json& it) { it["level"] = 95; }), HasSubstr("level"));
}

TEST(Predictions, AreReadBackAsTheyWereWritten) {
  const TemporaryDirectory folder;
  const std::vector<Prediction> predictions = {
      {.id = "1", .answer = "63\n\"\u00e9\"", .correct = true, .expected = {"63"}},
      {.id = "2", .answer = "", .correct = false, .expected = {"a", "b"}}};
  write_quickly(folder / "p.jsonl", to_json_line(predictions[0]) + to_json_line(predictions[1]));
  EXPECT_EQ(read_predictions(folder / "p.jsonl"), predictions);
}

TEST(Predictions, NameTheLineOfWhatIsWrong) {
  const TemporaryDirectory folder;
  const auto error_of_line = [&](const std::string& line) {
    write_quickly(folder / "p.jsonl", to_json_line({.id = "1"}) + line);
    return input_error([&] { (void)read_predictions(folder / "p.jsonl"); });
  };
  EXPECT_THAT(error_of_line("{"), HasSubstr("p.jsonl:2"));
  EXPECT_THAT(error_of_line(R"({"id": "2", "answer": "", "expected": []})"),
              AllOf(HasSubstr("p.jsonl:2"), HasSubstr("correct")));
  EXPECT_THAT(error_of_line(R"({"id": "2", "answer": "", "correct": true, "expected": "a"})"),
              AllOf(HasSubstr("p.jsonl:2"), HasSubstr("expected")));
}

}  // namespace
}  // namespace espalier
