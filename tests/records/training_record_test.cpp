// SPDX-License-Identifier: Apache-2.0
#include "espalier/records/training_record.h"

#include <gmock/gmock.h>

#include <cmath>
#include <limits>
#include <string>

#include "tests/support.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;
using test::input_error;
using test::TemporaryDirectory;
using test::write_quickly;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

TrainingStep full_step() {
  return {.step = 12,
          .epoch = 1.25,
          .loss = 0.1,
          .losses = {{"math/cot", 0.30000000000000004, 100}, {"scenes", 1e-300, 7}},
          .sample_mean_loss = 0.2,
          .learning_rate = 1e-4,
          .gradient_norm = 3.5,
          .clip_coefficient = 0.28,
          .samples = 64,
          .tokens = 40000,
          .visual_tokens = 20000,
          .label_tokens = 107,
          .seconds = 2.5,
          .data_wait_seconds = 0.125,
          .tokens_per_second = 16000,
          .flops_per_second = 1.5e14,
          .peak_memory_bytes = std::int64_t{1} << 40,
          .validation_loss = 0.7,
          .exact_match = ExactMatch{.value = 0.75, .count = 200}};
}

TrainingStep step(std::int64_t number) { return {.step = number, .loss = 1.0 / 3}; }

std::vector<std::int64_t> numbers_of(const std::vector<TrainingStep>& steps) {
  std::vector<std::int64_t> numbers;
  for (const TrainingStep& one : steps) numbers.push_back(one.step);
  return numbers;
}

std::vector<std::int64_t> numbers_in(const fs::path& file) {
  return numbers_of(read_training_steps(file));
}

/// A folder with a log of the steps 1 to 5.
class TrainingLogs : public testing::Test {
 protected:
  TrainingLogs() : file_(folder_ / "steps.jsonl") {
    TrainingLog log(file_, 0);
    for (int i = 1; i <= 5; ++i) log.append(step(i));
  }

  TemporaryDirectory folder_;
  fs::path file_;
};

TEST(TrainingRecord, GivesEveryNumberBack) {
  const TemporaryDirectory folder;
  {
    TrainingLog log(folder / "steps.jsonl", 0);
    log.append(step(1));
    log.append(full_step());
    log.sync();
  }
  EXPECT_THAT(read_training_steps(folder / "steps.jsonl"), ElementsAre(step(1), full_step()));
}

TEST(TrainingRecord, IsAPlainJsonObjectAStep) {
  const std::string line = to_line(full_step());
  EXPECT_THAT(line, AllOf(HasSubstr("\"loss\":0.1,"), HasSubstr("\"step\":12,"),
                          HasSubstr("\"exact_match\":{\"count\":200,\"value\":0.75}"),
                          HasSubstr("{\"label_tokens\":7,\"loss\":1e-300,\"name\":\"scenes\"}"),
                          Not(HasSubstr("\n"))));
  EXPECT_THAT(to_line(step(1)), AllOf(HasSubstr("\"losses\":[]"), Not(HasSubstr("validation")),
                                      Not(HasSubstr("exact")), Not(HasSubstr("sample_mean"))));
}

TEST(TrainingRecord, KeepsNumbersThatAreNotFiniteAsNull) {
  const TemporaryDirectory folder;
  TrainingStep bad = step(1);
  bad.loss = std::numeric_limits<double>::quiet_NaN();
  bad.gradient_norm = std::numeric_limits<double>::infinity();
  bad.validation_loss = bad.loss;
  EXPECT_THAT(to_line(bad), HasSubstr("\"loss\":null"));
  write_quickly(folder / "steps.jsonl", to_line(bad) + "\n");
  const auto steps = read_training_steps(folder / "steps.jsonl");
  ASSERT_EQ(steps.size(), 1U);
  EXPECT_TRUE(std::isnan(steps[0].loss));
  EXPECT_TRUE(std::isnan(steps[0].gradient_norm));
  ASSERT_TRUE(steps[0].validation_loss.has_value());
  EXPECT_TRUE(std::isnan(*steps[0].validation_loss));
}

TEST_F(TrainingLogs, CanBeReadWhileTheyGrow) {
  TrainingLog log(file_, 5);
  log.append(step(6));
  EXPECT_THAT(numbers_in(file_), ElementsAre(1, 2, 3, 4, 5, 6));
}

TEST_F(TrainingLogs, AreReadWithoutALineThatWasNotFinished) {
  const std::string text = read_file(file_);
  const std::size_t last_line = text.rfind('\n', text.size() - 2) + 1;
  for (std::size_t bytes = last_line; bytes < text.size(); ++bytes) {
    write_quickly(file_, text.substr(0, bytes));
    EXPECT_THAT(numbers_in(file_), ElementsAre(1, 2, 3, 4)) << bytes;
  }
}

TEST_F(TrainingLogs, GoOnBehindTheStepThatWasSavedAsIfTheyHadNotStopped) {
  const std::string whole = read_file(file_);
  for (std::size_t cut = whole.find('\n', whole.find('\n') + 1) + 1; cut <= whole.size(); ++cut) {
    write_quickly(file_, whole.substr(0, cut));  // killed at any moment after step 2
    TrainingLog log(file_, 2);
    for (int i = 3; i <= 5; ++i) log.append(step(i));
    ASSERT_EQ(read_file(file_), whole) << cut;
  }
}

TEST_F(TrainingLogs, GoOnWhateverACrashMadeOfLaterLines) {
  const std::string whole = read_file(file_);
  write_quickly(file_, whole + std::string(100, '\0') + "\n{]\n");
  EXPECT_THAT(input_error([&] { (void)read_training_steps(file_); }), HasSubstr(":6: "));
  const TrainingLog log(file_, 5);
  EXPECT_EQ(read_file(file_), whole);
}

TEST_F(TrainingLogs, KeepNoLaterStepWhereTheSavedOneWasNotLogged) {
  write_quickly(file_, to_line(step(2)) + "\n" + to_line(step(4)) + "\n");
  const TrainingLog log(file_, 3);
  EXPECT_THAT(numbers_in(file_), ElementsAre(2));
}

TEST_F(TrainingLogs, BeginAnewAtStepZero) {
  const TrainingLog log(file_, 0);
  EXPECT_THAT(numbers_in(file_), IsEmpty());
}

TEST_F(TrainingLogs, GoForwardOnly) {
  TrainingLog log(file_, 5);
  EXPECT_THROW(log.append(step(5)), std::logic_error);
  log.append(step(7));
  EXPECT_THROW(log.append(step(6)), std::logic_error);
}

TEST_F(TrainingLogs, NameFileAndLineOfABadStep) {
  const std::string whole = read_file(file_);
  const auto error = [&](const std::string& line) {
    write_quickly(file_, whole + line + "\n");
    return input_error([&] { (void)read_training_steps(file_); });
  };
  EXPECT_THAT(error("{"), HasSubstr("steps.jsonl:6: "));
  EXPECT_THAT(error("7"), AllOf(HasSubstr(":6: "), HasSubstr("wanted an object")));
  EXPECT_THAT(error("{\"step\":6}"), AllOf(HasSubstr(":6: "), HasSubstr("is missing")));
  EXPECT_THAT(error(to_line(step(5))), AllOf(HasSubstr(":6: "), HasSubstr("step 5 stands behind")));
  std::string line = to_line(step(6));
  EXPECT_THAT(error(line.insert(1, "\"mood\":1,")), AllOf(HasSubstr(":6: "), HasSubstr("mood")));
  line = to_line(step(6));
  EXPECT_THAT(error(line.replace(line.find("\"samples\":0"), 11, "\"samples\":null")),
              AllOf(HasSubstr(":6: samples: wanted an integer")));
}

TEST(TrainingRecord, NeedsAPlaceToBeWritten) {
  const TemporaryDirectory folder;
  EXPECT_THAT(input_error([&] { TrainingLog log(folder / "gone" / "steps.jsonl", 0); }),
              HasSubstr("gone"));
  EXPECT_THAT(input_error([&] { TrainingLog log(folder.path(), 0); }),
              HasSubstr(folder.path().string()));
}

}  // namespace
}  // namespace espalier
