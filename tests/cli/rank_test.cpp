// SPDX-License-Identifier: Apache-2.0
// `espalier rank` as a user runs it, on a drawn record of 6 layers, two domains and 5 subtasks.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "espalier/base/files.h"
#include "espalier/prune/ranking.h"
#include "tests/records/random_record.h"
#include "tests/support.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;
using test::CommandResult;
using test::random_record;
using test::TemporaryDirectory;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

class RankCommand : public testing::Test {
 protected:
  RankCommand() {
    write_record(probe_, random_record(1, 5));
    fs::create_directory(out_);
  }

  static void write_record(const fs::path& folder, const ProbeRecord& record) {
    fs::create_directories(folder);
    write_probe_record(folder, record, /*force=*/true);
  }

  /// Half of the four prunable layers, unless another budget is asked for.
  [[nodiscard]] CommandResult run(std::vector<std::string> options,
                                  const std::string& budget = "50%") const {
    std::vector<std::string> command = {"rank", probe_, "--out", out_ / "r.json"};
    if (!budget.empty()) command.insert(command.end(), {"--budget", budget});
    command.insert(command.end(), options.begin(), options.end());
    return test::run_espalier(command);
  }

  /// \param parts  what the message must name
  void expect_refused(const std::vector<std::string>& options,
                      const std::vector<std::string>& parts,
                      const std::string& budget = "50%") const {
    const auto before = test::snapshot(out_);
    const CommandResult result = run(options, budget);
    EXPECT_EQ(result.exit_code, 2) << result.out;
    EXPECT_EQ(result.out, "");
    for (const std::string& part : parts) EXPECT_THAT(result.err, HasSubstr(part));
    EXPECT_EQ(test::snapshot(out_), before);
  }

  void edit_header(const std::function<void(nlohmann::json&)>& edit) const {
    auto header = nlohmann::json::parse(read_file(probe_ / "probe.json"));
    edit(header);
    test::write_quickly(probe_ / "probe.json", header.dump());
  }

  const TemporaryDirectory scratch_;
  const fs::path probe_ = scratch_ / "record";
  const fs::path out_ = scratch_ / "out";
};

TEST_F(RankCommand, WritesWhatTheLibraryFinds) {
  const CommandResult result = run({"--seed", "3", "--bootstrap", "50"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(
      read_ranking(out_ / "r.json"),
      rank(random_record(1, 5), {.criterion = {.seed = 3}, .budgets = {{1, 2}}, .resamples = 50}));
}

TEST_F(RankCommand, PrintsATableAndNotes) {
  const CommandResult result = run({"--remove", "1"});
  EXPECT_THAT(result.out,
              AllOf(HasSubstr("6 layers, 4 prunable (1-4), protected 0, 5"),
                    HasSubstr("budget 50%: removes 2 of 4 prunable layers, of 6 in all"),
                    HasSubstr("budget 1 layer: removes 1 of 4"), HasSubstr("interlace-paper"),
                    HasSubstr("first to go"), HasSubstr("0 is math, 1 is nonmath")));
  EXPECT_THAT(result.err, AllOf(HasSubstr("--protect 0-2"), HasSubstr("cka on 5 rows is noisy")));
}

TEST_F(RankCommand, SaysNothingOfDeepStackWhereItsLayersStay) {
  const CommandResult result = run({"--protect", "0-2", "--criterion", "math"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.err, AllOf(Not(HasSubstr("DeepStack")), Not(HasSubstr("noisy"))));
}

TEST_F(RankCommand, PrintsTheFileAsJson) {
  const CommandResult result = run({"--json", "--quiet"});
  EXPECT_EQ(result.out, read_file(out_ / "r.json"));
  EXPECT_EQ(result.err, "");
}

TEST_F(RankCommand, IsTheSameEveryTime) {
  const std::string first = run({"--all", "--json", "--quiet"}).out;
  EXPECT_EQ(run({"--all", "--json", "--quiet", "--force"}).out, first);
  EXPECT_NE(run({"--all", "--json", "--quiet", "--force", "--seed", "1"}).out, first);
}

TEST_F(RankCommand, FindsTheRecordInTheFolderOfARun) {
  fs::create_directory(scratch_ / "run");
  fs::rename(probe_, scratch_ / "run" / "probe");
  const CommandResult result = test::run_espalier(
      {"rank", scratch_ / "run", "--budget", "25%", "--out", out_ / "r.json", "--quiet"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
}

TEST_F(RankCommand, TakesEveryOption) {
  const CommandResult gap =
      run({"--criterion", "mixed", "--criterion", "tail", "--weights", "math=0.3,nonmath=0.7",
           "--average", "subtasks", "--rule", "min-gap", "--min-gap", "1", "--protect", "0-1",
           "--bootstrap", "0", "--remove", "2", "--quiet"},
          "");
  ASSERT_EQ(gap.exit_code, 0) << gap.err;
  const Ranking ranking = read_ranking(out_ / "r.json");
  EXPECT_EQ(ranking.selections[0].removed, (std::vector<std::int64_t>{2, 4}));
  EXPECT_EQ(ranking.selections[0].rule, "min-gap");
  EXPECT_EQ(ranking.bootstrap.resamples, 0);
  const auto options = nlohmann::json::parse(ranking.options);
  EXPECT_EQ(options.at("weights").at("math"), 0.3);
  EXPECT_EQ(options.at("averaging"), "subtasks");
  const CommandResult triplets = run({"--criterion", "interlace-paper", "--overflow", "gap-dp",
                                      "--protect", "1", "--remove", "2", "--quiet", "--force"},
                                     "");
  ASSERT_EQ(triplets.exit_code, 0) << triplets.err;
  EXPECT_EQ(read_ranking(out_ / "r.json").selections[0].stages,
            (std::vector<std::string>{"min-gap 1: 2"}));
  EXPECT_EQ(run({"--rule", "max-run", "--max-run", "1", "--force", "--quiet"}).exit_code, 0);
}

TEST_F(RankCommand, LeavesOutWhatTheRecordCannotSupportAndSaysWhy) {
  write_record(probe_, random_record(1, 2));
  const CommandResult result = run({"--all"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.err, HasSubstr("left out: cka-sample: it needs a subtask of at least 4"));
  EXPECT_THAT(result.out, Not(HasSubstr("cka-sample")));
}

TEST_F(RankCommand, RefusesUnknownNames) {
  expect_refused({"--criterion", "maths"}, {"unknown criterion maths", "did you mean math?"});
  expect_refused({"--criterion", "nonmth:text"}, {"did you mean nonmath:text?"});
  expect_refused({"--rule", "topn"}, {"unknown rule topn", "did you mean topk?"});
  expect_refused({"--weights", "math=1,nonmth=1"}, {"unknown domain nonmth", "nonmath"});
  expect_refused({"--criterio", "math"}, {"did you mean --criterion?"});
}

TEST_F(RankCommand, RefusesBadNumbers) {
  expect_refused({}, {"budget 10%", "removes none of 4", "1/4"}, "10%");
  expect_refused({}, {"less than all"}, "100%");
  expect_refused({}, {"less than all"}, "0");
  expect_refused({}, {"wanted a share"}, "many");
  expect_refused({"--remove", "0"}, {"--remove", "from 1"});
  expect_refused({"--remove", "5"}, {"only 4 layers are prunable"});
  expect_refused({"--alpha", "1.5"}, {"--alpha", "from 0 to 1, found 1.5"});
  expect_refused({"--weights", "math"}, {"--weights", "NAME=W", "math"});
  expect_refused({"--weights", "math=a,nonmath=1"}, {"math=a"});
  expect_refused({"--weights", "math=1,math=1"}, {"math is there twice"});
  expect_refused({"--protect", "2-1"}, {"--protect"});
  expect_refused({"--protect", "6"}, {"--protect", "layer 6: the model has layers 0 to 5"});
  expect_refused({"--protect", "1-4"}, {"no layer is left"});
  expect_refused({"--bootstrap", "-1"}, {"--bootstrap"});
  expect_refused({"--average", "tokens"}, {"samples or subtasks"});
  expect_refused({"--overflow", "no"}, {"stages, gap-dp or error"});
}

TEST_F(RankCommand, RefusesOptionsThatDoNotGoTogether) {
  expect_refused({"--all", "--criterion", "math"}, {"--all and --criterion"});
  expect_refused({"--alpha", "0.5", "--weights", "math=1,nonmath=1"}, {"--alpha and --weights"});
  expect_refused({"--criterion", "math", "--alpha", "0.5"}, {"--alpha is of the criterion mixed"});
  expect_refused({"--criterion", "interlace", "--rule", "topk"}, {"triplets", "adjacent-cosine"});
  expect_refused({"--min-gap", "1"}, {"--min-gap needs --rule min-gap"});
  expect_refused({"--rule", "min-gap", "--min-gap", "2", "--remove", "3"}, {"largest K is 2"}, "");
}

TEST_F(RankCommand, RefusesACriterionThatTheRecordHasTooFewRowsFor) {
  ProbeRecord record = random_record(1, 3);
  record.samples = {};
  record.sums = zero_sums(5, 6, 4);
  for (ProbeDomain& domain : record.domains) {
    for (ProbeSubtask& subtask : domain.subtasks) subtask.samples = 0;
  }
  write_record(probe_, record);
  expect_refused({"--criterion", "cka"},
                 {"criterion cka", "at least 3 subtasks", "has 0", "more prompts"});
  expect_refused({"--criterion", "math"}, {"math has no sample"});
}

TEST_F(RankCommand, RefusesABrokenRecord) {
  edit_header([](auto& header) { header["schema"] = 2; });
  expect_refused({}, {"probe.json", "schema 2"});
  write_record(probe_, random_record(1, 5));
  edit_header([](auto& header) { header["complete"] = false; });
  expect_refused({}, {"has not ended", "run the same command again"});
  write_record(probe_, random_record(1, 5));
  fs::resize_file(probe_ / "probe.safetensors", 1000);
  expect_refused({}, {"probe.safetensors"});
  fs::remove(probe_ / "probe.json");
  expect_refused({}, {"no probe record here"});
}

TEST_F(RankCommand, ReplacesNothingUnasked) {
  test::write_quickly(out_ / "r.json", "mine");
  expect_refused({}, {"r.json", "exists already", "--force"});
  EXPECT_EQ(run({"--force", "--quiet"}).exit_code, 0);
  EXPECT_EQ(read_ranking(out_ / "r.json").criteria.size(), 6U);
}

TEST_F(RankCommand, NeedsAFolderToWriteTo) {
  const CommandResult result = test::run_espalier(
      {"rank", probe_, "--budget", "50%", "--out", scratch_ / "none" / "r.json"});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.err, HasSubstr("none"));
  EXPECT_EQ(result.out, "");
}

}  // namespace
}  // namespace espalier
