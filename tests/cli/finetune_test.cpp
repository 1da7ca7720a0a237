// SPDX-License-Identifier: Apache-2.0
// `espalier finetune` and `espalier merge` as a user runs them, kills them and runs them again.
#include <gmock/gmock.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <bit>
#include <chrono>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <regex>
#include <thread>

#include "espalier/base/files.h"
#include "espalier/base/random.h"
#include "espalier/base/safetensors.h"
#include "espalier/records/training_record.h"
#include "tests/support.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using std::chrono::milliseconds;
using std::chrono::steady_clock;
using test::CommandResult;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using Words = std::vector<std::string>;

/// A program that runs beside the test.
class Process {
 public:
  explicit Process(Words arguments) {
    arguments.insert(arguments.begin(), fs::path(ESPALIER_BIN) / "espalier");
    std::vector<char*> argv;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    EXPECT_EQ(posix_spawn(&child_, argv[0], nullptr, nullptr, argv.data(), environ), 0);
  }
  ~Process() { kill(); }
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  /// Says whether it was still running.
  bool kill() {
    if (child_ == 0) return false;
    ::kill(child_, SIGKILL);
    return wait() == -1;
  }

  /// The exit code, -1 if it was killed.
  int wait() {
    int status = 0;
    waitpid(std::exchange(child_, 0), &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

 private:
  pid_t child_ = 0;
};

/// Waits for something that a program does, for a minute at the most.
[[nodiscard]] bool comes(const std::function<bool()>& what) {
  const auto end = steady_clock::now() + std::chrono::minutes(1);
  while (!what()) {
    if (steady_clock::now() > end) return false;
    std::this_thread::sleep_for(milliseconds(2));
  }
  return true;
}

/// Eight conversations of all forms, with and without pictures: eight steps of two in two epochs.
constexpr const char* kRows =
    R"({"messages": [{"role": "user", "content": "<image>What is it?"}, {"role": "assistant", "content": "A grid."}], "images": ["a.png"], "source": "grids"}
{"messages": [{"role": "user", "content": "3 + 4?"}, {"role": "assistant", "content": "7"}], "source": "sums"}
{"messages": [{"role": "user", "content": "5 + 4?"}, {"role": "assistant", "content": "9"}], "source": "sums"}
{"conversations": [{"from": "human", "value": "<image>Colours?"}, {"from": "gpt", "value": "Red and blue."}], "image": "b.jpg"}
{"messages": [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}, {"role": "user", "content": "Bye"}, {"role": "assistant", "content": "See you"}]}
{"messages": [{"role": "user", "content": [{"type": "image", "image": "b.jpg"}, {"type": "text", "text": "Which?"}]}, {"role": "assistant", "content": "The left one."}]}
{"messages": [{"role": "user", "content": "<image><image>Same?"}, {"role": "assistant", "content": "No"}], "images": ["a.png", "b.jpg"]}
{"messages": [{"role": "user", "content": "8 + 1?"}, {"role": "assistant", "content": "9"}], "source": "sums"}
)";

class FinetuneBase : public testing::Test {
 protected:
  FinetuneBase() {
    fs::copy_file(test::fixture("images/rgb8.png"), scratch_ / "a.png");
    fs::copy_file(test::fixture("images/cmyk.jpg"), scratch_ / "b.jpg");
    test::write_quickly(scratch_ / "train.jsonl", kRows);
    init("model", "0");
  }

  void init(const std::string& name, const std::string& seed) {
    const CommandResult result =
        test::run_espalier({"init", path(name), "--preset", "tiny", "--seed", seed, "--quiet"});
    EXPECT_EQ(result.exit_code, 0) << result.err;
  }

  [[nodiscard]] std::string path(const std::string& name) const { return scratch_ / name; }

  /// A short training; what is named again takes the place of what stands here.
  [[nodiscard]] Words command(const std::string& out, const Words& more = {},
                              const std::string& model = "model") const {
    Words words = {"finetune",  path(model), "--data",          path("train.jsonl"),
                   "--batch",   "2",         "--learning-rate", "1e-3",
                   "--threads", "1",         "--epochs",        "2",
                   "--out",     path(out),   "--quiet"};
    for (std::size_t i = 0; i < more.size(); ++i) {
      const auto found = std::ranges::find(words, more[i]);
      if (more[i].starts_with("--") && found != words.end() && more[i] != "--quiet") {
        *(found + 1) = more[++i];
      } else {
        words.push_back(more[i]);
      }
    }
    return words;
  }

  CommandResult run(const Words& words) {
    CommandResult result = test::run_espalier(words);
    EXPECT_EQ(result.exit_code, 0) << words.front() << ": " << result.err;
    return result;
  }

  /// The message of a command that must end with exit code 2, print nothing and leave all files as
  /// they were.
  std::string refused(const Words& words) {
    const auto before = test::snapshot(scratch_.path());
    const CommandResult result = test::run_espalier(words);
    EXPECT_EQ(result.exit_code, 2) << result.err;
    EXPECT_EQ(result.out, "");
    EXPECT_EQ(test::snapshot(scratch_.path()), before) << result.err;
    return result.err;
  }

  [[nodiscard]] json record(const std::string& out) const {
    return json::parse(read_file(scratch_ / out / "training.json"));
  }

  /// The log, without what a clock says.
  [[nodiscard]] std::vector<TrainingStep> steps(const std::string& out) const {
    std::vector<TrainingStep> steps = read_training_steps(scratch_ / out / "steps.jsonl");
    for (TrainingStep& step : steps) {
      EXPECT_GT(step.seconds, 0.0);
      step.seconds = step.data_wait_seconds = step.tokens_per_second = step.flops_per_second = 0.0;
      step.peak_memory_bytes = 0;
    }
    return steps;
  }

  [[nodiscard]] std::string adapter(const std::string& out) const {
    return read_file(scratch_ / out / "adapter_model.safetensors");
  }

  [[nodiscard]] std::int64_t event_files(const std::string& out) const {
    std::int64_t count = 0;
    for (const auto& entry : fs::directory_iterator(scratch_ / out)) {
      if (entry.path().filename().string().starts_with("events.out.tfevents")) ++count;
    }
    return count;
  }

  /// Starts a training and kills it once it has saved a step.
  void begin(const Words& words, const std::string& out) {
    Process process(words);
    ASSERT_TRUE(comes([&] { return fs::exists(scratch_ / out / "checkpoint.safetensors"); }));
    ASSERT_TRUE(process.kill()) << "it ended too soon for this test";
  }

  const test::TemporaryDirectory scratch_;
};

class FinetuneCommand : public FinetuneBase {};
class MergeCommand : public FinetuneBase {};

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

TEST_F(FinetuneCommand, RefusesATeacherThatTheModelWasNotPrunedFrom) {
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

TEST_F(FinetuneCommand, NamesTheRowThatCannotBeUsed) {
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

TEST_F(FinetuneCommand, LeavesBadRowsOutIfToldTo) {
  test::write_quickly(scratch_ / "bad.jsonl", std::string("{\"messages\": 3}\n") + kRows);
  Words words = command("run", {"--data", path("bad.jsonl"), "--skip-bad", "--steps", "1"});
  std::erase(words, "--quiet");
  const CommandResult result = run(words);
  EXPECT_THAT(result.err, AllOf(HasSubstr("left out: "), HasSubstr("bad.jsonl:1: "),
                                HasSubstr("8 samples (9 read, 0 too long, 1 bad)")));
  EXPECT_EQ(record("run")["data"]["dropped_bad"], 1);
}

TEST_F(FinetuneCommand, LeavesLongSamplesOutAndCountsThemOrRefusesThem) {
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

TEST_F(FinetuneCommand, APictureThatIsBrokenBehindItsHeaderStopsTheRunByName) {
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

TEST_F(FinetuneCommand, TouchesNoFolderThatIsNotItsOwn) {
  fs::create_directory(path("photos"));
  test::write_quickly(path("photos/kept.txt"), "already here");
  EXPECT_THAT(refused(command("photos")), HasSubstr("photos exists and holds no training"));
  EXPECT_THAT(refused(command("photos", {"--force"})), HasSubstr("holds no training"));
  EXPECT_THAT(refused(command("train.jsonl")), HasSubstr("train.jsonl"));
  EXPECT_THAT(refused(command("model")), HasSubstr("model exists and holds no training"));
}

TEST_F(FinetuneCommand, ReplacesAFinishedRunOnlyIfToldTo) {
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

TEST_F(FinetuneCommand, GoesOnWithNoOtherRunAndBesideNoOther) {
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

TEST_F(FinetuneCommand, OnAFullDiskTheFormerCheckpointStaysAndTheRunGoesOnWhenThereIsRoom) {
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

TEST_F(FinetuneCommand, SaysBeforeTheFirstStepThatTheCheckpointCannotBeWritten) {
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

TEST_F(FinetuneCommand, RefusesOptionsThatDoNotGoTogether) {
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

TEST_F(FinetuneCommand, StopsAtALossThatIsNoNumber) {
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

// --- Merging

float bfloat16_at(std::span<const std::byte> bytes, std::size_t i) {
  std::uint16_t half = 0;
  std::memcpy(&half, bytes.data() + 2 * i, sizeof half);
  return std::bit_cast<float>(static_cast<std::uint32_t>(half) << 16U);
}

float float32_at(std::span<const std::byte> bytes, std::size_t i) {
  float value = 0.0F;
  std::memcpy(&value, bytes.data() + 4 * i, sizeof value);
  return value;
}

TEST_F(MergeCommand, AddsTheProductOfBothMatricesTimesAlphaOverRank) {
  run(command("run", {"--lora-rank", "4", "--lora-alpha", "12", "--merge-to", path("at-once")}));
  const auto result =
      run({"merge", path("model"), path("run"), "--out", path("merged"), "--json", "--quiet"});
  const std::string product = "model.language_model.layers.3.self_attn.k_proj";
  const SafetensorsFile lora(path("run/adapter_model.safetensors"));
  const SafetensorsFile base(path("model/model.safetensors"));
  const SafetensorsFile merged(path("merged/model.safetensors"));
  const auto a = lora.bytes("base_model.model." + product + ".lora_A.weight");
  const auto b = lora.bytes("base_model.model." + product + ".lora_B.weight");
  const auto from = base.bytes(product + ".weight");
  const auto to = merged.bytes(product + ".weight");
  constexpr std::size_t kOut = 64, kIn = 64, kRank = 4;
  for (std::size_t row = 0; row < kOut; ++row) {
    for (std::size_t column = 0; column < kIn; ++column) {
      double update = 0.0;
      for (std::size_t r = 0; r < kRank; ++r) {
        update += double{float32_at(b, row * kRank + r)} * float32_at(a, r * kIn + column);
      }
      const std::size_t i = row * kIn + column;
      const double wanted = bfloat16_at(from, i) + 12.0 / 4.0 * update;
      // Rounded once: half a unit of bfloat16's 8 bits, and a little for float32's sums.
      const double half_unit = std::ldexp(1.0, std::ilogb(wanted) - 8);
      ASSERT_NEAR(bfloat16_at(to, i), wanted, 1.001 * half_unit + 1e-9);
    }
  }
  const json report = json::parse(result.out);
  EXPECT_GT(report["changed"], report["numbers"].get<double>() / 3.0);
  EXPECT_EQ(report["numbers"], 6 * (128 * 64 * 2 + 64 * 64 * 2 + 64 * 128 * 3));
  EXPECT_LT(report["mean_divergence"], 1e-4);
  // --merge-to takes the same numbers, though the model ran with rounded ones.
  EXPECT_TRUE(read_file(path("at-once/model.safetensors")) ==
              read_file(path("merged/model.safetensors")));
  // What has no adapter is the base's.
  for (const auto& [name, info] : base.tensors()) {
    if (name.find("_proj.") != std::string::npos &&
        name.find("language_model") != std::string::npos)
      continue;
    ASSERT_TRUE(std::ranges::equal(base.bytes(name), merged.bytes(name))) << name;
  }
}

TEST_F(MergeCommand, MakesAModelThatPredictsAsTheAdapterDid) {
  const Words more = {"--val", path("train.jsonl"), "--dtype", "float32"};
  Words training = more;
  training.insert(training.end(), {"--epochs", "4", "--learning-rate", "1e-2"});
  run(command("run", training));
  run({"merge", path("model"), path("run"), "--out", path("merged"), "--quiet"});
  // A step at the rate 0 leaves a model as it is and measures it.
  Words measuring = more;
  measuring.insert(measuring.end(), {"--steps", "1", "--learning-rate", "0"});
  run(command("of-merged", measuring, "merged"));
  run(command("of-base", measuring));
  const double adapted = *steps("run").back().validation_loss;
  const double merged = *steps("of-merged").back().validation_loss;
  const double base = *steps("of-base").back().validation_loss;
  EXPECT_GT(base - adapted, 0.2);
  EXPECT_NEAR(merged, adapted, 0.01);
  // --merge-to writes the same weights at once.
  training.insert(training.end(), {"--merge-to", path("at-once")});
  run(command("again", training));
  EXPECT_TRUE(read_file(path("at-once/model.safetensors")) ==
              read_file(path("merged/model.safetensors")));
  EXPECT_THAT(read_file(path("at-once/README.md")), HasSubstr("--train lora --loss sft"));
}

TEST_F(MergeCommand, RefusesAnAdapterThatChangesNothing) {
  run(command("run", {"--steps", "1", "--learning-rate", "0"}));
  EXPECT_THAT(refused({"merge", path("model"), path("run"), "--out", path("merged")}),
              AllOf(HasSubstr("merged"), HasSubstr("the adapter changes no weight")));
}

/// Writes an adapter's weights anew, without the note of its base, as PEFT would.
void rewrite(const fs::path& file,
             const std::function<void(const std::string&, std::string&)>& edit) {
  std::vector<TensorSpec> specs;
  std::vector<std::string> data;
  {
    const SafetensorsFile old(file);
    for (const auto& [name, info] : old.tensors()) {
      const auto bytes = old.bytes(name);
      specs.push_back({.name = name, .dtype = info.dtype, .shape = info.shape});
      data.emplace_back(reinterpret_cast<const char*>(bytes.data()), bytes.size());
      edit(name, data.back());
    }
  }
  SafetensorsWriter writer(file, specs, /*force=*/true);
  for (const std::string& bytes : data) writer.write(test::as_bytes(bytes));
  writer.finish();
}

TEST_F(MergeCommand, RefusesAnAdapterOfAnotherModel) {
  run(command("run", {"--steps", "1"}));
  const auto merge = [&](const std::string& model) {
    return Words{"merge", model, path("run"), "--out", path("merged")};
  };
  const std::string narrow = test::fixture("models/gqa_tied");
  init("stranger", "1");
  EXPECT_THAT(refused(merge(path("stranger"))),
              AllOf(HasSubstr(path("run")), HasSubstr("it was trained on the model")));
  EXPECT_THAT(refused(merge(narrow)), HasSubstr("it was trained on the model"));
  // PEFT's own files do not say what they were trained on; then shapes must do.
  rewrite(path("run/adapter_model.safetensors"), [](const std::string&, std::string&) {});
  EXPECT_THAT(refused(merge(narrow)),
              AllOf(HasSubstr("lora_A.weight is 32x64, but the model wants 32x48"),
                    HasSubstr("another model")));
  run({"prune", path("model"), "--layers", "2", "--quiet", "--out", path("pruned")});
  EXPECT_THAT(refused(merge(path("pruned"))),
              AllOf(HasSubstr("layers.5."), HasSubstr("of 5 layers, has no such product")));
}

TEST_F(MergeCommand, RefusesABrokenAdapter) {
  run(command("run", {"--steps", "2"}));
  const Words merge = {"merge", path("model"), path("run"), "--out", path("merged")};
  const std::string config = read_file(path("run/adapter_config.json"));
  const auto with = [&](const char* key, const json& value) {
    json changed = json::parse(config);
    changed[key] = value;
    test::write_quickly(path("run/adapter_config.json"), changed.dump());
    return refused(merge);
  };
  EXPECT_THAT(with("peft_type", "LOHA"), HasSubstr("peft_type: wanted LORA, found LOHA"));
  EXPECT_THAT(with("use_dora", true), HasSubstr("use_dora"));
  EXPECT_THAT(with("r", 0), HasSubstr("r: wanted at least 1"));
  EXPECT_THAT(with("modules_to_save", {"lm_head"}), HasSubstr("modules_to_save"));
  test::write_quickly(path("run/adapter_config.json"), config);
  rewrite(path("run/adapter_model.safetensors"), [](const std::string& name, std::string& bytes) {
    if (name.find("layers.3.mlp.up_proj.lora_B") == std::string::npos) return;
    const float nan = std::numeric_limits<float>::quiet_NaN();
    std::memcpy(bytes.data(), &nan, sizeof nan);
  });
  EXPECT_THAT(refused(merge),
              AllOf(HasSubstr("layers.3.mlp.up_proj.lora_B.weight"), HasSubstr("not finite")));
  fs::resize_file(path("run/adapter_model.safetensors"), 5000);
  EXPECT_THAT(refused(merge), HasSubstr("adapter_model.safetensors"));
  EXPECT_THAT(refused({"merge", path("model"), path("gone"), "--out", path("merged")}),
              HasSubstr("no adapter here"));
}

TEST_F(MergeCommand, ReplacesNothingUnasked) {
  run(command("run", {"--steps", "2"}));
  Words merge = {"merge", path("model"), path("run"), "--out", path("merged"), "--quiet"};
  run(merge);
  EXPECT_THAT(refused(merge), HasSubstr("merged: exists already"));
  merge.push_back("--force");
  const auto before = test::snapshot(path("merged"));
  run(merge);
  EXPECT_TRUE(test::snapshot(path("merged")) == before);
  EXPECT_THAT(refused({"merge", path("model"), path("run"), "--out", path("model"), "--force"}),
              HasSubstr("is the base"));
}

}  // namespace
}  // namespace espalier
