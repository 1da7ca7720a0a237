// SPDX-License-Identifier: Apache-2.0
// `espalier finetune` as a user runs it, kills it and runs it again.
#include <gmock/gmock.h>

#include <chrono>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <regex>
#include <thread>

#include "espalier/base/files.h"
#include "espalier/base/random.h"
#include "espalier/base/safetensors.h"
#include "espalier/records/training_record.h"
#include "tests/cli/finetune_fixture.h"
#include "tests/support.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using std::chrono::milliseconds;
using std::chrono::steady_clock;
using test::comes;
using test::CommandResult;
using test::Process;
using test::Words;
using testing::HasSubstr;
using testing::Not;

class FinetuneCommand : public test::FinetuneBase {};

// --- What comes out

TEST_F(FinetuneCommand, WritesTheAdapterItsRecordAndItsLogs) {
  const CommandResult result =
      run(command("run", {"--json", "--val", path("train.jsonl"), "--validate-every", "3"}));
  const json found = record("run");
  EXPECT_EQ(json::parse(result.out), found);
  EXPECT_EQ(found["complete"], true);
  EXPECT_EQ(found["options"]["lora"]["rank"], 32);
  EXPECT_EQ(found["options"]["lora"]["alpha"], 64.0);
  EXPECT_EQ(found["options"]["lora"]["dropout"], 0.05);
  EXPECT_EQ(found["data"]["samples"], 8);
  EXPECT_EQ(found["results"]["steps"], 8);
  const auto logged = steps("run");
  ASSERT_EQ(logged.size(), 8U);
  EXPECT_EQ(logged[0].samples, 2);
  EXPECT_EQ(logged[7].epoch, 2.0);
  // Half a cosine from the first step on: 1e-3 (1 + cos(pi / 2)) / 2 at the middle.
  EXPECT_DOUBLE_EQ(logged[0].learning_rate, 1e-3);
  EXPECT_NEAR(logged[4].learning_rate, 0.5e-3, 1e-12);
  for (const std::size_t step : {0U, 1U, 3U, 4U, 6U}) EXPECT_FALSE(logged[step].validation_loss);
  for (const std::size_t step : {2U, 5U, 7U}) EXPECT_TRUE(logged[step].validation_loss);
  EXPECT_LT(*logged[7].validation_loss, *logged[2].validation_loss);
  EXPECT_EQ(found["results"]["loss"], logged[7].loss);
  std::int64_t tokens = 0;
  for (const TrainingStep& step : logged) tokens += step.tokens;
  EXPECT_EQ(found["results"]["tokens"], tokens);
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(scratch_ / "run")) {
    const std::string name = entry.path().filename();
    names.push_back(name.starts_with("events.out.tfevents.") ? "events" : name);
  }
  EXPECT_THAT(names,
              testing::UnorderedElementsAre("adapter_config.json", "adapter_model.safetensors",
                                            "events", "steps.jsonl", "training.json"));
}

TEST_F(FinetuneCommand, NamesTheAdaptersTensorsAsPeftDoes) {
  run(command("run", {"--steps", "1", "--lora-rank", "4"}));
  const SafetensorsFile file(scratch_ / "run/adapter_model.safetensors");
  std::map<std::string, std::vector<std::int64_t>> expected;
  // Width 64; 4 query and 2 key heads of 32; inner width 128.
  const std::vector<std::tuple<const char*, std::int64_t, std::int64_t>> products = {
      {"self_attn.q_proj", 64, 128}, {"self_attn.k_proj", 64, 64}, {"self_attn.v_proj", 64, 64},
      {"self_attn.o_proj", 128, 64}, {"mlp.gate_proj", 64, 128},   {"mlp.up_proj", 64, 128},
      {"mlp.down_proj", 128, 64}};
  for (int layer = 0; layer < 6; ++layer) {
    for (const auto& [product, in, out] : products) {
      const std::string name =
          "base_model.model.model.language_model.layers." + std::to_string(layer) + "." + product;
      expected[name + ".lora_A.weight"] = {4, in};
      expected[name + ".lora_B.weight"] = {out, 4};
    }
  }
  std::map<std::string, std::vector<std::int64_t>> found;
  for (const auto& [name, info] : file.tensors()) {
    EXPECT_EQ(info.dtype, DType::F32);
    found[name] = info.shape;
  }
  EXPECT_EQ(found, expected);
  EXPECT_EQ(file.metadata().at("format"), "pt");
  const json config = json::parse(read_file(scratch_ / "run/adapter_config.json"));
  EXPECT_EQ(config["peft_type"], "LORA");
  EXPECT_EQ(config["r"], 4);
  EXPECT_EQ(config["lora_alpha"], 64.0);
  EXPECT_EQ(config["base_model_name_or_path"], path("model"));
  EXPECT_EQ(config["layers_to_transform"], nullptr);
}

TEST_F(FinetuneCommand, PutsAdaptersOnTheLayersAndProductsThatAreNamed) {
  run(command("run",
              {"--steps", "1", "--train", "lora:1,4", "--lora-targets", "q_proj,down_proj"}));
  const SafetensorsFile file(scratch_ / "run/adapter_model.safetensors");
  EXPECT_EQ(file.tensors().size(), 8U);
  EXPECT_TRUE(file.tensors().contains(
      "base_model.model.model.language_model.layers.4.mlp.down_proj.lora_B.weight"));
  const json config = json::parse(read_file(scratch_ / "run/adapter_config.json"));
  EXPECT_EQ(config["target_modules"], (Words{"q_proj", "down_proj"}));
  EXPECT_EQ(config["layers_to_transform"], (std::vector<int>{1, 4}));
}

TEST_F(FinetuneCommand, LearnsFromWhatSynthDraws) {
  run({"synth", path("drawn"), "--count", "2", "--quiet"});
  run(command("run", {"--data", path("drawn/conversations.jsonl"), "--batch", "11", "--steps", "4",
                      "--learning-rate", "1e-2"}));
  const auto logged = steps("run");
  EXPECT_LT(logged[3].loss, logged[0].loss - 0.1);
  EXPECT_THAT(logged[0].losses.front().name,
              testing::AnyOf(HasSubstr("math/"), HasSubstr("scenes/")));
}

// --- Killed and run again

TEST_F(FinetuneCommand, KilledAtAnyMomentEndsWithTheSameBits) {
  const auto start = steady_clock::now();
  run(command("whole", {"--lora-rank", "4"}));
  const auto duration = std::chrono::duration_cast<milliseconds>(steady_clock::now() - start);
  const auto whole = steps("whole");
  const Words words = command("killed", {"--lora-rank", "4", "--save-every", "0"});
  Random random(11);
  int killed = 0;
  for (int round = 0; round < 4; ++round) {
    fs::remove_all(path("killed"));
    for (int moment = 0; moment < 3; ++moment) {
      Process process(words);
      const auto most = static_cast<std::uint64_t>(duration.count());
      std::this_thread::sleep_for(milliseconds(random.below(most + 1)));
      killed += process.kill() ? 1 : 0;
    }
    // The same command goes on, or finds that the kill came too late.
    const CommandResult again = test::run_espalier(words);
    ASSERT_TRUE(again.exit_code == 0 || again.err.find("finished training") != std::string::npos)
        << again.err;
    ASSERT_TRUE(adapter("killed") == adapter("whole")) << "round " << round;
    ASSERT_EQ(steps("killed"), whole) << "round " << round;
    ASSERT_EQ(record("killed")["results"]["loss"], whole.back().loss);
    ASSERT_FALSE(fs::exists(path("killed/checkpoint.safetensors")));
  }
  EXPECT_GT(killed, 0);
}

TEST_F(FinetuneCommand, TakenUpSeveralTimesInASecondNoFileOfEventsIsInTheWay) {
  const Words words = command("run", {"--steps", "2", "--lora-rank", "4"});
  for (int files = 1; files <= 4; ++files) {
    Process process(words);
    ASSERT_TRUE(comes([&] { return fs::exists(path("run")) && event_files("run") == files; }));
    process.kill();
  }
  const CommandResult again = test::run_espalier(words);
  EXPECT_THAT(again.err, Not(HasSubstr("exists already")));
  EXPECT_EQ(record("run")["complete"], true);
}

TEST_F(FinetuneCommand, FullTrainingKilledAtAnyMomentEndsWithTheSameBits) {
  const auto words = [&](const std::string& name, const std::string& save_every) {
    return command(
        name, {"--train", "all", "--save-every", save_every, "--merge-to", path(name + "-model")});
  };
  const auto start = steady_clock::now();
  run(words("whole", "60"));
  const auto duration = std::chrono::duration_cast<milliseconds>(steady_clock::now() - start);
  EXPECT_FALSE(fs::exists(path("whole/adapter_model.safetensors")));
  Random random(12);
  int killed = 0;
  for (int moment = 0; moment < 4; ++moment) {
    fs::remove_all(path("killed"));
    fs::remove_all(path("killed-model"));
    Process process(words("killed", "0"));
    std::this_thread::sleep_for(
        milliseconds(random.below(static_cast<std::uint64_t>(duration.count()) + 1)));
    killed += process.kill() ? 1 : 0;
    const CommandResult again = test::run_espalier(words("killed", "0"));
    ASSERT_TRUE(again.exit_code == 0 || again.err.find("finished training") != std::string::npos)
        << again.err;
    ASSERT_TRUE(test::snapshot(path("killed-model")) == test::snapshot(path("whole-model")));
    ASSERT_EQ(steps("killed"), steps("whole"));
  }
  EXPECT_GT(killed, 0);
  // It is a whole checkpoint that differs from what it was trained from.
  EXPECT_NE(read_file(path("whole-model/model.safetensors")),
            read_file(path("model/model.safetensors")));
  run({"inspect", path("whole-model")});
}

TEST_F(FinetuneCommand, BehindTheLastStepTheSameCommandDoesTheRestAlone) {
  fs::create_directory(path("elsewhere"));
  const Words words = command("run", {"--lora-rank", "4", "--epochs", "4", "--save-every", "0",
                                      "--merge-to", path("elsewhere/healed")});
  {
    Process process(words);
    ASSERT_TRUE(comes([&] { return fs::exists(path("run/checkpoint.safetensors")); }));
    fs::remove(path("elsewhere"));
    ASSERT_EQ(process.wait(), 2) << "it ended too soon for this test";
  }
  EXPECT_EQ(record("run")["complete"], false);
  const auto before = steps("run");
  ASSERT_EQ(before.size(), 16U);
  const std::string last = read_file(path("run/checkpoint.safetensors"));
  const json begun = record("run");

  fs::create_directory(path("elsewhere"));
  run(words);
  EXPECT_EQ(steps("run"), before);
  const json ended = record("run");
  EXPECT_EQ(ended["results"]["loss"], before.back().loss);
  EXPECT_GT(ended["results"]["tokens"], 0);

  // As if it had been killed with the checkpoint written and all but said to be complete.
  const auto healed = test::snapshot(path("elsewhere"));
  test::write_quickly(path("run/checkpoint.safetensors"), last);
  test::write_quickly(path("run/training.json"), begun.dump());
  run(words);
  EXPECT_EQ(record("run")["results"]["loss"], ended["results"]["loss"]);
  EXPECT_TRUE(test::snapshot(path("elsewhere")) == healed);
}

TEST_F(FinetuneCommand, ThreadsMemoryAndCadencesDoNotChangeABit) {
  run(command("run", {"--steps", "3"}));
  const auto within = [&](const std::string& memory) {
    return command("other", {"--steps", "3", "--save-every", "0.05", "--validate-every", "2",
                             "--val", path("train.jsonl"), "--memory", memory});
  };
  const std::string error = refused(within("1MB"));
  EXPECT_THAT(error, HasSubstr("--memory: 1.0 MB are too little"));
  // With the least that it names, every layer runs again.
  const std::string marker = "at least ";
  const std::size_t begin = error.find(marker) + marker.size();
  Words least = within(error.substr(begin, error.find(' ', begin) - begin) + "MB");
  std::erase(least, "--quiet");
  EXPECT_THAT(run(least).err, HasSubstr("; 0 of 6 layers keep"));
  EXPECT_TRUE(adapter("run") == adapter("other"));
  run(command("threads", {"--steps", "3", "--threads", "2"}));
  EXPECT_TRUE(adapter("run") == adapter("threads"));
  run(command("third", {"--steps", "3", "--seed", "1"}));
  EXPECT_FALSE(adapter("run") == adapter("third"));
}

/// Each worker sums the gradients of its own packs: what a pack adds to once, as an adapter, comes
/// to the same bits; a tied embedding, to which its head and its input add, to the same but
/// rounding.
TEST_F(FinetuneCommand, SeveralWorkersLearnTheSame) {
  const Words packs = {"--batch", "8", "--steps", "3", "--pack-tokens", "60", "--workers"};
  const auto with_workers = [&](const std::string& out, const char* workers, Words more = {}) {
    more.insert(more.begin(), packs.begin(), packs.end());
    more.insert(more.begin() + static_cast<std::ptrdiff_t>(packs.size()), workers);
    run(command(out, more));
  };
  with_workers("one", "1");
  with_workers("three", "3");
  EXPECT_TRUE(adapter("one") == adapter("three"));
  const auto full = [&](const char* out) -> Words {
    return {"--dtype", "float32", "--train", "embedding,layers:2", "--merge-to", path(out)};
  };
  with_workers("full-one", "1", full("merged-one"));
  with_workers("full-three", "3", full("merged-three"));
  for (std::size_t step = 0; step < 3; ++step) {
    const TrainingStep one = steps("full-one")[step];
    const TrainingStep three = steps("full-three")[step];
    EXPECT_NEAR(one.loss, three.loss, 1e-5 * one.loss);
    EXPECT_NEAR(one.gradient_norm, three.gradient_norm, 1e-4 * one.gradient_norm);
  }
  EXPECT_THAT(refused(command("one", {"--batch", "8", "--workers", "0"})), HasSubstr("--workers"));
}

/// The files below the cache, without the towers' folders.
std::map<std::string, std::string> features_of(const fs::path& cache) {
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(cache)) {
    if (entry.is_regular_file()) files[entry.path()] = read_file(entry.path());
  }
  return files;
}

// --- Pictures' features on disk

TEST_F(FinetuneCommand, FeaturesThatAreKeptChangeNoBit) {
  run(command("plain"));
  const Words cached = {"--cache-vision", path("cache")};
  run(command("first", cached));
  EXPECT_TRUE(adapter("plain") == adapter("first"));
  const auto kept = features_of(path("cache"));
  EXPECT_EQ(kept.size(), 2U) << "two pictures are shown, one of them several times";
  run(command("second", cached));
  EXPECT_TRUE(adapter("plain") == adapter("second"));
  EXPECT_TRUE(features_of(path("cache")) == kept);
  // What a pruned model sees is what its parent saw.
  run({"prune", path("model"), "--layers", "2,4", "--quiet", "--out", path("pruned")});
  const CommandResult pruned = test::run_espalier([&] {
    Words words = command("pruned-run", cached, "pruned");
    std::erase(words, "--quiet");
    return words;
  }());
  EXPECT_THAT(pruned.err, HasSubstr("pictures' features: 10 read, 0 made"));
  EXPECT_TRUE(features_of(path("cache")) == kept);
}

TEST_F(FinetuneCommand, FeaturesThatAreBrokenAreMadeAgain) {
  const Words cached = {"--cache-vision", path("cache")};
  run(command("first", cached));
  const auto kept = features_of(path("cache"));
  for (const auto& entry : fs::recursive_directory_iterator(path("cache"))) {
    if (entry.is_regular_file()) test::write_quickly(entry.path(), "broken");
  }
  run(command("second", cached));
  EXPECT_TRUE(adapter("first") == adapter("second"));
  EXPECT_TRUE(features_of(path("cache")) == kept);
}

TEST_F(FinetuneCommand, FeaturesAreBoundedAndBelongToAFrozenTower) {
  Words words = command("run", {"--cache-vision", path("cache"), "--cache-size", "1K"});
  std::erase(words, "--quiet");
  EXPECT_THAT(run(words).err, HasSubstr("10 made, 10 of these not kept: --cache-size"));
  EXPECT_TRUE(features_of(path("cache")).empty());
  run(command("plain"));
  EXPECT_TRUE(adapter("run") == adapter("plain"));
  EXPECT_THAT(refused(command("out", {"--cache-vision", path("cache"), "--train", "vision",
                                      "--merge-to", path("to")})),
              HasSubstr("--train vision trains it"));
  EXPECT_THAT(refused(command("out", {"--cache-size", "1K"})), HasSubstr("--cache-vision"));
  EXPECT_THAT(refused(command("out", {"--cache-vision", path("train.jsonl")})),
              HasSubstr("cannot be made"));
}

// --- Held-out questions

TEST_F(FinetuneCommand, AsksHeldOutQuestionsAtTheCadenceOfTheValidation) {
  const std::string row =
      R"({"id": "ID", "prompt": "3 + 4?", "answer": "7", "domain": "math", "kind": "sum"})";
  std::string rows;
  for (const char* id : {"1", "2", "3"})
    rows += std::regex_replace(row, std::regex("ID"), id) + "\n";
  test::write_quickly(scratch_ / "questions.jsonl", rows);
  const Words asked = {"--questions", path("questions.jsonl"), "--validate-every", "3"};
  run(command("run", asked));
  const auto logged = steps("run");
  for (const std::size_t step : {0U, 1U, 3U, 4U, 6U}) EXPECT_FALSE(logged[step].exact_match);
  for (const std::size_t step : {2U, 5U, 7U}) {
    ASSERT_TRUE(logged[step].exact_match);
    EXPECT_EQ(logged[step].exact_match->count, 3);
  }
  EXPECT_EQ(record("run")["results"]["exact_match"]["count"], 3);
  EXPECT_EQ(record("run")["questions"]["count"], 3);
  run(command("plain"));
  EXPECT_TRUE(adapter("run") == adapter("plain")) << "to be asked teaches nothing";
  run(command("two",
              {"--questions", path("questions.jsonl"), "--question-limit", "2", "--steps", "1"}));
  EXPECT_EQ(steps("two")[0].exact_match->count, 2);
  EXPECT_THAT(refused(command("out", {"--question-limit", "2"})), HasSubstr("--questions"));
  EXPECT_THAT(refused(command("out", {"--questions", path("train.jsonl")})),
              HasSubstr("train.jsonl:1"));
}

// --- Teachers

TEST_F(FinetuneCommand, ATeacherHasNothingToTeachItself) {
  run({"prune", path("model"), "--layers", "2,4", "--quiet", "--out", path("pruned")});
  run(command("sft", {"--steps", "1"}));
  for (const char* loss : {"kd", "kd+hidden"}) {
    const Words more = {"--teacher", path("model"), "--loss", loss, "--steps", "2"};
    Words control = more;
    control.insert(control.end(), {"--control", "--learning-rate", "0"});
    run(command(std::string("healed-") + loss, more, "pruned"));
    run(command(std::string("control-") + loss, control, "pruned"));
    const auto healed = steps(std::string("healed-") + loss);
    const auto same = steps(std::string("control-") + loss);
    // The divergence of a model from itself is 0, and 0 is its least: no gradient.
    EXPECT_NEAR(same[0].gradient_norm, 0.0, 1e-4) << loss;
    EXPECT_GT(healed[0].gradient_norm, 0.05) << loss;
    EXPECT_NEAR(*same[0].divergence, 0.0, 1e-6) << loss;
    EXPECT_GT(*healed[0].divergence, 1e-3) << loss;
    EXPECT_EQ(healed[0].hidden_loss.has_value(), loss == std::string("kd+hidden"));
    if (healed[0].hidden_loss) {
      EXPECT_GT(*healed[0].hidden_loss, 1e-3);
      EXPECT_EQ(*same[0].hidden_loss, 0.0);
    }
    // The logged loss is the cross entropy, whatever is learned.
    EXPECT_DOUBLE_EQ(same[0].loss, steps("sft")[0].loss);
    const json of_control = record(std::string("control-") + loss);
    const json of_healed = record(std::string("healed-") + loss);
    EXPECT_EQ(of_healed["teacher"], of_control["model"]["fingerprint"]);
    EXPECT_NE(of_healed["model"], of_control["model"]);
    EXPECT_EQ(of_healed["options"]["hidden_weight"], loss == std::string("kd") ? 0.0 : 1.0);
  }
  EXPECT_GT(steps("healed-kd+hidden")[0].gradient_norm, steps("healed-kd")[0].gradient_norm);
  const SafetensorsFile file(path("healed-kd/adapter_model.safetensors"));
  EXPECT_EQ(file.tensors().size(), 4U * 7U * 2U) << "of the pruned checkpoint's layers";
}

}  // namespace
}  // namespace espalier
