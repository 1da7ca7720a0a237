// SPDX-License-Identifier: Apache-2.0
// `espalier synth` as a user runs it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "espalier/base/files.h"
#include "espalier/base/json.h"
#include "espalier/data/conversations.h"
#include "espalier/data/prompts.h"
#include "espalier/image/image.h"
#include "tests/support.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using test::CommandResult;
using test::run_espalier;
using testing::AllOf;
using testing::HasSubstr;

class SynthCommand : public testing::Test {
 protected:
  /// Runs it into a folder of that name; it must end well.
  json synth(const std::string& name, std::vector<std::string> options) {
    options.insert(options.begin(), {"synth", scratch_ / name});
    options.insert(options.end(), {"--quiet", "--json"});
    const CommandResult result = run_espalier(options);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    EXPECT_EQ(result.err, "");
    return json::parse(result.out);
  }

  [[nodiscard]] std::vector<json> rows(const std::string& file) const {
    std::vector<json> rows;
    std::istringstream lines(read_file(scratch_ / file));
    for (std::string line; std::getline(lines, line);) rows.push_back(json::parse(line));
    return rows;
  }

  void expect_refused(const std::vector<std::string>& arguments,
                      const std::vector<std::string>& parts) {
    const auto before = test::snapshot(scratch_.path());
    const CommandResult result = run_espalier(arguments);
    EXPECT_EQ(result.exit_code, 2) << result.err;
    for (const auto& part : parts) EXPECT_THAT(result.err, HasSubstr(part));
    EXPECT_EQ(result.out, "");
    EXPECT_EQ(test::snapshot(scratch_.path()), before);
  }

  const test::TemporaryDirectory scratch_;
};

TEST_F(SynthCommand, WritesPicturesWithThePapersPrompts) {
  const json result = synth("out", {"--count", "9", "--seed", "5"});
  EXPECT_EQ(result["pictures"], 18);
  EXPECT_EQ(result["conversations"], 99);
  std::map<std::string, std::string> prompts;
  for (const auto& domain : parse_prompts(paper_prompts(), "the paper's prompts")) {
    for (const auto& subtask : domain.subtasks) prompts[subtask.name] = subtask.prompt;
  }
  std::set<std::string> seen;
  for (const json& row : rows("out/conversations.jsonl")) {
    const auto source = row["source"].get<std::string>();
    const std::string subtask = source.substr(source.find('/') + 1);
    seen.insert(source);
    if (prompts.contains(subtask)) {
      EXPECT_EQ(row["messages"][0]["content"], "<image>" + prompts[subtask]);
    }
    const Image image = read_image(scratch_ / "out" / row["images"][0].get<std::string>());
    EXPECT_EQ(image.width * image.height, 4096);
    const auto [least, most] = std::ranges::minmax(image.rgb);
    EXPECT_GT(most - least, 60) << "blank: " << row["id"];
  }
  EXPECT_EQ(seen.size(), 11U);
}

TEST_F(SynthCommand, WritesWhatTrainingReads) {
  synth("out", {"--count", "4"});
  const auto conversations = read_conversations(scratch_ / "out/conversations.jsonl");
  ASSERT_EQ(conversations.size(), 44U);
  EXPECT_EQ(conversations[0].source, "math/cot");
  EXPECT_EQ(conversations[43].images,
            std::vector<fs::path>{scratch_ / "out/images/scenes/000003.png"});
  synth("text", {"--count", "4", "--domain", "math", "--text"});
  EXPECT_EQ(read_conversations(scratch_ / "text/conversations.jsonl").size(), 20U);
}

TEST_F(SynthCommand, GivesTheSameBytesForTheSameOptions) {
  const std::vector<std::string> options = {"--count", "12", "--split", "val", "--scale", "2"};
  synth("a", options);
  auto with_threads = options;
  with_threads.insert(with_threads.end(), {"--threads", "3"});
  synth("b", with_threads);
  // Without the bytes in the message, which no one can read.
  EXPECT_TRUE(test::snapshot(scratch_ / "a") == test::snapshot(scratch_ / "b"));
}

// Neither the system's choice of fonts nor a user's settings matter: these here are not even there.
TEST_F(SynthCommand, DoesNotAskTheSystemsSettingsOfFonts) {
  synth("a", {"--count", "5", "--domain", "math"});
  const CommandResult result = test::run_command(
      {"env", "FONTCONFIG_FILE=/nowhere", "HOME=/nowhere", std::string(ESPALIER_BIN) + "/espalier",
       "synth", (scratch_ / "b").string(), "--count", "5", "--domain", "math", "--quiet"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(result.err, "");
  EXPECT_TRUE(test::snapshot(scratch_ / "a") == test::snapshot(scratch_ / "b"));
}

// What is tested was not trained on: no unordered pair of two-digit summands is in both.
TEST_F(SynthCommand, TestsNoSumThatItTrains) {
  std::map<std::string, std::set<std::set<std::string>>> pairs;
  for (const std::string split : {"train", "val", "test"}) {
    synth(split, {"--domain", "math", "--text", "--count", "3000", "--split", split, "--kinds",
                  "two-digit-sum", "--subtasks", "formalize"});
    for (const json& row : rows(split + "/conversations.jsonl")) {
      const auto text = row["messages"][1]["content"].get<std::string>();  // "y = 38 + 25"
      pairs[split].insert({text.substr(4, 2), text.substr(9, 2)});
    }
  }
  EXPECT_GT(pairs["train"].size(), 1500U);
  EXPECT_GT(pairs["test"].size(), 300U);
  for (const auto& [a, b] : {std::pair("train", "val"), {"train", "test"}, {"val", "test"}}) {
    for (const auto& pair : pairs[a]) EXPECT_FALSE(pairs[b].contains(pair)) << *pair.begin();
  }
}

TEST_F(SynthCommand, SaysWhatItWrote) {
  const CommandResult result =
      run_espalier({"synth", scratch_ / "out", "--domain", "scenes", "--count", "3"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(result.out, "");
  EXPECT_THAT(result.err, AllOf(HasSubstr("3 of 3 pictures"), HasSubstr("18 conversations")));
}

TEST_F(SynthCommand, ReplacesAFolderOnlyWhenForced) {
  synth("out", {"--domain", "scenes", "--count", "2"});
  expect_refused({"synth", scratch_ / "out", "--domain", "scenes", "--count", "3"},
                 {"exists already", "--force"});
  synth("out", {"--domain", "scenes", "--count", "3", "--force"});
  EXPECT_EQ(rows("out/scenes.jsonl").size(), 3U);
}

TEST_F(SynthCommand, RefusesBadOptions) {
  const std::string out = scratch_ / "out";
  expect_refused({"synth", out}, {"--count"});
  expect_refused({"synth", out, "--count", "0"}, {"--count", "from 1"});
  expect_refused({"synth", out, "--count", "1", "--domain", "maths"}, {"--domain", "math, scenes"});
  expect_refused({"synth", out, "--count", "1", "--split", "dev"}, {"--split", "train, val"});
  expect_refused({"synth", out, "--count", "1", "--scale", "0"}, {"--scale"});
  expect_refused({"synth", out, "--count", "1", "--kinds", "sums"}, {"sums", "two-digit-sum"});
  expect_refused({"synth", out, "--count", "1", "--kinds", "table=0"}, {"table", "weight"});
  expect_refused({"synth", out, "--count", "1", "--subtasks", "cot,captoin"}, {"scenes"});
  expect_refused({"synth", out, "--count", "1", "--text"}, {"--text", "math"});
  expect_refused({"synth", out, "--count", "1", "--domain", "scenes", "--kinds", "table"},
                 {"--kinds"});
  expect_refused({"synth", scratch_ / "no/such", "--count", "1"}, {"no/such"});
}

TEST_F(SynthCommand, NamesThePackageOfAMissingTypeface) {
  fs::create_directory(scratch_ / "fonts");
  expect_refused({"synth", scratch_ / "out", "--count", "1", "--fonts", scratch_ / "fonts"},
                 {"DejaVuSans.ttf", "apt-get install fonts-dejavu-core"});
}

}  // namespace
}  // namespace espalier
