// SPDX-License-Identifier: Apache-2.0
// `espalier probe` as a user runs it, kills it and runs it again.
#include <gmock/gmock.h>

#include <chrono>
#include <nlohmann/json.hpp>

#include "espalier/base/random.h"
#include "espalier/records/probe_record.h"
#include "tests/support.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;
using test::CommandResult;
using testing::AllOf;
using testing::HasSubstr;

class ProbeCommand : public testing::Test {
 protected:
  ProbeCommand() {
    fs::create_directories(scratch_ / "problems");
    fs::create_directories(scratch_ / "photos");
    for (const char* name : {"exif1.jpg", "cmyk.jpg", "exif6.png"}) {
      fs::copy_file(test::fixture("images") / name, scratch_ / "problems" / name);
    }
    for (const char* name : {"exif.webp", "exif5.jpg"}) {
      fs::copy_file(test::fixture("images") / name, scratch_ / "photos" / name);
    }
  }

  static std::string model() { return test::fixture("models/sharded_bf16"); }

  [[nodiscard]] std::string domain(const char* name, const char* source) const {
    return std::string(name) + "=" + (scratch_ / source).string();
  }

  [[nodiscard]] std::vector<std::string> command(const std::string& out) const {
    return {"probe",       model(),
            "--domain",    domain("math", "problems"),
            "--domain",    domain("nonmath", "photos"),
            "--threads",   "1",
            "--quiet",     "--out",
            scratch_ / out};
  }

  CommandResult run(const std::string& out, std::vector<std::string> more = {}) {
    auto arguments = command(out);
    arguments.insert(arguments.end(), more.begin(), more.end());
    return test::run_espalier(arguments);
  }

  /// The error of a command that must end with exit code 2 and leave nothing at `out`.
  std::string refused(std::vector<std::string> arguments) {
    const CommandResult result = test::run_espalier(std::move(arguments));
    EXPECT_EQ(result.exit_code, 2) << result.err;
    EXPECT_FALSE(fs::exists(scratch_ / "out"));
    return result.err;
  }

  const test::TemporaryDirectory scratch_;
};

TEST_F(ProbeCommand, KilledAtAnyMomentEndsWithTheSameBytes) {
  using std::chrono::steady_clock;
  const auto start = steady_clock::now();
  ASSERT_EQ(run("whole").exit_code, 0);
  const auto whole = test::snapshot(scratch_ / "whole");
  const auto duration =
      std::chrono::duration_cast<std::chrono::milliseconds>(steady_clock::now() - start);
  Random random(7);
  int killed = 0;
  for (int moment = 0; moment < 10; ++moment) {
    auto arguments = command("killed");
    arguments.insert(arguments.end(), {"--save-every", "0", "--memory", "400MB", "--force"});
    const std::chrono::milliseconds after(
        random.below(static_cast<std::uint64_t>(duration.count()) + 1));
    killed += test::run_and_kill(arguments, after) ? 1 : 0;
    // The same command goes on, or finds that the kill came too late.
    const CommandResult again = run("killed");
    ASSERT_TRUE(again.exit_code == 0 || again.err.find("finished probe") != std::string::npos)
        << again.err << "after " << after.count() << " ms";
    ASSERT_TRUE(test::snapshot(scratch_ / "killed") == whole) << "after " << after.count() << " ms";
  }
  EXPECT_GT(killed, 0);
}

TEST_F(ProbeCommand, SaysWhatItMeasuredAndWhatComesNext) {
  auto arguments = command("record");
  std::erase(arguments, "--quiet");
  arguments.push_back("--json");
  const CommandResult result = test::run_espalier(arguments);
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.err,
              AllOf(HasSubstr("23 samples of 5 pictures"), HasSubstr("next: espalier rank")));
  const auto report = nlohmann::json::parse(result.out);
  EXPECT_EQ(report.at("samples"), 3 * 5 + 2 * 4);
  EXPECT_EQ(report.at("domains")[1].at("samples").at("grounding"), 2);
  const ProbeRecord record = read_probe_record(scratch_ / "record");
  EXPECT_EQ(record.domains[0].subtasks[0].name, "cot");
  EXPECT_EQ(fingerprint(record), report.at("fingerprint"));
}

TEST_F(ProbeCommand, JoinsRecordsOverDisjointData) {
  fs::create_directories(scratch_ / "first");
  fs::create_directories(scratch_ / "second");
  fs::copy_file(scratch_ / "problems/cmyk.jpg", scratch_ / "first/cmyk.jpg");
  for (const char* name : {"exif1.jpg", "exif6.png"}) {
    fs::copy_file(scratch_ / "problems" / name, scratch_ / "second" / name);
  }
  const auto probe = [&](const char* folder, const std::string& out) {
    return test::run_espalier(
        {"probe", model(), "--domain", domain("math", folder), "--quiet", "--out", scratch_ / out});
  };
  ASSERT_EQ(probe("first", "a").exit_code, 0);
  ASSERT_EQ(probe("second", "b").exit_code, 0);
  ASSERT_EQ(probe("problems", "both").exit_code, 0);
  const CommandResult merged =
      test::run_espalier({"probe", "--merge", scratch_ / "b", scratch_ / "a", "--quiet", "--out",
                          scratch_ / "merged"});
  ASSERT_EQ(merged.exit_code, 0) << merged.err;
  const ProbeRecord both = read_probe_record(scratch_ / "both");
  const ProbeRecord joined = read_probe_record(scratch_ / "merged");
  EXPECT_EQ(joined.pictures, both.pictures);
  EXPECT_EQ(joined.samples.id, both.samples.id);
  for (std::size_t i = 0; i < both.sums.window_cosine.size(); ++i) {
    EXPECT_NEAR(joined.sums.window_cosine[i], both.sums.window_cosine[i], 1e-5);
  }
  EXPECT_THAT(
      refused({"probe", "--merge", scratch_ / "a", scratch_ / "both", "--out", scratch_ / "out"}),
      AllOf(HasSubstr("both records have the sample"), HasSubstr("cmyk.jpg")));
}

TEST_F(ProbeCommand, RefusesBadInputAndWritesNothing) {
  const std::string out = scratch_ / "out";
  test::write_quickly(scratch_ / "rows.jsonl", "{\"image\": \"problems/cmyk.jpg\"}\nnot json\n");
  EXPECT_THAT(refused({"probe", model(), "--domain", domain("math", "rows.jsonl"), "--out", out}),
              HasSubstr("rows.jsonl:2"));
  EXPECT_THAT(refused({"probe", model(), "--domain", domain("charts", "photos"), "--out", out}),
              HasSubstr("domain charts has no prompts"));
  EXPECT_THAT(refused({"probe", model(), "--domain", domain("math", "nothing"), "--out", out}),
              HasSubstr("does not exist"));
  fs::create_directories(scratch_ / "empty");
  EXPECT_THAT(refused({"probe", model(), "--domain", domain("math", "empty"), "--out", out}),
              HasSubstr("no picture here"));
  EXPECT_THAT(refused({"probe", model(), "--out", out}), HasSubstr("--domain NAME=SOURCE"));
  EXPECT_THAT(refused({"probe", "--domain", domain("math", "photos"), "--out", out}),
              HasSubstr("wanted MODEL"));
  EXPECT_THAT(refused({"probe", model(), "--merge", "a", "b", "--out", out}),
              HasSubstr("leave MODEL and --domain out"));
  EXPECT_THAT(refused({"probe", model(), "--domain", domain("math", "photos"), "--memory", "much",
                       "--out", out}),
              AllOf(HasSubstr("--memory"), HasSubstr("1.5GiB")));
  EXPECT_THAT(refused({"probe", model(), "--domain", domain("math", "photos"), "--memory", "1MB",
                       "--out", out}),
              HasSubstr("give at least"));
  test::write_quickly(scratch_ / "photos/bad.jpg", "\xff\xd8\xff no more");
  EXPECT_THAT(refused({"probe", model(), "--domain", domain("math", "photos"), "--out", out}),
              AllOf(HasSubstr("1 of 3 pictures"), HasSubstr("bad.jpg")));
}

TEST_F(ProbeCommand, ReplacesNothingWithoutForce) {
  ASSERT_EQ(run("record").exit_code, 0);
  const auto before = test::snapshot(scratch_ / "record");
  const CommandResult again = run("record");
  EXPECT_EQ(again.exit_code, 2);
  EXPECT_THAT(again.err, HasSubstr("finished probe"));
  EXPECT_EQ(test::snapshot(scratch_ / "record"), before);
  EXPECT_EQ(run("record", {"--force"}).exit_code, 0);
  EXPECT_EQ(test::snapshot(scratch_ / "record"), before);
}

TEST_F(ProbeCommand, OnAFullDiskSaysSoAndCanGoOn) {
  const test::SmallDisk disk(scratch_ / "disk", "size=64k");
  if (!disk.mounted()) GTEST_SKIP() << "needs the right to mount";
  const CommandResult result = run("disk/record");
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.err, HasSubstr("No space left on device"));
  EXPECT_FALSE(fs::exists(disk.path() / "record/probe.safetensors"));
}

}  // namespace
}  // namespace espalier
