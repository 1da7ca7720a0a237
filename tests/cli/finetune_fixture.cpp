// SPDX-License-Identifier: Apache-2.0
#include "tests/cli/finetune_fixture.h"

#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <thread>
#include <utility>

#include "espalier/base/files.h"

namespace espalier::test {

namespace fs = std::filesystem;

Process::Process(Words arguments) {
  arguments.insert(arguments.begin(), fs::path(ESPALIER_BIN) / "espalier");
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  EXPECT_EQ(posix_spawn(&child_, argv[0], nullptr, nullptr, argv.data(), environ), 0);
}

bool Process::kill() {
  if (child_ == 0) return false;
  ::kill(child_, SIGKILL);
  return wait() == -1;
}

int Process::wait() {
  int status = 0;
  waitpid(std::exchange(child_, 0), &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

bool comes(const std::function<bool()>& what) {
  using std::chrono::steady_clock;
  const auto end = steady_clock::now() + std::chrono::minutes(1);
  while (!what()) {
    if (steady_clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return true;
}

const char* const kRows =
    R"({"messages": [{"role": "user", "content": "<image>What is it?"}, {"role": "assistant", "content": "A grid."}], "images": ["a.png"], "source": "grids"}
{"messages": [{"role": "user", "content": "3 + 4?"}, {"role": "assistant", "content": "7"}], "source": "sums"}
{"messages": [{"role": "user", "content": "5 + 4?"}, {"role": "assistant", "content": "9"}], "source": "sums"}
{"conversations": [{"from": "human", "value": "<image>Colours?"}, {"from": "gpt", "value": "Red and blue."}], "image": "b.jpg"}
{"messages": [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}, {"role": "user", "content": "Bye"}, {"role": "assistant", "content": "See you"}]}
{"messages": [{"role": "user", "content": [{"type": "image", "image": "b.jpg"}, {"type": "text", "text": "Which?"}]}, {"role": "assistant", "content": "The left one."}]}
{"messages": [{"role": "user", "content": "<image><image>Same?"}, {"role": "assistant", "content": "No"}], "images": ["a.png", "b.jpg"]}
{"messages": [{"role": "user", "content": "8 + 1?"}, {"role": "assistant", "content": "9"}], "source": "sums"}
)";

FinetuneBase::FinetuneBase() {
  fs::copy_file(fixture("images/rgb8.png"), scratch_ / "a.png");
  fs::copy_file(fixture("images/cmyk.jpg"), scratch_ / "b.jpg");
  write_quickly(scratch_ / "train.jsonl", kRows);
  init("model", "0");
}

void FinetuneBase::init(const std::string& name, const std::string& seed) const {
  run({"init", path(name), "--preset", "tiny", "--seed", seed, "--quiet"});
}

Words FinetuneBase::command(const std::string& out, const Words& more,
                            const std::string& model) const {
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

CommandResult FinetuneBase::run(const Words& words) {
  CommandResult result = run_espalier(words);
  EXPECT_EQ(result.exit_code, 0) << words.front() << ": " << result.err;
  return result;
}

std::string FinetuneBase::refused(const Words& words) const {
  const auto before = snapshot(scratch_.path());
  const CommandResult result = run_espalier(words);
  EXPECT_EQ(result.exit_code, 2) << result.err;
  EXPECT_EQ(result.out, "");
  EXPECT_EQ(snapshot(scratch_.path()), before) << result.err;
  return result.err;
}

nlohmann::json FinetuneBase::record(const std::string& out) const {
  return nlohmann::json::parse(read_file(scratch_ / out / "training.json"));
}

std::vector<TrainingStep> FinetuneBase::steps(const std::string& out) const {
  std::vector<TrainingStep> steps = read_training_steps(scratch_ / out / "steps.jsonl");
  for (TrainingStep& step : steps) {
    EXPECT_GT(step.seconds, 0.0);
    step.seconds = step.data_wait_seconds = step.tokens_per_second = step.flops_per_second = 0.0;
    step.peak_memory_bytes = 0;
  }
  return steps;
}

std::string FinetuneBase::adapter(const std::string& out) const {
  return read_file(scratch_ / out / "adapter_model.safetensors");
}

std::int64_t FinetuneBase::event_files(const std::string& out) const {
  std::int64_t count = 0;
  for (const auto& entry : fs::directory_iterator(scratch_ / out)) {
    if (entry.path().filename().string().starts_with("events.out.tfevents")) ++count;
  }
  return count;
}

void FinetuneBase::begin(const Words& words, const std::string& out) const {
  Process process(words);
  ASSERT_TRUE(comes([&] { return fs::exists(scratch_ / out / "checkpoint.safetensors"); }));
  ASSERT_TRUE(process.kill()) << "it ended too soon for this test";
}

}  // namespace espalier::test
