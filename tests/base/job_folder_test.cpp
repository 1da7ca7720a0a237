// SPDX-License-Identifier: Apache-2.0
#include "espalier/base/job_folder.h"

#include <gmock/gmock.h>

#include <memory>

#include "espalier/base/files.h"
#include "tests/support.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;
using test::input_error;
using test::write_quickly;
using testing::AllOf;
using testing::HasSubstr;

const JobKind kKind = {.name = "count", .head = "count.json", .others = {"numbers.txt"}};
const std::string kHeader = R"({"complete":false,"options":{"seed":0}})";

class JobFolderTest : public testing::Test {
 protected:
  [[nodiscard]] std::unique_ptr<JobFolder> open(const std::string& header = kHeader,
                                                bool force = false) const {
    return std::make_unique<JobFolder>(folder_, kKind, header, force);
  }
  void finish() const {
    write_quickly(folder_ / "numbers.txt", "1 2 3");
    write_quickly(folder_ / "count.json", R"({"complete":true})");
  }

  const test::TemporaryDirectory scratch_;
  const fs::path folder_ = scratch_ / "job";
};

TEST_F(JobFolderTest, SaysFromTheStartWhatIsAsked) {
  const auto job = open();
  EXPECT_EQ(read_file(folder_ / "count.json"), kHeader);
  EXPECT_TRUE(fs::is_directory(job->journal()));
  EXPECT_EQ(job->job().size(), 64U);
}

TEST_F(JobFolderTest, KeepsTheJournalOfTheSameJobAlone) {
  write_quickly(open()->journal() / "state", "half");
  EXPECT_EQ(read_file(open()->journal() / "state"), "half");
  const std::string other = R"({"complete":false,"options":{"seed":1}})";
  EXPECT_THAT(input_error([&] { (void)open(other); }),
              AllOf(HasSubstr("beginning of another count"), HasSubstr("(seed)")));
  EXPECT_FALSE(fs::exists(open(other, /*force=*/true)->journal() / "state"));
}

TEST_F(JobFolderTest, ReplacesAFinishedJobOnlyWhenForced) {
  open()->remove_journal();
  finish();
  const auto before = test::snapshot(folder_);
  EXPECT_THAT(input_error([&] { (void)open(); }), HasSubstr("finished count"));
  EXPECT_EQ(test::snapshot(folder_), before);
  (void)open(kHeader, /*force=*/true);
  EXPECT_FALSE(fs::exists(folder_ / "numbers.txt"));
}

TEST_F(JobFolderTest, TidiesWhatAKillInTheLastStepsLeft) {
  (void)open();
  finish();
  write_quickly(folder_ / ".count.json.7-0.partial", "");
  EXPECT_THAT(input_error([&] { (void)open(); }), HasSubstr("finished count"));
  EXPECT_FALSE(fs::exists(folder_ / "journal"));
  EXPECT_FALSE(fs::exists(folder_ / ".count.json.7-0.partial"));
}

TEST_F(JobFolderTest, IsOneProgramsAtATime) {
  const auto job = open();
  EXPECT_THAT(input_error([&] { (void)open(); }), HasSubstr("another count is at work"));
}

TEST_F(JobFolderTest, NeverTakesAFolderOfOtherThings) {
  fs::create_directory(folder_);
  write_quickly(folder_ / "cat.jpg", "precious");
  EXPECT_THAT(input_error([&] { (void)open(kHeader, /*force=*/true); }),
              HasSubstr("exists and holds no count"));
  write_quickly(folder_ / "count.json", "[]");
  EXPECT_THAT(input_error([&] { (void)open(); }), HasSubstr("no count record"));
}

}  // namespace
}  // namespace espalier
