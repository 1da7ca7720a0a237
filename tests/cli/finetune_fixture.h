// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>
#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "espalier/records/training_record.h"
#include "tests/support.h"

namespace espalier::test {

using Words = std::vector<std::string>;

/// The program, at work beside the test.
class Process {
 public:
  explicit Process(Words arguments);
  ~Process() { kill(); }
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  /// Says whether it was still running.
  bool kill();
  /// The exit code, -1 if it was killed.
  int wait();

 private:
  pid_t child_ = 0;
};

/// Waits for something that a program does, for a minute at the most.
[[nodiscard]] bool comes(const std::function<bool()>& what);

/// Eight conversations of all forms, with and without pictures: eight steps of two in two epochs.
extern const char* const kRows;

/// A folder with a tiny model, `model`, pictures, and kRows as `train.jsonl`.
class FinetuneBase : public testing::Test {
 protected:
  FinetuneBase();

  void init(const std::string& name, const std::string& seed) const;

  [[nodiscard]] std::string path(const std::string& name) const { return scratch_ / name; }

  /// A short training; what is named again takes the place of what stands here.
  [[nodiscard]] Words command(const std::string& out, const Words& more = {},
                              const std::string& model = "model") const;

  /// A command that must end well.
  static CommandResult run(const Words& words);

  /// The message of a command that must end with exit code 2, print nothing and leave all files as
  /// they were.
  [[nodiscard]] std::string refused(const Words& words) const;

  [[nodiscard]] nlohmann::json record(const std::string& out) const;

  /// The log, without what a clock says.
  [[nodiscard]] std::vector<TrainingStep> steps(const std::string& out) const;

  [[nodiscard]] std::string adapter(const std::string& out) const;

  [[nodiscard]] std::int64_t event_files(const std::string& out) const;

  /// Starts a training and kills it once it has saved a step.
  void begin(const Words& words, const std::string& out) const;

  const TemporaryDirectory scratch_;
};

}  // namespace espalier::test
