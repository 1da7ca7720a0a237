// SPDX-License-Identifier: Apache-2.0
#include "espalier/records/plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>

#include "tests/support.h"

namespace espalier {
namespace {

using nlohmann::json;
using test::input_error;
using test::TemporaryDirectory;
using test::write_quickly;
using ::testing::AllOf;
using ::testing::HasSubstr;

/// Six layers, of which 2 and 4 go.
Plan first_plan() {
  return {.base_name = "Qwen/base",
          .base_path = "../base",
          .base_fingerprint = std::string(64, 'a'),
          .num_layers = 6,
          .protected_layers = {0, 5},
          .removed = {2, 4},
          .kept = {0, 1, 3, 5},
          .removed_original = {2, 4},
          .kept_original = {0, 1, 3, 5},
          .criterion = "mixed",
          .rule = "topk",
          .budget = parse_budget("1/2"),
          .k = 2,
          .relaxations = {"pairs: 1"},
          .deepstack_shift = true,
          .parameters = {.before = 100, .after = 80},
          .bytes = {.before = 200, .after = 160},
          .ranking_fingerprint = std::string(64, 'b'),
          .lineage = {},
          .options = R"({"alpha":0.7})"};
}

/// Of the four that are left, 0 1 3 5, the one at place 2 goes: layer 3 of the first model.
Plan second_plan() {
  Plan plan = first_plan();
  plan.lineage = {first_plan()};
  plan.lineage.front().base_path.clear();
  plan.base_name = "pruned once";
  plan.num_layers = 4;
  plan.protected_layers = {0, 3};
  plan.removed = {2};
  plan.kept = {0, 1, 3};
  plan.removed_original = {3};
  plan.kept_original = {0, 1, 5};
  plan.criterion = plan.rule = plan.ranking_fingerprint = "";
  plan.budget = layer_budget(1);
  plan.k = 1;
  plan.relaxations.clear();
  return plan;
}

TEST(Plan, IsReadAsItWasWritten) {
  const TemporaryDirectory folder;
  for (const Plan& plan : {first_plan(), second_plan()}) {
    write_quickly(folder / "plan.json", to_json_text(plan));
    EXPECT_EQ(read_plan(folder / "plan.json"), plan);
  }
}

TEST(Plan, NamesSchemaAndKind) {
  const json value = json::parse(to_json_text(first_plan()));
  EXPECT_EQ(value.at("schema"), 1);
  EXPECT_EQ(value.at("kind"), "plan");
  EXPECT_EQ(value.at("budget"), "50%");
  EXPECT_EQ(value.at("base").at("name"), "Qwen/base");
}

std::string error_after(const Plan& plan, const std::function<void(json&)>& edit) {
  const TemporaryDirectory folder;
  json value = json::parse(to_json_text(plan));
  edit(value);
  write_quickly(folder / "plan.json", value.dump());
  return input_error([&] { read_plan(folder / "plan.json"); });
}

/// An edit that breaks a plan, and what the message must name.
struct Broken {
  std::function<void(json&)> edit;
  std::string wanted;
};

TEST(Plan, RefusesWhatIsBrokenAndNamesTheKey) {
  const std::vector<Broken> edits = {
      {[](json& v) { v.erase("schema"); }, "wanted a plan"},
      {[](json& v) { v["schema"] = 2; }, "found plan of schema 2"},
      {[](json& v) { v["kind"] = "ranking"; }, "found ranking of schema 1"},
      {[](json& v) { v.erase("kept"); }, "\"kept\" is missing"},
      {[](json& v) { v["surplus"] = 1; }, "unknown keys"},
      {[](json& v) { v["base"]["fingerprint"] = "abc"; }, "base: fingerprint: wanted 64"},
      {[](json& v) { v["base"]["fingerprint"] = std::string(64, 'x'); }, "hexadecimal"},
      {[](json& v) { v["num_layers"] = 0; }, "num_layers: wanted 1 to"},
      {[](json& v) { v["num_layers"] = std::int64_t{1} << 60; }, "num_layers: wanted 1 to"},
      {[](json& v) { v["num_layers"] = 7; }, "make up the base's 7 layers"},
      {[](json& v) {
         v["removed"] = {4, 2};
       },
       "removed: wanted ascending"},
      {[](json& v) {
         v["removed"] = {2, 2};
       },
       "removed: wanted ascending"},
      {[](json& v) {
         v["removed"] = {2, 6};
       },
       "removed: wanted ascending layers from 0 to 5"},
      {[](json& v) { v["removed"] = {2}; }, "make up the base's 6 layers"},
      {[](json& v) {
         v["kept"] = {0, 1, 2, 3, 5};
       },
       "make up the base's 6 layers"},
      {[](json& v) { v["kept"] = json::array(); }, "kept: wanted at least one"},
      {[](json& v) {
         v["kept_original"] = {0, 1, 4, 5};
       },
       "kept_original and removed_original"},
      {[](json& v) { v["K"] = 3; }, "K: wanted 2"},
      {[](json& v) { v["budget"] = "200%"; }, "budget"},
      {[](json& v) { v["parameters"]["after"] = 101; }, "parameters: wanted no more after"},
      {[](json& v) { v["bytes"]["after"] = -1; }, "bytes: wanted no more after"},
      {[](json& v) { v["relaxations"] = {1}; }, "relaxations: wanted a list of texts"},
      {[](json& v) { v["ranking"]["fingerprint"] = ""; }, "ranking: fingerprint"},
      {[](json& v) { v["options"] = "none"; }, "options: wanted an object"},
      {[](json& v) { v["lineage"] = 3; }, "lineage"}};
  for (const auto& [edit, wanted] : edits) {
    EXPECT_THAT(error_after(first_plan(), edit), AllOf(HasSubstr("plan.json"), HasSubstr(wanted)));
  }
}

TEST(Plan, RefusesALineageThatDoesNotLeadToIt) {
  const auto after = [](const std::function<void(json&)>& edit) {
    return error_after(second_plan(), edit);
  };
  EXPECT_THAT(after([](json& v) { v["lineage"] = json::array(); }),
              HasSubstr("kept_original and removed_original"));
  EXPECT_THAT(after([](json& v) { v["removed_original"] = {2}; }),
              HasSubstr("kept_original and removed_original"));
  EXPECT_THAT(after([](json& v) { v["lineage"][0]["K"] = 9; }), HasSubstr("lineage[0]: K"));
  EXPECT_THAT(after([](json& v) { v["lineage"][0]["lineage"] = json::array(); }),
              AllOf(HasSubstr("lineage[0]"), HasSubstr("unknown keys")));
}

TEST(Plan, RefusesAFileOfAnotherKind) {
  const TemporaryDirectory folder;
  write_quickly(folder / "config.json", R"({"model_type": "qwen3_vl"})");
  EXPECT_THAT(input_error([&] { read_plan(folder / "config.json"); }),
              AllOf(HasSubstr("config.json: wanted a plan"), HasSubstr("--map-only")));
}

}  // namespace
}  // namespace espalier
