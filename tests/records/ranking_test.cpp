// SPDX-License-Identifier: Apache-2.0
#include "espalier/records/ranking.h"

#include <gmock/gmock.h>

#include <functional>
#include <nlohmann/json.hpp>

#include "espalier/base/files.h"
#include "tests/support.h"

namespace espalier {
namespace {

using nlohmann::json;
using test::input_error;
using ::testing::HasSubstr;

/// A ranking of 6 layers that has every field set.
Ranking small_ranking() {
  CriterionResult math{.name = "math",
                       .parameters = R"({"aggregation":"samples"})",
                       .scores = {std::nullopt, 0.5, 0.1 + 0.2, -1e-300, 0.25, std::nullopt},
                       .order = {1, 2, 4, 3},
                       .rank_interval = {{0, 0}, {1, 2}, {1, 3}, {4, 4}, {2, 3}, {0, 0}}};
  CriterionResult interlace{
      .name = "interlace",
      .parameters = "{}",
      .scores = {0.1, 0.2, 0.3, 0.4, 0.5, std::nullopt},
      .pair_scores = {0.1, 0.2, 0.3, 0.4, std::nullopt, std::nullopt},
      .triplet_scores = {0.1, 0.2, 0.3, std::nullopt, std::nullopt, std::nullopt},
      .order = {4, 3, 2, 1}};
  Selection first{.criterion = "math",
                  .rule = "topk",
                  .budget = {1, 4},
                  .k = 1,
                  .removed = {1},
                  .stages = {"top: 1"},
                  .stability = 0.875,
                  .removal_share = {0, 0.875, 0.125, 0, 0, 0}};
  Selection second{.criterion = "interlace",
                   .rule = "triplets",
                   .budget = layer_budget(2),
                   .k = 2,
                   .removed = {2, 4},
                   .stages = {"triplets: 1", "pairs: 1"},
                   .price = 0.1};
  return {.probe_fingerprint = "p",
          .domains = {{.name = "math", .samples = 5000}, {.name = "nonmath", .samples = 4000}},
          .model = {"m", "Qwen3VLForConditionalGeneration", 6, 8},
          .prunable = {1, 2, 3, 4},
          .protected_layers = {0, 5},
          .criteria = {math, interlace},
          .selections = {first, second},
          .alpha = {{.first_domain = "math",
                     .second_domain = "nonmath",
                     .budget = {1, 4},
                     .k = 1,
                     .intervals = {{0.0, 1.0 / 3.0, {1}, 1.5, -0.5, true},
                                   {1.0 / 3.0, 1.0, {3}, -1.0, 2.0, false}}}},
          .bootstrap = {.resamples = 8, .seed = UINT64_MAX, .level = 0.95},
          .options = R"({"seed":0})"};
}

TEST(Ranking, IsReadBackAsItWasWritten) {
  const test::TemporaryDirectory folder;
  const Ranking ranking = small_ranking();
  write_ranking(folder / "r.json", ranking, false);
  EXPECT_EQ(read_ranking(folder / "r.json"), ranking);
}

TEST(Ranking, IsNotReplacedWithoutForce) {
  const test::TemporaryDirectory folder;
  write_ranking(folder / "r.json", small_ranking(), false);
  const auto before = test::snapshot(folder.path());
  Ranking other = small_ranking();
  other.probe_fingerprint = "q";
  EXPECT_THAT(input_error([&] { write_ranking(folder / "r.json", other, false); }),
              HasSubstr("r.json"));
  EXPECT_EQ(test::snapshot(folder.path()), before);
  write_ranking(folder / "r.json", other, true);
  EXPECT_EQ(read_ranking(folder / "r.json"), other);
}

TEST(Ranking, HasAFingerprintOfWhatItSaysAndNotOfHowItWasAsked) {
  Ranking other = small_ranking();
  other.options = "{}";
  EXPECT_EQ(fingerprint(other), fingerprint(small_ranking()));
  other.selections[0].removed = {2};
  EXPECT_NE(fingerprint(other), fingerprint(small_ranking()));
}

/// What reading says after a change to the file.
std::string error_after(const std::function<void(json&)>& change) {
  const test::TemporaryDirectory folder;
  write_ranking(folder / "r.json", small_ranking(), false);
  json document = json::parse(read_file(folder / "r.json"));
  change(document);
  test::write_quickly(folder / "r.json", document.dump());
  return input_error([&] { (void)read_ranking(folder / "r.json"); });
}

TEST(Ranking, RefusesAnotherKindOrSchema) {
  EXPECT_THAT(error_after([](json& r) { r["kind"] = "probe"; }), HasSubstr("kind: wanted ranking"));
  EXPECT_THAT(error_after([](json& r) { r["schema"] = 2; }), HasSubstr("schema: wanted 1"));
}

TEST(Ranking, RefusesMissingAndUnknownKeys) {
  const json whole = [] {
    const test::TemporaryDirectory folder;
    write_ranking(folder / "r.json", small_ranking(), false);
    return json::parse(read_file(folder / "r.json"));
  }();
  for (const auto& [key, value] : whole.items()) {
    if (key == "tool_version") continue;
    EXPECT_THAT(error_after([&](json& r) { r.erase(key); }), HasSubstr(key));
  }
  for (const char* list : {"criteria", "selections", "alpha"}) {
    for (const auto& [key, value] : whole[list][0].items()) {
      EXPECT_THAT(error_after([&](json& r) { r[list][0].erase(key); }), HasSubstr(key));
    }
    EXPECT_THAT(error_after([&](json& r) { r[list][0]["surplus"] = 1; }), HasSubstr("surplus"));
  }
  EXPECT_THAT(error_after([](json& r) { r["surplus"] = 1; }), HasSubstr("surplus"));
  EXPECT_THAT(error_after([](json& r) { r["model"]["surplus"] = 1; }), HasSubstr("surplus"));
  EXPECT_THAT(error_after([](json& r) { r["probe"]["surplus"] = 1; }), HasSubstr("surplus"));
  EXPECT_THAT(error_after([](json& r) { r["probe"]["domains"][1]["samples"] = -1; }),
              HasSubstr("domains[1]: samples"));
  EXPECT_THAT(error_after([](json& r) { r["bootstrap"]["surplus"] = 1; }), HasSubstr("surplus"));
}

TEST(Ranking, RefusesWhatContradictsItself) {
  const std::vector<std::pair<std::function<void(json&)>, std::string>> cases = {
      {[](json& r) {
         r["prunable"] = {1, 3, 2, 4};
       },
       "prunable: wanted ascending"},
      {[](json& r) {
         r["prunable"] = {1, 2, 3, 6};
       },
       "layers from 0 to 5"},
      {[](json& r) {
         r["protected"] = {0, 4};
       },
       "layer 4 is both"},
      {[](json& r) { r["criteria"][0]["scores"].erase(0); }, "scores: wanted 6 entries"},
      {[](json& r) { r["criteria"][0]["scores"][1] = "x"; }, "scores: wanted finite"},
      {[](json& r) { r["criteria"][0]["parameters"] = 1; }, "parameters: wanted an object"},
      {[](json& r) { r["criteria"][0]["order"][0] = 2; }, "order: wanted the prunable"},
      {[](json& r) { r["criteria"][0]["rank_interval"][1][1] = 5; }, "rank_interval"},
      {[](json& r) {
         r["criteria"][0]["rank_interval"][1] = {3, 2};
       },
       "rank_interval"},
      {[](json& r) { r["criteria"][0]["rank_interval"][1] = 7; }, "rank_interval"},
      {[](json& r) { r["selections"][0]["criterion"] = "cka"; }, "cka is not among"},
      {[](json& r) { r["selections"][0]["removed"] = {5}; }, "not prunable"},
      {[](json& r) {
         r["selections"][0]["removed"] = {1, 2};
       },
       "wanted K = 1"},
      {[](json& r) { r["selections"][0]["K"] = 2; }, "K: wanted 1 for 25%"},
      {[](json& r) { r["selections"][0]["budget"] = "0%"; }, "budget: budget 0%"},
      {[](json& r) { r["selections"][0]["stability"] = 1.5; }, "stability: wanted a share"},
      {[](json& r) { r["selections"][0]["removal_share"][0] = -1; }, "removal_share"},
      {[](json& r) { r["selections"][0]["removal_share"].erase(0); }, "removal_share"},
      {[](json& r) { r["selections"][0]["stages"] = {1}; }, "stages: wanted a list of texts"},
      {[](json& r) { r["alpha"][0]["intervals"][0]["hi"] = 0.25; }, "without a gap"},
      {[](json& r) { r["alpha"][0]["intervals"].erase(1); }, "end at 1"},
      {[](json& r) { r["bootstrap"]["unit"] = "sample"; }, "unit: wanted image"},
      {[](json& r) { r["bootstrap"]["seed"] = -1; }, "seed: wanted a whole number"},
      {[](json& r) { r["bootstrap"]["resamples"] = -1; }, "resamples"},
      {[](json& r) { r["model"]["num_layers"] = 0; }, "0 layers of 8 cannot be"},
      {[](json& r) { r["options"] = json::array(); }, "options: wanted an object"},
  };
  for (const auto& [change, part] : cases) EXPECT_THAT(error_after(change), HasSubstr(part));
}

TEST(Ranking, RefusesATruncatedOrMissingFile) {
  const test::TemporaryDirectory folder;
  EXPECT_THAT(input_error([&] { (void)read_ranking(folder / "r.json"); }), HasSubstr("r.json"));
  write_ranking(folder / "r.json", small_ranking(), false);
  const std::string text = read_file(folder / "r.json");
  test::write_quickly(folder / "r.json", std::string_view(text).substr(0, text.size() / 2));
  EXPECT_THAT(input_error([&] { (void)read_ranking(folder / "r.json"); }), HasSubstr("r.json"));
}

}  // namespace
}  // namespace espalier
