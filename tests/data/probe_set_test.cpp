// SPDX-License-Identifier: Apache-2.0
#include "espalier/data/probe_set.h"

#include <gmock/gmock.h>

#include <set>

#include "tests/support.h"

namespace espalier {
namespace {

using test::input_error;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

const std::vector<DomainPrompts> kPrompts = {
    {.name = "math", .subtasks = {{"cot", "Solve."}, {"direct", "Answer."}}}};

SourceRow row(const std::string& image, std::optional<std::string> prompt = std::nullopt,
              const std::string& subtask = "own") {
  return {.images = {image},
          .prompt = std::move(prompt),
          .subtask = subtask,
          .place = "rows.jsonl:" + image};
}

DomainSource source(const std::string& name, std::vector<SourceRow> rows) {
  return {.name = name, .source = "rows.jsonl", .folder = "in", .rows = std::move(rows)};
}

TEST(ProbeSet, AsksEveryPromptAboutEveryPictureInByteOrder) {
  const ProbeSet set = make_probe_set({source("math", {row("b"), row("a")})}, kPrompts, {});
  ASSERT_EQ(set.items.size(), 2U);
  EXPECT_EQ(set.items[0].path, "a");
  EXPECT_EQ(set.items[0].files.front(), "in/a");
  EXPECT_THAT(set.items[1].questions,
              ElementsAre(ProbeQuestion{0, "Solve."}, ProbeQuestion{1, "Answer."}));
}

TEST(ProbeSet, TakesPromptsInTurnWhenAskedTo) {
  const ProbeSet set = make_probe_set({source("math", {row("a"), row("b"), row("c")})}, kPrompts,
                                      {.pairing = Pairing::RoundRobin});
  EXPECT_THAT(set.items[0].questions, ElementsAre(ProbeQuestion{0, "Solve."}));
  EXPECT_THAT(set.items[1].questions, ElementsAre(ProbeQuestion{1, "Answer."}));
  EXPECT_THAT(set.items[2].questions, ElementsAre(ProbeQuestion{0, "Solve."}));
}

TEST(ProbeSet, NumbersSubtasksOverAllDomainsAndOmitsThoseNobodyUses) {
  const ProbeSet set =
      make_probe_set({source("ocr", {row("x", "Read.", "read"), row("x", "Spell.", "spell"),
                                     row("y", "Read on.", "read")}),
                      source("math", {row("a", "What is it?"), row("a")})},
                     kPrompts, {});
  ASSERT_EQ(set.domains.size(), 2U);
  EXPECT_THAT(set.domains[0].subtasks, ElementsAre(Subtask{"read", ""}, Subtask{"spell", ""}));
  EXPECT_THAT(
      set.domains[1].subtasks,
      ElementsAre(Subtask{"cot", "Solve."}, Subtask{"direct", "Answer."}, Subtask{"own", ""}));
  ASSERT_EQ(set.items.size(), 3U);
  EXPECT_THAT(set.items[1].questions, ElementsAre(ProbeQuestion{0, "Read on."}));
  EXPECT_EQ(set.items[2].domain, 1);
  EXPECT_THAT(set.items[2].questions,
              ElementsAre(ProbeQuestion{2, "Solve."}, ProbeQuestion{3, "Answer."},
                          ProbeQuestion{4, "What is it?"}));
  // The prompts of a domain whose rows all bring their own are no subtasks of it.
  const ProbeSet own = make_probe_set({source("math", {row("a", "Why?")})}, kPrompts, {});
  EXPECT_THAT(own.domains[0].subtasks, ElementsAre(Subtask{"own", ""}));
}

TEST(ProbeSet, AsksTheSameOfTheSamePictureOnce) {
  const ProbeSet set = make_probe_set({source("math", {row("a"), row("a")})}, kPrompts, {});
  ASSERT_EQ(set.items.size(), 1U);
  EXPECT_EQ(set.items[0].questions.size(), 2U);
}

TEST(ProbeSet, DrawsALimitedNumberOfPicturesByTheSeed) {
  std::vector<SourceRow> rows;
  for (char name = 'a'; name <= 'z'; ++name) rows.push_back(row(std::string(1, name)));
  const auto drawn = [&](std::uint64_t seed) {
    const ProbeSet set =
        make_probe_set({source("math", rows)}, kPrompts, {.limit = 5, .seed = seed});
    std::vector<std::string> paths;
    for (const ProbeItem& item : set.items) paths.push_back(item.path);
    return paths;
  };
  EXPECT_EQ(drawn(1), drawn(1));
  EXPECT_NE(drawn(1), drawn(2));
  std::set<std::string> seen;
  for (std::uint64_t seed = 0; seed < 40; ++seed) {
    const auto paths = drawn(seed);
    EXPECT_EQ(std::set(paths.begin(), paths.end()).size(), 5U);
    EXPECT_TRUE(std::ranges::is_sorted(paths));
    seen.insert(paths.begin(), paths.end());
  }
  EXPECT_EQ(seen.size(), 26U);
}

TEST(ProbeSet, RefusesDomainsWithoutPromptsAndNamesTwice) {
  const auto error = [](const std::vector<DomainSource>& sources) {
    return input_error([&] { (void)make_probe_set(sources, kPrompts, {}); });
  };
  EXPECT_THAT(error({source("charts", {row("a")})}), HasSubstr("domain charts has no prompts"));
  EXPECT_THAT(error({source("math", {row("a")}), source("math", {row("b")})}),
              HasSubstr("math comes twice"));
  EXPECT_THAT(error({source("math", {row("a", "Why?", "cot")})}),
              HasSubstr("subtask cot has a prompt in the prompts file already"));
}

}  // namespace
}  // namespace espalier
