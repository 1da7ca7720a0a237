// SPDX-License-Identifier: Apache-2.0
#include "espalier/records/probe_record.h"

#include <gmock/gmock.h>

#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "espalier/base/files.h"
#include "tests/records/random_record.h"
#include "tests/support.h"

namespace espalier {
namespace {

using test::input_error;
using test::random_record;
using ::testing::HasSubstr;

/// Equal to the bit: NaN marks what was not measured, and is not equal to itself.
bool same(const std::vector<float>& first, const std::vector<float>& second) {
  return first.size() == second.size() &&
         std::memcmp(first.data(), second.data(), first.size() * sizeof(float)) == 0;
}

void expect_same(ProbeRecord first, ProbeRecord second) {
  auto& a = first.samples;
  auto& b = second.samples;
  EXPECT_TRUE(same(a.similarity, b.similarity));
  EXPECT_TRUE(same(a.similarity_visual, b.similarity_visual));
  EXPECT_TRUE(same(a.similarity_text, b.similarity_text));
  for (auto* samples : {&a, &b}) {
    samples->similarity.clear();
    samples->similarity_visual.clear();
    samples->similarity_text.clear();
  }
  EXPECT_TRUE(first == second);
}

TEST(ProbeRecord, IsReadBackAsItWasWritten) {
  const test::TemporaryDirectory folder;
  ProbeRecord record = random_record(1);
  record.skipped.push_back({.file = "broken.jpg", .reason = "cut short"});
  write_probe_record(folder.path(), record, false);
  expect_same(read_probe_record(folder.path()), record);
}

TEST(ProbeRecord, IsNotReplacedWithoutForce) {
  const test::TemporaryDirectory folder;
  write_probe_record(folder.path(), random_record(1), false);
  const auto before = test::snapshot(folder.path());
  EXPECT_THAT(input_error([&] { write_probe_record(folder.path(), random_record(2), false); }),
              HasSubstr("probe.safetensors"));
  EXPECT_EQ(test::snapshot(folder.path()), before);
  write_probe_record(folder.path(), random_record(2), true);
  expect_same(read_probe_record(folder.path()), random_record(2));
}

TEST(ProbeRecord, HasAFingerprintOfWhatItSaysAndNotOfWhereItCameFrom) {
  const ProbeRecord record = random_record(1);
  ProbeRecord moved = record;
  moved.domains[0].source = "elsewhere";
  moved.options = "{}";
  EXPECT_EQ(fingerprint(moved), fingerprint(record));
  ProbeRecord changed = record;
  changed.samples.similarity[7] += 1e-3F;
  EXPECT_NE(fingerprint(changed), fingerprint(record));
  changed = record;
  changed.domains[1].subtasks[0].prompt += "!";
  EXPECT_NE(fingerprint(changed), fingerprint(record));
}

/// What reading says after a change to the record's JSON.
std::string error_after(const std::function<void(nlohmann::json&)>& change) {
  const test::TemporaryDirectory folder;
  write_probe_record(folder.path(), random_record(1), false);
  auto header = nlohmann::json::parse(read_file(folder / "probe.json"));
  change(header);
  test::write_quickly(folder / "probe.json", header.dump());
  return input_error([&] { (void)read_probe_record(folder.path()); });
}

TEST(ProbeRecord, RefusesAnotherSchemaOrKind) {
  EXPECT_THAT(error_after([](auto& header) { header["schema"] = 2; }), HasSubstr("schema 2"));
  EXPECT_THAT(error_after([](auto& header) { header["kind"] = "ranking"; }), HasSubstr("ranking"));
}

TEST(ProbeRecord, OfARunThatHasNotEndedSaysHowToGoOn) {
  EXPECT_THAT(error_after([](auto& header) { header["complete"] = false; }),
              HasSubstr("run the same command again"));
}

TEST(ProbeRecord, RefusesAHeaderThatTheArraysDoNotFit) {
  EXPECT_THAT(error_after([](auto& header) { header["model"]["num_layers"] = 7; }),
              HasSubstr("similarity: wanted F32 [15,7], found F32 [15,6]"));
  EXPECT_THAT(error_after([](auto& header) { header["domains"][1]["subtasks"].erase(1); }),
              HasSubstr("count: wanted I64 [4], found I64 [5]"));
  EXPECT_THAT(error_after([](auto& header) { header["domains"][0]["subtasks"][1]["samples"] = 4; }),
              HasSubstr("math/direct: probe.json says 4 samples"));
  EXPECT_THAT(error_after([](auto& header) { header["pictures"].erase(5); }),
              HasSubstr("but there are 5 and 5"));
  EXPECT_THAT(error_after([](auto& header) {
                header["measured_layers"] = {0, 9};
              }),
              HasSubstr("measured_layers"));
  EXPECT_THAT(error_after([](auto& header) { header["surplus"] = 1; }), HasSubstr("surplus"));
}

TEST(ProbeRecord, RefusesATruncatedOrMissingFile) {
  const test::TemporaryDirectory folder;
  EXPECT_THAT(input_error([&] { (void)read_probe_record(folder.path()); }),
              HasSubstr("no probe record here"));
  write_probe_record(folder.path(), random_record(1), false);
  const std::string bytes = read_file(folder / "probe.safetensors");
  test::write_quickly(folder / "probe.safetensors",
                      std::string_view(bytes).substr(0, bytes.size() - 8));
  EXPECT_THAT(input_error([&] { (void)read_probe_record(folder.path()); }),
              HasSubstr("probe.safetensors"));
}

TEST(ProbeMerge, OfTwoHalvesIsTheWhole) {
  const ProbeRecord whole = random_record(3, 4);
  ProbeRecord merged = merge(test::half_of(whole, true), test::half_of(whole, false));
  EXPECT_EQ(merged.pictures, whole.pictures);
  EXPECT_EQ(merged.domains, whole.domains);
  EXPECT_EQ(merged.samples.id, whole.samples.id);
  EXPECT_EQ(merged.samples.subtask, whole.samples.subtask);
  EXPECT_EQ(merged.samples.image, whole.samples.image);
  EXPECT_TRUE(same(merged.samples.similarity, whole.samples.similarity));
  EXPECT_EQ(merged.sums.count, whole.sums.count);
  for (std::size_t i = 0; i < whole.sums.pooled_input.size(); ++i) {
    EXPECT_NEAR(merged.sums.pooled_input[i], whole.sums.pooled_input[i], 1e-15);
  }
  for (std::size_t i = 0; i < whole.sums.window_cosine.size(); ++i) {
    EXPECT_NEAR(merged.sums.window_cosine[i], whole.sums.window_cosine[i], 1e-15);
  }
  // The order in which the halves are named does not matter.
  EXPECT_EQ(merge(test::half_of(whole, false), test::half_of(whole, true)).samples.id,
            merged.samples.id);
}

TEST(ProbeMerge, PutsADomainThatOneRecordLacksBesideTheOther) {
  ProbeRecord first = random_record(3);
  ProbeRecord second = random_record(4);
  second.domains[0].name = "charts";
  const ProbeRecord merged = merge(first, second);
  ASSERT_EQ(merged.domains.size(), 3U);
  EXPECT_EQ(merged.domains[2].name, "charts");
  EXPECT_EQ(count_subtasks(merged), 8);
  // [G, L] arrays: subtask 5 is the second record's first.
  EXPECT_EQ(merged.sums.l2[5 * 6 + 2], second.sums.l2[2]);
  EXPECT_EQ(merged.sums.l2[3 * 6 + 2], first.sums.l2[3 * 6 + 2] + second.sums.l2[3 * 6 + 2]);
  // [3, G, L, H]: the second pooling of that subtask.
  const std::size_t row = 6 * 4;
  EXPECT_EQ(merged.sums.pooled_output[(1 * 8 + 5) * row + 3],
            second.sums.pooled_output[(1 * 5 + 0) * row + 3]);
}

TEST(ProbeMerge, RefusesWhatDoesNotBelongTogether) {
  const ProbeRecord record = random_record(3);
  EXPECT_THAT(input_error([&] { (void)merge(record, record); }), HasSubstr("000.png"));
  ProbeRecord other = random_record(4);
  other.model.fingerprint = std::string(64, 'b');
  EXPECT_THAT(input_error([&] { (void)merge(record, other); }), HasSubstr("different models"));
  other = random_record(4);
  other.domains[0].subtasks[1].prompt = "Guess.";
  EXPECT_THAT(input_error([&] { (void)merge(record, other); }), HasSubstr("math/direct"));
  other = random_record(4);
  other.measured_layers.push_back(5);
  EXPECT_THAT(input_error([&] { (void)merge(record, other); }), HasSubstr("--last-layer"));
}

}  // namespace
}  // namespace espalier
