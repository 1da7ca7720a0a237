// SPDX-License-Identifier: Apache-2.0
// The demo model that ships with the project can do what its page says, on pictures that are new.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "espalier/records/scoreboard.h"
#include "tests/support.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;
using test::CommandResult;

class DemoModel : public testing::Test {
 protected:
  static std::string model() { return test::example("demo-model/model"); }

  static void run(const std::vector<std::string>& arguments) {
    const CommandResult result = test::run_espalier(arguments);
    ASSERT_EQ(result.exit_code, 0) << arguments.front() << ": " << result.err;
  }

  /// The share of right answers to drawn questions of a domain.
  [[nodiscard]] double accuracy(const std::string& domain, const std::string& out,
                                const std::vector<std::string>& more = {}) const {
    std::vector<std::string> eval = {
        "eval",  model(),        "--questions", scratch_ / (domain + "/questions.jsonl"),
        "--out", scratch_ / out, "--quiet"};
    eval.insert(eval.end(), more.begin(), more.end());
    run(eval);
    const Scoreboard scoreboard = read_scoreboard(scratch_ / (out + "/scoreboard.json"));
    for (const ScoreGroup& group : scoreboard.groups) {
      if (!group.domain) return group.accuracy;
    }
    ADD_FAILURE() << "no group over everything";
    return 0.0;
  }

  const test::TemporaryDirectory scratch_;
};

TEST_F(DemoModel, AnswersNewProblemsAndScenesAndNotWithOtherPictures) {
  for (const char* domain : {"math", "scenes"}) {
    run({"synth", scratch_ / domain, "--domain", domain, "--count", "60", "--split", "test",
         "--seed", "1000", "--quiet"});
    const double seen = accuracy(domain, std::string(domain) + "-seen");
    const double blind = accuracy(domain, std::string(domain) + "-blind", {"--shuffle-pictures"});
    // Its page says 97 % of the problems' questions and 99 % of the scenes'; blind 3 and 20 %. So
    // few questions may miss that by some points.
    EXPECT_GE(seen, 0.85) << domain;
    EXPECT_LE(blind, 0.4) << domain;
  }
}

TEST_F(DemoModel, IsSmallEnoughToShip) {
  EXPECT_LE(fs::file_size(fs::path(model()) / "model.safetensors"), 16'000'000U);
}

}  // namespace
}  // namespace espalier
