// SPDX-License-Identifier: Apache-2.0
// `espalier eval` on a small checkpoint.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "espalier/base/files.h"
#include "espalier/base/hash.h"
#include "espalier/base/random.h"
#include "espalier/records/scoreboard.h"
#include "tests/support.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using test::CommandResult;
using test::write_quickly;
using testing::AllOf;
using testing::HasSubstr;

class EvalCommand : public testing::Test {
 protected:
  EvalCommand() {
    for (const char* name : {"exif1.jpg", "exif6.png"}) {
      fs::copy_file(test::fixture("images") / name, scratch_ / name);
    }
    std::string rows;
    for (int i = 0; i < 24; ++i) {
      json row = {{"id", std::to_string(i)},
                  {"prompt", "Question " + std::to_string(i)},
                  {"answer", "63"},
                  {"domain", i % 2 == 0 ? "math" : "scenes"},
                  {"kind", "k"}};
      if (i % 3 == 0) row["image"] = i % 2 == 0 ? "exif1.jpg" : "exif6.png";
      rows += row.dump() + "\n";
    }
    write_quickly(scratch_ / "questions.jsonl", rows);
  }

  static std::string model() { return test::fixture("models/sharded_bf16"); }

  [[nodiscard]] std::vector<std::string> command(const std::string& out) const {
    return {"eval",
            model(),
            "--questions",
            scratch_ / "questions.jsonl",
            "--batch",
            "4",
            "--max-new-tokens",
            "12",
            "--quiet",
            "--threads",
            "1",
            "--out",
            scratch_ / out};
  }

  [[nodiscard]] CommandResult run(const std::string& out,
                                  const std::vector<std::string>& more = {}) const {
    auto arguments = command(out);
    arguments.insert(arguments.end(), more.begin(), more.end());
    return test::run_espalier(arguments);
  }

  /// The error of a command that must end with exit code 2 and leave nothing at `out`.
  [[nodiscard]] std::string refused(const std::vector<std::string>& more) const {
    const CommandResult result = run("out", more);
    EXPECT_EQ(result.exit_code, 2) << result.err;
    EXPECT_EQ(result.out, "");
    EXPECT_FALSE(fs::exists(scratch_ / "out"));
    return result.err;
  }

  const test::TemporaryDirectory scratch_;
};

TEST_F(EvalCommand, WritesAnswersAndScoreboardAndPrintsTheTable) {
  const CommandResult result = run("eval");
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.err, "");
  EXPECT_THAT(result.out, AllOf(HasSubstr("domain"), HasSubstr("right/asked"), HasSubstr("0/12"),
                                HasSubstr("0/24     0.00%   0.00 to 13.80")));
  const Scoreboard scoreboard = read_scoreboard(scratch_ / "eval/scoreboard.json");
  EXPECT_EQ(scoreboard.questions.front().file, "questions.jsonl");
  EXPECT_EQ(scoreboard.groups.size(), 5U);
  const auto predictions = read_predictions(scratch_ / "eval/predictions.jsonl");
  ASSERT_EQ(predictions.size(), 24U);
  EXPECT_EQ(predictions[7].id, "7");
  EXPECT_EQ(test::snapshot(scratch_ / "eval").size(), 2U);
}

TEST_F(EvalCommand, KilledAtAnyMomentEndsWithTheSameBytes) {
  using std::chrono::steady_clock;
  const auto start = steady_clock::now();
  ASSERT_EQ(run("whole").exit_code, 0);
  const auto whole = test::snapshot(scratch_ / "whole");
  const auto duration =
      std::chrono::duration_cast<std::chrono::milliseconds>(steady_clock::now() - start);
  Random random(7);
  int killed = 0;
  for (int moment = 0; moment < 10; ++moment) {
    auto arguments = command("killed");
    arguments.emplace_back("--force");
    const std::chrono::milliseconds after(
        random.below(static_cast<std::uint64_t>(duration.count()) + 1));
    killed += test::run_and_kill(arguments, after) ? 1 : 0;
    // The same command goes on, or finds that the kill came too late.
    const CommandResult again = run("killed");
    ASSERT_TRUE(again.exit_code == 0 || again.err.find("finished evaluation") != std::string::npos)
        << again.err << "after " << after.count() << " ms";
    ASSERT_TRUE(test::snapshot(scratch_ / "killed") == whole) << "after " << after.count() << " ms";
  }
  EXPECT_GT(killed, 0);
}

std::string sha256(std::string_view text) {
  Sha256 hash;
  hash.update(text);
  return hash.finish();
}

TEST_F(EvalCommand, TakesUpWhatAFormerRunAnswered) {
  ASSERT_EQ(run("eval").exit_code, 0);
  const auto whole = test::snapshot(scratch_ / "eval");
  // As a kill leaves it: five answers, of which one is of a batch that was not finished, and a line
  // that was cut short.
  auto unfinished = json::parse(read_file(scratch_ / "eval/scoreboard.json"));
  unfinished["complete"] = false;
  unfinished.erase("groups");
  const std::string header = unfinished.dump(1) + "\n";
  auto predictions = read_predictions(scratch_ / "eval/predictions.jsonl");
  predictions[1].answer = "from the journal";
  predictions[4].answer = "asked again";
  fs::remove(scratch_ / "eval/predictions.jsonl");
  write_quickly(scratch_ / "eval/scoreboard.json", header);
  fs::create_directory(scratch_ / "eval/journal");
  std::string journal = json({{"job", sha256(header)}}).dump() + "\n";
  for (std::size_t i = 0; i < 5; ++i) journal += to_json_line(predictions[i]);
  write_quickly(scratch_ / "eval/journal/predictions.jsonl", journal + "{\"answ");
  ASSERT_EQ(run("eval").exit_code, 0);
  auto found = read_predictions(scratch_ / "eval/predictions.jsonl");
  ASSERT_EQ(found.size(), 24U);
  EXPECT_EQ(found[1].answer, "from the journal");
  EXPECT_NE(found[4].answer, "asked again");
  EXPECT_EQ(test::snapshot(scratch_ / "eval").size(), whole.size());
}

TEST_F(EvalCommand, GoesOnWithNoOtherRun) {
  ASSERT_EQ(run("eval").exit_code, 0);
  auto unfinished = json::parse(read_file(scratch_ / "eval/scoreboard.json"));
  unfinished["complete"] = false;
  unfinished.erase("groups");
  write_quickly(scratch_ / "eval/scoreboard.json", unfinished.dump(1) + "\n");
  const CommandResult other = run("eval", {"--seed", "4"});
  EXPECT_EQ(other.exit_code, 2);
  EXPECT_THAT(other.err, AllOf(HasSubstr("beginning of another evaluation"), HasSubstr("seed")));
  EXPECT_EQ(run("eval").exit_code, 0);
}

TEST_F(EvalCommand, ReplacesNothingWithoutForce) {
  ASSERT_EQ(run("eval").exit_code, 0);
  const auto before = test::snapshot(scratch_ / "eval");
  const CommandResult again = run("eval");
  EXPECT_EQ(again.exit_code, 2);
  EXPECT_THAT(again.err, HasSubstr("finished evaluation"));
  EXPECT_EQ(test::snapshot(scratch_ / "eval"), before);
  EXPECT_EQ(run("eval", {"--force"}).exit_code, 0);
  EXPECT_EQ(test::snapshot(scratch_ / "eval"), before);
}

TEST_F(EvalCommand, ComparesWithAnotherEvaluation) {
  ASSERT_EQ(run("first").exit_code, 0);
  const std::string first = scratch_ / "first";
  // The other one was right about two questions of math.
  auto predictions = read_predictions(first + "/predictions.jsonl");
  std::string lines;
  for (std::size_t i = 0; i < predictions.size(); ++i) {
    predictions[i].correct = i == 0 || i == 2;
    lines += to_json_line(predictions[i]);
  }
  write_quickly(first + "/predictions.jsonl", lines);
  const CommandResult table = run("second", {"--against", first});
  ASSERT_EQ(table.exit_code, 0) << table.err;
  EXPECT_THAT(table.out, AllOf(HasSubstr("against " + first), HasSubstr("-16.67")));
  const CommandResult result = run("second", {"--against", first, "--force", "--json"});
  const json differences = json::parse(result.out).at("against").at("differences");
  EXPECT_EQ(differences[0].at("lost"), 2);
  EXPECT_EQ(differences[0].at("gained"), 0);
  EXPECT_DOUBLE_EQ(differences[0].at("difference"), -2.0 / 12.0);
  EXPECT_DOUBLE_EQ(differences[0].at("p"), 0.5);  // two-sided, 2 of 2: 2 / 4
  EXPECT_EQ(differences[2].at("difference"), 0.0);
}

TEST_F(EvalCommand, ComparesOnlyOverTheSameQuestions) {
  ASSERT_EQ(run("first", {"--limit", "5"}).exit_code, 0);
  EXPECT_THAT(refused({"--against", scratch_ / "first"}), HasSubstr("answered other questions"));
  EXPECT_THAT(refused({"--against", scratch_ / "nowhere"}), HasSubstr("nowhere"));
}

TEST_F(EvalCommand, TakesAPlanAndSaysHowItsModelWasPruned) {
  const std::string plan = scratch_ / "two.plan.json";
  ASSERT_EQ(test::run_espalier(
                {"prune", model(), "--layers", "1", "--map-only", "--quiet", "--out", plan})
                .exit_code,
            0);
  auto arguments = command("eval");
  arguments[1] = plan;
  const CommandResult result = test::run_espalier(arguments);
  ASSERT_EQ(result.exit_code, 0) << result.err;
  ASSERT_EQ(run("base").exit_code, 0);
  const Scoreboard pruned = read_scoreboard(scratch_ / "eval/scoreboard.json");
  const Scoreboard base = read_scoreboard(scratch_ / "base/scoreboard.json");
  ASSERT_TRUE(pruned.plan.has_value());
  EXPECT_EQ(pruned.plan->base_fingerprint, base.model.fingerprint);
  EXPECT_EQ(pruned.plan->removed, 1);
  EXPECT_EQ(pruned.model.num_layers, base.model.num_layers - 1);
  EXPECT_FALSE(base.plan.has_value());
}

TEST_F(EvalCommand, WritesTheScoresIntoTheModelCard) {
  const std::string pruned = scratch_ / "pruned";
  ASSERT_EQ(
      test::run_espalier({"prune", model(), "--layers", "1", "--quiet", "--out", pruned}).exit_code,
      0);
  ASSERT_EQ(run("base").exit_code, 0);
  auto arguments = command("eval");
  arguments[1] = pruned;
  arguments.insert(arguments.end(), {"--update-card", "--against", scratch_ / "base"});
  const CommandResult result = test::run_espalier(arguments);
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const Scoreboard scoreboard = read_scoreboard(scratch_ / "eval/scoreboard.json");
  EXPECT_THAT(read_file(scratch_ / "pruned/README.md"),
              AllOf(HasSubstr("| math | 0 | 12 | 0.00 |"), HasSubstr("| before, % |"),
                    HasSubstr(scoreboard.model.fingerprint)));
  // The list of checksums still holds.
  EXPECT_EQ(test::run_espalier({"verify", pruned, "--against", model(), "--quiet"}).exit_code, 0);
  // The test's own model has no card, and a shuffle says nothing of a model.
  EXPECT_THAT(refused({"--update-card"}), HasSubstr("no card"));
  arguments.back() = scratch_ / "base";
  arguments[std::ranges::find(arguments, std::string(scratch_ / "eval")) - arguments.begin()] =
      scratch_ / "out";
  arguments.push_back("--shuffle-pictures");
  EXPECT_EQ(test::run_espalier(arguments).exit_code, 2);
}

/// A model with its adapter, and what it was merged to, are one model.
TEST_F(EvalCommand, AnswersWithAnAdapterAsTheMergedModelDoes) {
  std::string rows;
  for (int i = 0; i < 4; ++i) {
    rows += R"({"messages": [{"role": "user", "content": "Question )" + std::to_string(i) +
            R"("}, {"role": "assistant", "content": "63"}]})"
            "\n";
  }
  write_quickly(scratch_ / "train.jsonl", rows);
  const CommandResult trained = test::run_espalier({"finetune",        model(),
                                                    "--data",          scratch_ / "train.jsonl",
                                                    "--batch",         "4",
                                                    "--steps",         "20",
                                                    "--learning-rate", "1e-2",
                                                    "--lora-dropout",  "0",
                                                    "--dtype",         "float32",
                                                    "--threads",       "1",
                                                    "--out",           scratch_ / "adapter",
                                                    "--merge-to",      scratch_ / "merged",
                                                    "--quiet"});
  ASSERT_EQ(trained.exit_code, 0) << trained.err;
  const std::vector<std::string> wide = {"--dtype", "float32", "--limit", "8"};
  auto with_adapter = wide;
  with_adapter.insert(with_adapter.end(), {"--adapter", scratch_ / "adapter"});
  ASSERT_EQ(run("with", with_adapter).exit_code, 0);
  ASSERT_EQ(run("without", wide).exit_code, 0);
  auto merged = command("merged-eval");
  merged[1] = scratch_ / "merged";
  merged.insert(merged.end(), wide.begin(), wide.end());
  ASSERT_EQ(test::run_espalier(merged).exit_code, 0);
  const auto answers = [&](const char* out) {
    return read_file(scratch_ / out / "predictions.jsonl");
  };
  EXPECT_EQ(answers("with"), answers("merged-eval"));
  EXPECT_NE(answers("with"), answers("without"));
  const Scoreboard scoreboard = read_scoreboard(scratch_ / "with/scoreboard.json");
  EXPECT_EQ(scoreboard.adapter_fingerprint.size(), 64U);
  EXPECT_EQ(scoreboard.training, (ScoredTraining{.loss = "sft", .steps = 20, .batch = 4}));
  EXPECT_THAT(refused({"--adapter", scratch_ / "merged"}), HasSubstr("no adapter here"));
}

TEST_F(EvalCommand, ShufflesPictures) {
  ASSERT_EQ(run("plain").exit_code, 0);
  EXPECT_EQ(run("shuffled", {"--shuffle-pictures", "--against", scratch_ / "plain"}).exit_code, 2)
      << "the two pictures have different sizes";
  fs::copy_file(test::fixture("images") / "exif6.png", scratch_ / "exif1.jpg",
                fs::copy_options::overwrite_existing);
  ASSERT_EQ(run("plain", {"--force"}).exit_code, 0);
  const CommandResult result =
      run("shuffled", {"--shuffle-pictures", "--against", scratch_ / "plain"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
}

TEST_F(EvalCommand, OnAFullDiskSaysSoAndCanGoOn) {
  const test::SmallDisk disk(scratch_ / "disk", "size=12k");
  if (!disk.mounted()) GTEST_SKIP() << "needs the right to mount";
  auto arguments = command("disk/eval");
  std::ranges::replace(arguments, "12", "100");  // longer answers
  const CommandResult result = test::run_espalier(arguments);
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.err, HasSubstr("No space left on device"));
  EXPECT_THAT(read_file(disk.path() / "eval/scoreboard.json"), HasSubstr("\"complete\": false"));
}

TEST_F(EvalCommand, RefusesBadInputAndWritesNothing) {
  const std::string good = read_file(scratch_ / "questions.jsonl");
  const auto rows = [&](const std::string& text) {
    write_quickly(scratch_ / "questions.jsonl", text);
  };
  rows("");
  EXPECT_THAT(refused({}), HasSubstr("no question"));
  rows(good + "{}\n");
  EXPECT_THAT(refused({}), HasSubstr("questions.jsonl:25"));
  rows(good);
  EXPECT_THAT(refused({"--questions", scratch_ / "questions.jsonl"}),
              HasSubstr("the id 0 stands at"));
  EXPECT_THAT(refused({"--questions", scratch_ / "nowhere.jsonl"}), HasSubstr("nowhere.jsonl"));
  EXPECT_THAT(refused({"--limit", "0"}), HasSubstr("--limit"));
  EXPECT_THAT(refused({"--dtype", "float16"}), HasSubstr("--dtype"));
  write_quickly(scratch_ / "exif1.jpg", "no picture");
  EXPECT_THAT(refused({}), AllOf(HasSubstr("4 of 24 questions"), HasSubstr("questions.jsonl:1")));
  fs::remove(scratch_ / "exif1.jpg");
  EXPECT_THAT(refused({}), AllOf(HasSubstr("exif1.jpg"), HasSubstr("does not exist")));
  fs::copy_file(test::fixture("images") / "exif1.jpg", scratch_ / "exif1.jpg");
  const CommandResult longer =
      test::run_espalier({"eval", model(), "--questions", scratch_ / "questions.jsonl", "--out",
                          scratch_ / "out", "--max-new-tokens", "1000000"});
  EXPECT_EQ(longer.exit_code, 2);
  EXPECT_THAT(longer.err, AllOf(HasSubstr("24 of 24 questions"), HasSubstr("positions")));
  EXPECT_FALSE(fs::exists(scratch_ / "out"));
}

}  // namespace
}  // namespace espalier
