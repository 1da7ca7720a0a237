// SPDX-License-Identifier: Apache-2.0
// `espalier prune` and `espalier verify` as a user runs them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "espalier/base/files.h"
#include "espalier/checkpoint/model_directory.h"
#include "espalier/records/ranking.h"
#include "tests/support.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using test::CommandResult;
using test::SmallDisk;
using test::TemporaryDirectory;
using test::write_quickly;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

/// A checkpoint of six layers, and a place for what is made of it.
class PruneCommand : public testing::Test {
 protected:
  PruneCommand() {
    test::run_espalier({"init", model_, "--preset", "tiny", "--quiet"});
    fs::create_directory(out_);
  }

  CommandResult prune(std::vector<std::string> options) {
    options.insert(options.begin(), {"prune", model_});
    return test::run_espalier(options);
  }

  CommandResult verify(const fs::path& pruned, std::vector<std::string> options = {}) {
    options.insert(options.begin(), {"verify", pruned, "--against", model_});
    return test::run_espalier(options);
  }

  /// Runs prune and checks how it fails. \param parts what the message must name
  void expect_refused(std::vector<std::string> options, const std::vector<std::string>& parts) {
    const auto before = test::snapshot(scratch_.path());
    const CommandResult result = prune(std::move(options));
    EXPECT_EQ(result.exit_code, 2) << result.err;
    EXPECT_EQ(result.out, "");
    for (const auto& part : parts) EXPECT_THAT(result.err, HasSubstr(part));
    EXPECT_EQ(test::snapshot(scratch_.path()), before);
  }

  const TemporaryDirectory scratch_;
  const fs::path model_ = scratch_ / "model";
  const fs::path out_ = scratch_ / "out";
};

/// The ids that a model answers greedily.
json answer_of(const fs::path& model, std::vector<std::string> options = {}) {
  options.insert(options.begin(),
                 {"generate", model, "--prompt", "Hi", "--greedy", "--json", "--max-new-tokens",
                  "8", "--image", test::fixture("models/gqa_tied/tall.png")});
  const CommandResult result = test::run_espalier(options);
  EXPECT_EQ(result.exit_code, 0) << result.err;
  return json::parse(result.out).at("ids");
}

TEST_F(PruneCommand, WritesADirectoryThatVerifies) {
  const CommandResult result = prune({"--layers", "2,4", "--out", out_ / "p"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, AllOf(HasSubstr("removes       2 of 6 layers: 2, 4\n"),
                                HasSubstr("keeps         4: 0-1, 3, 5\n"), HasSubstr("914.3 k"),
                                HasSubstr("DeepStack")));
  EXPECT_THAT(result.err, HasSubstr("next: espalier verify"));
  EXPECT_EQ(test::run_espalier({"inspect", out_ / "p"}).exit_code, 0);
  const CommandResult verified = verify(out_ / "p");
  EXPECT_EQ(verified.exit_code, 0) << verified.out;
  EXPECT_THAT(verified.out, AllOf(HasSubstr("checksums"), HasSubstr("logits of the picture prompt"),
                                  HasSubstr("bit for bit"), Not(HasSubstr("FAILED"))));
}

TEST_F(PruneCommand, AnnouncesAShiftOnlyWhereThereIsOne) {
  EXPECT_THAT(prune({"--layers", "3-4", "--dry-run"}).out, Not(HasSubstr("DeepStack")));
  EXPECT_THAT(prune({"--layers", "1", "--dry-run"}).out, HasSubstr("--protect 0-2 avoids that"));
}

TEST_F(PruneCommand, SaysThePlanAsJson) {
  const CommandResult result =
      prune({"--layers", "3", "--out", out_ / "p", "--json", "--quiet", "--base-name", "Qwen/X"});
  EXPECT_EQ(result.err, "");
  const auto plan = json::parse(result.out);
  EXPECT_EQ(plan.at("removed"), json({3}));
  EXPECT_EQ(plan.at("base").at("name"), "Qwen/X");
  EXPECT_EQ(plan.at("not_copied"), json::array());
  EXPECT_EQ(plan.at("out"), (out_ / "p").string());
}

TEST_F(PruneCommand, CallsTheBaseByItsDirectoryOrItsPlaceInACache) {
  const auto base_name = [](const fs::path& model) {
    const CommandResult result =
        test::run_espalier({"prune", model, "--layers", "3", "--dry-run", "--json", "--quiet"});
    return json::parse(result.out).at("base").at("name").get<std::string>();
  };
  EXPECT_EQ(base_name(model_), "model");
  EXPECT_EQ(base_name(model_ / ""), "model");
  const fs::path snapshots = scratch_ / "models--Qwen--Qwen3-VL-2B/snapshots";
  fs::create_directories(snapshots);
  fs::copy(model_, snapshots / "0123abc");
  EXPECT_EQ(base_name(snapshots / "0123abc"), "Qwen/Qwen3-VL-2B");
}

TEST_F(PruneCommand, ADryRunWritesNothing) {
  const auto before = test::snapshot(scratch_.path());
  const CommandResult result = prune({"--layers", "3", "--dry-run"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.out, HasSubstr("removes"));
  EXPECT_EQ(test::snapshot(scratch_.path()), before);
}

TEST_F(PruneCommand, APlanIsAModelOfEveryCommand) {
  const fs::path plan = out_ / "plan.json";
  ASSERT_EQ(prune({"--layers", "1,3", "--map-only", "--out", plan}).exit_code, 0);
  ASSERT_EQ(prune({"--layers", "1,3", "--out", out_ / "p"}).exit_code, 0);
  EXPECT_EQ(answer_of(plan), answer_of(out_ / "p"));
  EXPECT_EQ(verify(plan).exit_code, 0);
  const auto inspect = [](const fs::path& model) {
    return json::parse(test::run_espalier({"inspect", model, "--json"}).out);
  };
  EXPECT_EQ(inspect(plan).at("fingerprint"), inspect(out_ / "p").at("fingerprint"));
  EXPECT_EQ(inspect(plan).at("weight_bytes"), inspect(out_ / "p").at("weight_bytes"));
  const CommandResult trace = test::run_espalier(
      {"trace", plan, "--prompt", "Hi", "--out", out_ / "t.safetensors", "--quiet"});
  EXPECT_EQ(trace.exit_code, 0) << trace.err;
  // Pruned once more, with the numbers of the first model beside its own.
  const CommandResult again =
      test::run_espalier({"prune", plan, "--layers", "1", "--out", out_ / "again"});
  EXPECT_EQ(again.exit_code, 0) << again.err;
  EXPECT_THAT(again.out, HasSubstr("originally    removes 2; keeps 0, 4-5 of 6 layers of model"));
  EXPECT_EQ(test::run_espalier({"verify", out_ / "again", "--against", plan}).exit_code, 0);
}

TEST_F(PruneCommand, APlanFindsABaseThatMovedWithItOrIsNamed) {
  const fs::path plan = out_ / "plan.json";
  ASSERT_EQ(prune({"--layers", "1", "--map-only", "--out", plan}).exit_code, 0);
  const json ids = answer_of(plan);
  const TemporaryDirectory elsewhere;
  fs::rename(model_, scratch_ / "moved");
  const CommandResult lost = test::run_espalier({"generate", plan, "--prompt", "Hi"});
  EXPECT_EQ(lost.exit_code, 2);
  EXPECT_THAT(lost.err, AllOf(HasSubstr("plan.json"), HasSubstr("--base DIR")));
  EXPECT_EQ(answer_of(plan, {"--base", scratch_ / "moved"}), ids);
  // What it is held against is its base, wherever that lies.
  EXPECT_EQ(test::run_espalier({"verify", plan, "--against", scratch_ / "moved"}).exit_code, 0);
  fs::copy(scratch_ / "moved", elsewhere / "model");
  fs::create_directory(elsewhere / "out");
  fs::copy(plan, elsewhere / "out/plan.json");
  EXPECT_EQ(answer_of(elsewhere / "out/plan.json"), ids);
}

/// A ranking of that model: of the prunable 1 2 3 4 first 3, then 4, 1, 2.
Ranking ranking_of(const fs::path& model) {
  const std::optional<double> none;
  return {.probe_fingerprint = std::string(64, 'e'),
          .domains = {{.name = "math", .samples = 5000}},
          .model = {.fingerprint = fingerprint(open_model_directory(model)),
                    .architecture = "Qwen3VLForConditionalGeneration",
                    .num_layers = 6,
                    .hidden_size = 64},
          .prunable = {1, 2, 3, 4},
          .protected_layers = {0, 5},
          .criteria = {{.name = "mixed",
                        .parameters = "{}",
                        .scores = {none, 0.2, 0.1, 0.9, 0.5, none},
                        .order = {3, 4, 1, 2}}},
          .options = "{}"};
}

TEST_F(PruneCommand, RemovesWhatARankingSays) {
  const fs::path file = out_ / "ranking.json";
  const Ranking ranking = ranking_of(model_);
  write_ranking(file, ranking, /*force=*/false);
  const CommandResult result = prune({"--ranking", file, "--budget", "50%", "--out", out_ / "p"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, AllOf(HasSubstr("removes       2 of 6 layers: 3-4"),
                                HasSubstr("chosen        by mixed, rule topk, budget 50%")));
  const Plan plan = read_plan(out_ / "p/espalier.json");
  EXPECT_EQ(plan.ranking_fingerprint, fingerprint(ranking));
  EXPECT_THAT(read_file(out_ / "p/README.md"),
              AllOf(HasSubstr("Domain `math`: 5000 samples"), HasSubstr(plan.ranking_fingerprint),
                    HasSubstr("--criterion mixed --rule topk --budget 50%")));
  EXPECT_EQ(verify(out_ / "p").exit_code, 0);
  EXPECT_THAT(prune({"--ranking", file, "--remove", "1", "--protect", "3", "--dry-run"}).out,
              HasSubstr("removes       1 of 6 layers: 4\n"));
}

TEST_F(PruneCommand, RefusesARankingThatDoesNotFit) {
  const fs::path file = scratch_ / "ranking.json";
  const std::string out = out_ / "p";
  Ranking ranking = ranking_of(model_);
  write_ranking(file, ranking, /*force=*/false);
  expect_refused({"--ranking", file, "--out", out}, {"wanted --budget or --remove, found neither"});
  expect_refused({"--ranking", file, "--budget", "1%", "--out", out}, {"removes none of 4"});
  expect_refused({"--ranking", file, "--budget", "100%", "--out", out}, {"less than all"});
  expect_refused({"--ranking", file, "--remove", "0", "--out", out}, {"--remove"});
  expect_refused({"--ranking", file, "--remove", "5", "--out", out}, {"only 4 layers"});
  expect_refused({"--ranking", file, "--criterion", "mixt", "--remove", "1", "--out", out},
                 {"unknown criterion mixt", "mixed"});
  expect_refused({"--ranking", file, "--rule", "topp", "--remove", "1", "--out", out},
                 {"unknown rule topp", "topk"});
  expect_refused({"--ranking", scratch_ / "none.json", "--remove", "1", "--out", out},
                 {"none.json"});
  ranking.model.fingerprint = std::string(64, 'f');
  write_ranking(file, ranking, /*force=*/true);
  expect_refused({"--ranking", file, "--remove", "1", "--out", out},
                 {"ranking of another model", "probe and rank this one"});
}

TEST_F(PruneCommand, RefusesLayersThatCannotGo) {
  const std::string out = out_ / "p";
  expect_refused({"--layers", "0", "--out", out}, {"layer 0 is protected", "reads the embeddings"});
  expect_refused({"--layers", "3,5", "--out", out}, {"layer 5 is protected"});
  expect_refused({"--layers", "6", "--out", out}, {"layers from 0 to 5, found 6"});
  expect_refused({"--layers", "3,2-4", "--out", out}, {"found 3 twice"});
  expect_refused({"--layers", "x", "--out", out}, {"--layers: wanted layers such as 3,7-9"});
  expect_refused({"--layers", "1,3", "--protect", "1-2", "--out", out},
                 {"layer 1 is protected", "--protect"});
  expect_refused({"--layers", "3", "--protect", "9", "--out", out}, {"--protect: layer 9"});
}

TEST_F(PruneCommand, RefusesOptionsThatDoNotFit) {
  const std::string out = out_ / "p";
  expect_refused({"--out", out}, {"wanted --ranking or --layers, found neither"});
  expect_refused({"--layers", "3", "--ranking", "r.json", "--out", out}, {"found both"});
  expect_refused({"--layers", "3"}, {"--out is required"});
  expect_refused({"--layers", "3", "--dry-run", "--out", out}, {"leave --out out"});
  expect_refused({"--layers", "3", "--budget", "25%", "--out", out}, {"--layers and --budget"});
  expect_refused({"--layers", "3", "--rule", "topk", "--out", out}, {"--layers and --rule"});
  expect_refused({"--layers", "3", "--map-only", "--out", out}, {"ends in .json"});
  expect_refused({"--layers", "3", "--map-only", "--shard-size", "5GB", "--out", out + ".json"},
                 {"leave --shard-size out"});
  expect_refused({"--layers", "3", "--shard-size", "5 elephants", "--out", out},
                 {"--shard-size: wanted a size such as", "found 5 elephants"});
  expect_refused({"--layers", "3", "--base", model_, "--out", out}, {"--base is for a plan file"});
}

TEST_F(PruneCommand, RefusesAQuantizedModel) {
  json config = json::parse(read_file(model_ / "config.json"));
  config["quantization_config"] = {{"quant_method", "awq"}};
  write_quickly(model_ / "config.json", config.dump());
  expect_refused({"--layers", "3", "--out", out_ / "p"},
                 {"quantization_config", "use the checkpoint that they were made from"});
}

TEST_F(PruneCommand, RefusesAnOutputThatExists) {
  write_quickly(out_ / "kept.txt", "already here");
  write_quickly(out_ / "plan.json", "precious");
  expect_refused({"--layers", "3", "--out", out_}, {"exists", "--force"});
  expect_refused({"--layers", "3", "--map-only", "--out", out_ / "plan.json"}, {"exists"});
  expect_refused({"--layers", "3", "--out", model_, "--force"}, {"in it or around it"});
  EXPECT_EQ(prune({"--layers", "3", "--out", out_, "--force"}).exit_code, 0);
  EXPECT_FALSE(fs::exists(out_ / "kept.txt"));
}

TEST_F(PruneCommand, AFullOrReadOnlyDiskLeavesNothingBehind) {
  const SmallDisk disk(out_, "size=1m");
  if (!disk.mounted()) GTEST_SKIP() << "needs the right to mount a small disk";
  expect_refused({"--layers", "3", "--out", out_ / "p"}, {"No space left"});
  EXPECT_TRUE(test::snapshot(out_).empty());
  ASSERT_TRUE(disk.make_read_only());
  expect_refused({"--layers", "3", "--out", out_ / "p"}, {"Read-only"});
}

TEST_F(PruneCommand, VerifyFailsWithOneOnWhatItFinds) {
  ASSERT_EQ(prune({"--layers", "3", "--out", out_ / "p"}).exit_code, 0);
  std::string bytes = read_file(out_ / "p/model.safetensors");
  bytes[bytes.size() / 2] ^= 1;
  write_quickly(out_ / "p/model.safetensors", bytes);
  const CommandResult result = verify(out_ / "p");
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.out, AllOf(HasSubstr("checksums                     FAILED\n"),
                                HasSubstr("model.safetensors: wanted SHA-256"),
                                HasSubstr("other bytes than the base's")));
  EXPECT_THAT(result.err, HasSubstr("without those layers"));
  const auto report = json::parse(verify(out_ / "p", {"--json"}).out);
  EXPECT_EQ(report.at("ok"), false);
  EXPECT_EQ(report.at("checks").at(0).at("ok"), true);  // the base is the right one
}

TEST_F(PruneCommand, VerifyReportsFilesThatCannotBeOpened) {
  ASSERT_EQ(prune({"--layers", "3", "--out", out_ / "p"}).exit_code, 0);
  fs::copy_file(model_ / "config.json", out_ / "p/config.json",
                fs::copy_options::overwrite_existing);
  const CommandResult result = verify(out_ / "p");
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.out,
              AllOf(HasSubstr("num_hidden_layers: wanted 5, found 6"), HasSubstr("not run: ")));
}

TEST_F(PruneCommand, VerifyAgainstAnotherModelFailsAtOnce) {
  ASSERT_EQ(prune({"--layers", "3", "--out", out_ / "p"}).exit_code, 0);
  fs::remove_all(model_);
  test::run_espalier({"init", model_, "--preset", "tiny", "--seed", "9", "--quiet"});
  const CommandResult result = verify(out_ / "p");
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.out, HasSubstr("another model"));
}

TEST_F(PruneCommand, VerifyWantsAPrunedDirectory) {
  const CommandResult result = verify(model_);
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.err, HasSubstr("wanted a directory that espalier prune wrote"));
  EXPECT_THAT(verify(model_, {"--update-card"}).err, HasSubstr("--time"));
}

TEST_F(PruneCommand, VerifyWritesTheSpeedIntoTheCard) {
  ASSERT_EQ(prune({"--layers", "3", "--out", out_ / "p"}).exit_code, 0);
  const CommandResult result =
      verify(out_ / "p", {"--time", "--update-card", "--dtype", "float32"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("tokens a second"));
  EXPECT_THAT(read_file(out_ / "p/README.md"),
              AllOf(HasSubstr("seconds to the first token"), HasSubstr("cpu, float32")));
  EXPECT_EQ(verify(out_ / "p").exit_code, 0);  // the card's checksum is the new one
}

}  // namespace
}  // namespace espalier
