// SPDX-License-Identifier: Apache-2.0
// What `espalier finetune` refuses, and what is on the disk afterwards.
#include <gmock/gmock.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "espalier/base/files.h"
#include "espalier/base/safetensors.h"
#include "tests/cli/finetune_fixture.h"
#include "tests/support.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using test::comes;
using test::CommandResult;
using test::kRows;
using test::Process;
using test::Words;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

class FinetuneRefusals : public test::FinetuneBase {};

TEST_F(FinetuneRefusals, RefusesATeacherThatTheModelWasNotPrunedFrom) {
  const auto with = [&](const std::string& teacher, const std::string& model) {
    return command("out", {"--teacher", teacher, "--loss", "kd"}, model);
  };
  EXPECT_THAT(refused(with(test::fixture("models/gqa_tied"), "model")),
              AllOf(HasSubstr("gqa_tied"), HasSubstr("hidden_size is 48, the student's 64")));
  run({"prune", path("model"), "--layers", "2", "--quiet", "--out", path("pruned")});
  init("stranger", "1");
  EXPECT_THAT(refused(with(path("stranger"), "pruned")), HasSubstr("was pruned from the model"));
  EXPECT_THAT(refused(with(path("pruned"), "model")), HasSubstr("it has 5 layers, the student 6"));
}

// --- Bad data

TEST_F(FinetuneRefusals, NamesTheRowThatCannotBeUsed) {
  const auto with = [&](const std::string& row) {
    test::write_quickly(scratch_ / "bad.jsonl", std::string(kRows) + row + "\n");
    return refused(command("out", {"--data", path("bad.jsonl")}));
  };
  EXPECT_THAT(with("{\"messages\": ["), HasSubstr("bad.jsonl:9: "));
  EXPECT_THAT(with(R"({"text": "no conversation"})"),
              AllOf(HasSubstr("bad.jsonl:9: "), HasSubstr("found neither")));
  EXPECT_THAT(
      with(R"({"messages": [{"role": "robot", "content": "Hi"}]})"),
      AllOf(HasSubstr("bad.jsonl:9: messages[0]"), HasSubstr("robot"), HasSubstr("assistant")));
  EXPECT_THAT(with(R"({"messages": [{"role": "user", "content": "<image>?"}, )"
                   R"({"role": "assistant", "content": "Hi"}], "images": ["gone.png"]})"),
              AllOf(HasSubstr("bad.jsonl:9: "), HasSubstr("gone.png does not exist")));
  EXPECT_THAT(with(R"({"messages": [{"role": "user", "content": "Hi"}]})"),
              AllOf(HasSubstr("bad.jsonl:9: "), HasSubstr("no message of the assistant's")));
  EXPECT_THAT(with(R"({"messages": [{"role": "user", "content": "Hi"}, )"
                   R"({"role": "assistant", "content": "Ho", "loss": false}]})"),
              AllOf(HasSubstr("bad.jsonl:9: "), HasSubstr("no message of the assistant's")));
  EXPECT_THAT(refused(command("out", {"--val", path("bad.jsonl")})), HasSubstr("bad.jsonl:9: "));
  EXPECT_THAT(refused(command("out", {"--data", path("none.jsonl")})), HasSubstr("none.jsonl"));
}

TEST_F(FinetuneRefusals, LeavesBadRowsOutIfToldTo) {
  test::write_quickly(scratch_ / "bad.jsonl", std::string("{\"messages\": 3}\n") + kRows);
  Words words = command("run", {"--data", path("bad.jsonl"), "--skip-bad", "--steps", "1"});
  std::erase(words, "--quiet");
  const CommandResult result = run(words);
  EXPECT_THAT(result.err, AllOf(HasSubstr("left out: "), HasSubstr("bad.jsonl:1: "),
                                HasSubstr("8 samples (9 read, 0 too long, 1 bad)")));
  EXPECT_EQ(record("run")["data"]["dropped_bad"], 1);
}

TEST_F(FinetuneRefusals, LeavesLongSamplesOutAndCountsThemOrRefusesThem) {
  const json row = {{"messages",
                     {{{"role", "user"}, {"content", std::string(400, 'x')}},
                      {{"role", "assistant"}, {"content", "Long."}}}}};
  test::write_quickly(scratch_ / "long.jsonl", kRows + row.dump() + "\n");
  const Words more = {"--data", path("long.jsonl"), "--max-length", "300", "--steps", "1"};
  Words words = command("run", more);
  std::erase(words, "--quiet");
  EXPECT_THAT(run(words).err,
              AllOf(HasSubstr("long.jsonl:9: the sample has 4"), HasSubstr("the limit is 300"),
                    HasSubstr("8 samples (9 read, 1 too long, 0 bad)")));
  EXPECT_EQ(record("run")["data"]["dropped_long"], 1);
  Words strict = command("out", more);
  strict.insert(strict.end(), {"--long-samples", "error"});
  EXPECT_THAT(refused(strict),
              AllOf(HasSubstr("long.jsonl:9: the sample has 4"), HasSubstr("the limit is 300")));
  EXPECT_THAT(refused(command("out", {"--max-length", "3"})),
              HasSubstr("no sample to train on is left of 8 rows: 8 were too long"));
}

TEST_F(FinetuneRefusals, APictureThatIsBrokenBehindItsHeaderStopsTheRunByName) {
  std::string picture = read_file(path("a.png"));
  picture.replace(picture.size() / 2, 8, "scratch!");
  test::write_quickly(path("a.png"), picture);
  const CommandResult result = test::run_espalier(command("run"));
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.err, AllOf(HasSubstr("train.jsonl:"), HasSubstr("a.png")));
  EXPECT_EQ(record("run")["complete"], false);
  EXPECT_FALSE(fs::exists(path("run/adapter_model.safetensors")));
}

// --- Folders

TEST_F(FinetuneRefusals, TouchesNoFolderThatIsNotItsOwn) {
  fs::create_directory(path("photos"));
  test::write_quickly(path("photos/kept.txt"), "already here");
  EXPECT_THAT(refused(command("photos")), HasSubstr("photos exists and holds no training"));
  EXPECT_THAT(refused(command("photos", {"--force"})), HasSubstr("holds no training"));
  EXPECT_THAT(refused(command("train.jsonl")), HasSubstr("train.jsonl"));
  EXPECT_THAT(refused(command("model")), HasSubstr("model exists and holds no training"));
}

TEST_F(FinetuneRefusals, ReplacesAFinishedRunOnlyIfToldTo) {
  const Words words = command("run", {"--steps", "2"});
  run(words);
  EXPECT_THAT(refused(words),
              AllOf(HasSubstr("run holds a finished training"), HasSubstr("--force")));
  const std::string before = adapter("run");
  run(command("run", {"--steps", "1", "--force"}));
  EXPECT_EQ(steps("run").size(), 1U);
  EXPECT_EQ(event_files("run"), 1);
  EXPECT_FALSE(adapter("run") == before);
  test::write_quickly(path("run/notes.txt"), "mine");
  EXPECT_THAT(refused(command("run", {"--force"})), HasSubstr("notes.txt"));
}

TEST_F(FinetuneRefusals, GoesOnWithNoOtherRunAndBesideNoOther) {
  const Words words = command("run", {"--epochs", "50", "--save-every", "0"});
  {
    Process process(words);
    ASSERT_TRUE(comes([&] { return fs::exists(path("run/checkpoint.safetensors")); }));
    const CommandResult beside = test::run_espalier(words);
    EXPECT_EQ(beside.exit_code, 2);
    EXPECT_THAT(beside.err, HasSubstr("another training is at work"));
    ASSERT_TRUE(process.kill()) << "it ended too soon for this test";
  }
  const auto other = [&](const Words& more) {
    Words all = {"--epochs", "50"};
    all.insert(all.end(), more.begin(), more.end());
    return refused(command("run", all));
  };
  EXPECT_THAT(other({"--learning-rate", "2e-3", "--lora-rank", "8"}),
              AllOf(HasSubstr("run holds the beginning of another training"),
                    HasSubstr("learning_rate"), HasSubstr("lora"), Not(HasSubstr("batch"))));
  init("stranger", "1");
  EXPECT_THAT(refused(command("run", {"--epochs", "50"}, "stranger")), HasSubstr("model"));
  test::write_quickly(scratch_ / "train.jsonl", std::string(kRows) + kRows);
  EXPECT_THAT(other({}), HasSubstr("data"));
  test::write_quickly(scratch_ / "train.jsonl", kRows);
  // A checkpoint that is cut says so too.
  fs::resize_file(path("run/checkpoint.safetensors"), 1000);
  const CommandResult cut = test::run_espalier(words);
  EXPECT_EQ(cut.exit_code, 2);
  EXPECT_THAT(cut.err, HasSubstr("run/checkpoint.safetensors"));
}

TEST_F(FinetuneRefusals, OnAFullDiskTheFormerCheckpointStaysAndTheRunGoesOnWhenThereIsRoom) {
  const test::SmallDisk disk(scratch_ / "disk", "size=1200k");
  if (!disk.mounted()) GTEST_SKIP() << "needs the right to mount";
  // Rank 4 of 6 layers: 29,184 numbers, so that a checkpoint has 3 x 4 x 29,184 = 350 kB; the disk
  // then holds one and no second.
  test::write_quickly(disk.path() / "ballast", std::string(600 << 10, 'x'));
  const Words words = command("disk/run", {"--lora-rank", "4", "--save-every", "0"});
  run(command("whole", {"--lora-rank", "4"}));
  const CommandResult full = test::run_espalier(words);
  EXPECT_EQ(full.exit_code, 2);
  EXPECT_THAT(full.err, AllOf(HasSubstr("checkpoint.safetensors"), HasSubstr("No space left")));
  {
    const SafetensorsFile saved(disk.path() / "run/checkpoint.safetensors");
    EXPECT_EQ(saved.metadata().at("step"), "1");
  }
  for (const auto& entry : fs::directory_iterator(disk.path() / "run")) {
    EXPECT_NE(entry.path().extension(), ".partial");
  }
  fs::remove(disk.path() / "ballast");
  run(words);
  EXPECT_TRUE(adapter("disk/run") == adapter("whole"));
  EXPECT_EQ(steps("disk/run"), steps("whole"));
}

TEST_F(FinetuneRefusals, SaysBeforeTheFirstStepThatTheCheckpointCannotBeWritten) {
  fs::create_directory(path("photos"));
  test::write_quickly(path("photos/kept.txt"), "already here");
  EXPECT_THAT(refused(command("out", {"--merge-to", path("photos")})),
              HasSubstr("photos: exists already"));
  EXPECT_THAT(refused(command("out", {"--merge-to", path("model")})), HasSubstr("is the base"));
  EXPECT_THAT(refused(command("out", {"--merge-to", path("out")})), HasSubstr("is --out"));
  EXPECT_THAT(refused(command("out", {"--merge-to", path("nowhere/healed")})),
              HasSubstr("nowhere"));
}

// --- Bad options and bad numbers

TEST_F(FinetuneRefusals, RefusesOptionsThatDoNotGoTogether) {
  const std::string model = path("model");
  const std::vector<std::pair<Words, const char*>> cases = {
      {{"--loss", "kd"}, "--loss kd needs a --teacher"},
      {{"--control"}, "--control trains the --teacher"},
      {{"--teacher", model}, "--teacher with --loss sft teaches nothing"},
      {{"--temperature", "2"}, "belong to --loss kd"},
      {{"--kd-share", "0.5"}, "belong to --loss kd"},
      {{"--kd-top-k", "5"}, "belong to --loss kd"},
      {{"--teacher", model, "--loss", "kd", "--hidden-weight", "1"}, "belong to --loss kd+hidden"},
      {{"--teacher", model, "--loss", "kd", "--balance"}, "belong to --loss kd+hidden"},
      {{"--teacher", model, "--loss", "kd", "--kd-share", "0"}, "--kd-share"},
      {{"--teacher", model, "--loss", "kd", "--temperature", "0"}, "--temperature"},
      {{"--train", "all"}, "--train all makes no adapter: give --merge-to"},
      {{"--train", "all", "--lora-rank", "4"}, "belong to --train lora"},
      {{"--train", "decoder", "--lora-targets", "q_proj"}, "belong to --train lora"},
      {{"--train", "lora,vision"}, "adapters are trained alone"},
      {{"--train", "visoin", "--merge-to", path("to")}, "vision"},
      {{"--train", "lora:6"}, "layers 0 to 5"},
      {{"--lora-targets", "q_porj"}, "q_proj"},
      {{"--lora-rank", "0"}, "--lora-rank"},
      {{"--lora-dropout", "1"}, "--lora-dropout"},
      {{"--lora-alpha=-1"}, "--lora-alpha: wanted a number above 0, found -1"},
      {{"--muon-rate", "0.1"}, "--muon-rate belongs to --optimizer muon"},
      {{"--learning-rate=-1"}, "--learning-rate: wanted a number from 0, found -1"},
      {{"--learning-rate", "nan"}, "--learning-rate"},
      {{"--weight-decay=-0.1"}, "--weight-decay"},
      {{"--clip=-1"}, "--clip"},
      {{"--save-every=-1"}, "--save-every"},
      {{"--warmup", "1.5"}, "--warmup: wanted a share from 0 to 1"},
      {{"--floor=-0.5"}, "--floor"},
      {{"--beta1", "1"}, "--beta1"},
      {{"--beta2", "2"}, "--beta2"},
      {{"--batch", "0"}, "--batch"},
      {{"--steps", "0"}, "--steps"},
      {{"--schedule", "linear"}, "cosine"}};
  for (const auto& [more, part] : cases) {
    // With `=` it is another word than the one that stands there already.
    Words words = command("out", more);
    if (more.front().starts_with("--learning-rate=")) {
      const auto old = std::ranges::find(words, "--learning-rate");
      words.erase(old, old + 2);
    }
    EXPECT_THAT(refused(words), HasSubstr(part)) << testing::PrintToString(more);
  }
}

TEST_F(FinetuneRefusals, StopsAtALossThatIsNoNumber) {
  const Words more = {"--learning-rate", "1e30", "--clip", "0", "--save-every"};
  const auto run_into_it = [&](const std::string& out, const std::string& save_every) {
    Words all = more;
    all.push_back(save_every);
    const CommandResult result = test::run_espalier(command(out, all));
    EXPECT_EQ(result.exit_code, 1) << result.err;
    EXPECT_THAT(result.err, AllOf(HasSubstr("step 2: the loss is not finite"),
                                  HasSubstr("its 2 samples begin with " + path("train.jsonl:"))));
    EXPECT_EQ(record(out)["complete"], false);
    EXPECT_EQ(steps(out).size(), 1U);
    EXPECT_FALSE(fs::exists(path(out) + "/adapter_model.safetensors"));
    return result.err;
  };
  EXPECT_THAT(run_into_it("saved", "0"),
              HasSubstr("the last good checkpoint is " + path("saved/checkpoint.safetensors")));
  EXPECT_EQ(SafetensorsFile(path("saved/checkpoint.safetensors")).metadata().at("step"), "1");
  EXPECT_THAT(run_into_it("unsaved", "60"), HasSubstr("no checkpoint was saved before"));
}

}  // namespace
}  // namespace espalier
