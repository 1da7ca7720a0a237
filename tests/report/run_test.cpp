// SPDX-License-Identifier: Apache-2.0
#include "espalier/report/run.h"

#include <gmock/gmock.h>

#include <filesystem>

#include "tests/report/sample.h"
#include "tests/support.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;
using test::input_error;
using test::TemporaryDirectory;
using test::write_quickly;
using testing::AllOf;
using testing::HasSubstr;

/// A run of six layers in a folder: record, ranking, a pruned directory and a plan file.
class Run : public testing::Test {
 protected:
  Run() {
    fs::create_directories(run_ / "probe");
    fs::create_directories(run_ / "pruned");
    write_probe_record(run_ / "probe", record_, /*force=*/false);
    write_ranking(run_ / "ranking.json", ranking_, /*force=*/false);
    write_quickly(run_ / "pruned" / "espalier.json", to_json_text(plan_));
    write_quickly(run_ / "b.plan.json", to_json_text(plan_));
  }

  const test::SampleShape shape_ = {.layers = 6, .budgets = {{1, 4}}};
  const ProbeRecord record_ = test::sample_probe(shape_);
  const Ranking ranking_ = test::sample_ranking(record_, shape_);
  const Plan plan_ = test::sample_plan(ranking_, ranking_.selections.front());
  const TemporaryDirectory scratch_;
  const fs::path run_ = scratch_ / "monday";
};

TEST_F(Run, IsReadWhole) {
  const RunRecords run = read_run(run_);
  EXPECT_EQ(run.name, "monday");
  // A record's similarities hold NaN, which equals nothing.
  EXPECT_EQ(fingerprint(run.probe.value()), fingerprint(record_));
  EXPECT_EQ(run.ranking, ranking_);
  EXPECT_EQ(run.plans, (std::vector<NamedPlan>{{"b.plan.json", plan_}, {"pruned", plan_}}));
}

TEST_F(Run, MayBeTheProbeRecordItself) {
  const RunRecords run = read_run(run_ / "probe");
  EXPECT_TRUE(run.probe.has_value());
  EXPECT_FALSE(run.ranking.has_value());
}

TEST_F(Run, MayHavePlansAlone) {
  fs::remove_all(run_ / "probe");
  fs::remove(run_ / "ranking.json");
  EXPECT_EQ(read_run(run_).plans.size(), 2U);
}

TEST_F(Run, LeavesOutWhatIsStillBeingWritten) {
  fs::rename(run_ / "pruned", run_ / ".pruned.partial");
  EXPECT_EQ(read_run(run_).plans.size(), 1U);
}

TEST_F(Run, HasTheScoreboardsOfItsFoldersAndOfThoseBelowEval) {
  const Scoreboard scoreboard = test::sample_scoreboard(8, 4);
  for (const char* folder : {"base-eval", "eval/pruned", "eval/.hidden"}) {
    fs::create_directories(run_ / folder);
    write_quickly(run_ / folder / "scoreboard.json", to_json_text(scoreboard));
  }
  EXPECT_EQ(read_run(run_).scoreboards,
            (std::vector<NamedScoreboard>{{"base-eval", scoreboard}, {"pruned", scoreboard}}));
  EXPECT_EQ(read_run(run_ / "eval").scoreboards.size(), 1U);  // alone they make a run
  write_quickly(run_ / "base-eval/scoreboard.json", unfinished_header(scoreboard));
  EXPECT_THAT(input_error([&] { read_run(run_); }),
              AllOf(HasSubstr("base-eval"), HasSubstr("has not ended")));
}

TEST_F(Run, RefusesAFolderWithoutRecords) {
  fs::create_directories(run_ / "empty");
  EXPECT_THAT(input_error([&] { read_run(run_ / "empty"); }),
              AllOf(HasSubstr("empty"), HasSubstr("probe/probe.json"), HasSubstr("ranking.json")));
}

TEST_F(Run, RefusesWhatIsNoFolder) {
  EXPECT_THAT(input_error([&] { read_run(run_ / "nowhere"); }), HasSubstr("found nothing"));
  EXPECT_THAT(input_error([&] { read_run(run_ / "ranking.json"); }), HasSubstr("found a file"));
}

TEST_F(Run, RefusesARankingOfAnotherRecord) {
  Ranking other = ranking_;
  other.probe_fingerprint = std::string(64, '0');
  write_ranking(run_ / "ranking.json", other, /*force=*/true);
  EXPECT_THAT(
      input_error([&] { read_run(run_); }),
      AllOf(HasSubstr("ranking.json"), HasSubstr("000000000000"), HasSubstr("espalier rank")));
}

TEST_F(Run, RefusesABrokenPlan) {
  write_quickly(run_ / "b.plan.json", "{}");
  EXPECT_THAT(input_error([&] { read_run(run_); }), HasSubstr("b.plan.json"));
}

}  // namespace
}  // namespace espalier
