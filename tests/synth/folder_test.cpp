// SPDX-License-Identifier: Apache-2.0
#include "espalier/synth/folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "espalier/base/json.h"
#include "tests/support.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;
using testing::SizeIs;

SynthOptions small_options() {
  SynthOptions options{.domains = {"math", "scenes"}, .count = 20};
  for (const auto& domain : options.domains) {
    for (const auto& subtask : prompted_subtasks_of(domain)) {
      options.prompts[domain + "/" + subtask] = "Do " + subtask + ".";
    }
  }
  return options;
}

SynthCounts write(const fs::path& folder, const SynthOptions& options) {
  OutputDirectory out(folder, /*force=*/false);
  const SynthCounts counts = write_synth(out, options);
  out.commit();
  return counts;
}

std::vector<json> rows_of(const fs::path& file) {
  std::vector<json> rows;
  std::istringstream lines(read_file(file));
  for (std::string line; std::getline(lines, line);) rows.push_back(json::parse(line));
  return rows;
}

TEST(SynthFolder, HasPicturesConversationsQuestionsAndSources) {
  const test::TemporaryDirectory folder;
  const SynthCounts counts = write(folder / "out", small_options());
  EXPECT_EQ(counts.pictures, 40U);
  EXPECT_EQ(counts.conversations, 20U * 5 + 20U * 6);
  EXPECT_EQ(counts.questions, 20U * 2 + 20U * 4);

  const auto conversations = rows_of(folder / "out/conversations.jsonl");
  ASSERT_THAT(conversations, SizeIs(220));
  EXPECT_EQ(conversations[0]["source"], "math/cot");
  EXPECT_EQ(conversations[0]["id"], "math-train-0-000000-cot");
  EXPECT_EQ(conversations[0]["images"], json({"images/math/000000.png"}));
  EXPECT_EQ(conversations[0]["messages"][0],
            (json{{"role", "user"}, {"content", "<image>Do cot."}}));
  EXPECT_EQ(conversations[0]["messages"][1]["role"], "assistant");
  EXPECT_EQ(conversations[219]["source"], "scenes/count-by-colour");

  const auto questions = rows_of(folder / "out/questions.jsonl");
  ASSERT_THAT(questions, SizeIs(120));
  EXPECT_EQ(questions[1]["id"], "math-train-0-000000-cot");
  EXPECT_EQ(questions[1]["match"], "final");
  EXPECT_EQ(questions[1]["prompt"], "Do cot.");
  EXPECT_EQ(questions[119]["kind"], "count by colour");

  for (const std::string domain : {"math", "scenes"}) {
    const auto sources = rows_of(folder / "out" / (domain + ".jsonl"));
    ASSERT_THAT(sources, SizeIs(20));
    for (const json& row : sources) {
      EXPECT_TRUE(fs::exists(folder / "out" / row["image"].get<std::string>()));
      EXPECT_TRUE(row["kind"].is_string());
    }
  }

  const json summary = read_json(folder / "out/synth.json");
  EXPECT_EQ(summary["kind"], "synth");
  EXPECT_EQ(summary["schema"], 1);
  EXPECT_EQ(summary["counts"]["pictures"], 40);
  EXPECT_EQ(summary["options"]["split"], "train");
  EXPECT_THAT(summary["faces"], SizeIs(7));
  std::uint64_t of_kinds = 0;
  for (const auto& [kind, number] : counts.kinds) of_kinds += number;
  EXPECT_EQ(of_kinds, 40U);
}

TEST(SynthFolder, HasTheSameBytesOnAnyNumberOfThreads) {
  const test::TemporaryDirectory folder;
  SynthOptions options = small_options();
  options.threads = 1;
  write(folder / "a", options);
  options.threads = 3;
  write(folder / "b", options);
  // Without the bytes in the message, which no one can read.
  EXPECT_TRUE(test::snapshot(folder / "a") == test::snapshot(folder / "b"));
  options.seed = 1;
  write(folder / "c", options);
  const auto before = test::snapshot(folder / "a");
  const auto after = test::snapshot(folder / "c");
  ASSERT_EQ(before.size(), after.size());
  for (std::size_t i = 0; i < before.size(); ++i) {
    if (fs::is_directory(folder / "a" / before[i].first)) continue;
    EXPECT_TRUE(before[i] != after[i]) << before[i].first;
  }
}

TEST(SynthFolder, HasNoPictureTwice) {
  const test::TemporaryDirectory folder;
  SynthOptions options = small_options();
  options.domains = {"math"};
  options.kinds = {{.kind = ProblemKind::OneDigitSum, .weight = 1}};
  options.count = 300;  // of 100 problems
  write(folder / "out", options);
  std::set<std::string> pictures;
  for (const auto& [name, bytes] : test::snapshot(folder / "out/images/math")) {
    pictures.insert(bytes);
  }
  EXPECT_EQ(pictures.size(), 300U);
}

TEST(SynthFolder, HoldsChosenSubtasksAndAllQuestions) {
  const test::TemporaryDirectory folder;
  SynthOptions options = small_options();
  options.subtasks = {"direct", "cot", "caption"};
  const SynthCounts counts = write(folder / "out", options);
  EXPECT_EQ(counts.conversations, 20U * 2 + 20U);
  EXPECT_EQ(counts.questions, 120U);
}

TEST(SynthFolder, HoldsTextAloneWhereThatIsAsked) {
  const test::TemporaryDirectory folder;
  SynthOptions options = small_options();
  options.domains = {"math"};
  options.text_only = true;
  options.font_folders = {folder.path()};  // no typefaces are needed
  const SynthCounts counts = write(folder / "out", options);
  EXPECT_EQ(counts.pictures, 0U);
  std::vector<std::string> names;
  for (const auto& [name, bytes] : test::snapshot(folder / "out")) names.push_back(name);
  EXPECT_EQ(names,
            (std::vector<std::string>{"conversations.jsonl", "questions.jsonl", "synth.json"}));
  for (const char* file : {"conversations.jsonl", "questions.jsonl"}) {
    for (const json& row : rows_of(folder / "out" / file)) {
      EXPECT_FALSE(row.contains("image") || row.contains("images"));
      EXPECT_EQ(row.dump().find("<image>"), std::string::npos);
    }
  }
}

TEST(SynthFolder, TellsHowFarItIs) {
  const test::TemporaryDirectory folder;
  SynthOptions options = small_options();
  std::vector<std::pair<std::uint64_t, std::uint64_t>> calls;
  options.progress = [&](std::uint64_t done, std::uint64_t all) { calls.emplace_back(done, all); };
  write(folder / "out", options);
  EXPECT_EQ(calls, (std::vector<std::pair<std::uint64_t, std::uint64_t>>{{20, 40}, {40, 40}}));
}

TEST(SynthFolder, RefusesOptionsThatDoNotFit) {
  const test::TemporaryDirectory folder;
  const auto refused = [&](const std::function<void(SynthOptions&)>& change) {
    SynthOptions options = small_options();
    change(options);
    std::string message = test::input_error([&] { write(folder / "out", options); });
    EXPECT_TRUE(fs::is_empty(folder.path()));
    return message;
  };
  EXPECT_THAT(refused([](auto& o) { o.subtasks = {"direkt"}; }), HasSubstr("--subtasks"));
  EXPECT_THAT(refused([](auto& o) {
                o.subtasks = {"direct", "cot"};
              }),
              AllOf(HasSubstr("scenes"), HasSubstr("caption")));
  EXPECT_THAT(refused([](auto& o) {
                o.subtasks = {"direct", "caption", "direkt"};
              }),
              AllOf(HasSubstr("direkt"), HasSubstr("did you mean direct")));
  EXPECT_THAT(refused([](auto& o) { o.text_only = true; }), HasSubstr("--text"));
  EXPECT_THAT(refused([](auto& o) {
                o.domains = {"math"};
                o.text_only = true;
                o.scale = 2;
              }),
              HasSubstr("--scale"));
  EXPECT_THAT(refused([](auto& o) {
                o.domains = {"scenes"};
                o.kinds = parse_kinds("table");
              }),
              HasSubstr("--kinds"));
  EXPECT_THAT(refused([](auto& o) { o.prompts.erase("math/cot"); }), HasSubstr("math/cot"));
  EXPECT_THAT(refused([](auto& o) { o.count = 0; }), HasSubstr("at least one picture"));
  EXPECT_THAT(refused([&](auto& o) { o.font_folders = {folder / "no"}; }),
              HasSubstr("apt-get install"));
}

TEST(SynthFolder, SaysThatTheDiskIsFullAndLeavesNothing) {
  const test::TemporaryDirectory folder;
  const test::SmallDisk disk(folder / "disk", "size=200k");
  if (!disk.mounted()) GTEST_SKIP() << "only root may mount a small disk";
  SynthOptions options = small_options();
  options.count = 200;
  EXPECT_THAT(test::input_error([&] { write(disk.path() / "out", options); }),
              AllOf(HasSubstr("No space left"), HasSubstr("free some space")));
  EXPECT_TRUE(fs::is_empty(disk.path()));
}

TEST(ParseKinds, ReadsNamesAndWeights) {
  EXPECT_EQ(parse_kinds("two-digit-sum,unknown=3"),
            (std::vector<KindWeight>{{.kind = ProblemKind::TwoDigitSum, .weight = 1},
                                     {.kind = ProblemKind::Unknown, .weight = 3}}));
  for (const char* bad : {"", "table,", "table=0", "table=x", "table=1001", "table=", "table=-1"}) {
    EXPECT_NE(test::input_error([&] { parse_kinds(bad); }), "") << bad;
  }
  EXPECT_THAT(test::input_error([] { parse_kinds("table,table=2"); }), HasSubstr("twice"));
  EXPECT_THAT(test::input_error([] { parse_kinds("tabel"); }), HasSubstr("did you mean table"));
}

}  // namespace
}  // namespace espalier
