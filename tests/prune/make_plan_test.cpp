// SPDX-License-Identifier: Apache-2.0
#include "espalier/prune/make_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "espalier/prune/surgery.h"
#include "tests/support.h"

namespace espalier {
namespace {

using Layers = std::vector<std::int64_t>;
using test::input_error;
using test::TemporaryDirectory;
using ::testing::HasSubstr;

// Four layers; DeepStack features after places 0, 1 and 2.
ModelDirectory base() { return open_model_directory(test::fixture("models/gqa_tied")); }

Plan choice(Layers removed) {
  return {.base_name = "base",
          .protected_layers = protected_layers(4, {}),
          .removed = std::move(removed),
          .budget = layer_budget(1)};
}

TEST(ProtectedLayers, AreTheFirstTheLastAndThoseThatAreAdded) {
  EXPECT_EQ(protected_layers(6, {}), Layers({0, 5}));
  EXPECT_EQ(protected_layers(6, Layers{2, 5, 1, 2}), Layers({0, 1, 2, 5}));
  EXPECT_THAT(input_error([] { protected_layers(6, Layers{6}); }),
              HasSubstr("--protect: layer 6: the model has layers 0 to 5"));
}

// One decoder layer of gqa_tied, counted from its configuration: norms 48 + 48, q 128 * 48,
// k and v 64 * 48 each, o 48 * 128, q and k norms 32 + 32, three matrices of 80 * 48.
TEST(CompletePlan, SaysWhatStaysAndWhatItSaves) {
  const std::int64_t layer = 48 + 48 + 128 * 48 + 2 * 64 * 48 + 48 * 128 + 32 + 32 + 3 * 80 * 48;
  const ModelDirectory model = base();
  const Plan plan = complete_plan(model, choice({1}));
  EXPECT_EQ(plan.num_layers, 4);
  EXPECT_EQ(plan.kept, Layers({0, 2, 3}));
  EXPECT_EQ(plan.kept_original, plan.kept);
  EXPECT_EQ(plan.removed_original, plan.removed);
  EXPECT_EQ(plan.k, 1);
  EXPECT_EQ(plan.base_fingerprint, fingerprint(model));
  EXPECT_EQ(plan.parameters.before, count_parameters(model.config));
  EXPECT_EQ(plan.parameters.before - plan.parameters.after, layer);
  EXPECT_EQ(plan.bytes.before - plan.bytes.after, 4 * layer);  // float32
  EXPECT_TRUE(plan.lineage.empty());
}

TEST(CompletePlan, TellsWhetherADeepStackFeatureIsShifted) {
  EXPECT_TRUE(complete_plan(base(), choice({2})).deepstack_shift);
  // Two features of four layers: after places 0 and 1.
  const ModelDirectory two = open_model_directory(test::fixture("models/mha_resaved"));
  EXPECT_FALSE(complete_plan(two, choice({2})).deepstack_shift);
  EXPECT_TRUE(complete_plan(two, choice({1, 2})).deepstack_shift);
}

// Of 0 1 2 3 layer 1 goes; of the 0 2 3 that are left, the one at place 1, which was 2.
TEST(CompletePlan, OfAPrunedModelGivesTheOriginalNumbersAndTheLineage) {
  const TemporaryDirectory folder;
  const Plan first = complete_plan(base(), choice({1}));
  prune_checkpoint(base(), first, folder / "once", {});
  const ModelDirectory once = open_model_directory(folder / "once");
  ASSERT_EQ(once.plan, first);
  Plan second = choice({1});
  second.protected_layers = protected_layers(3, {});
  second = complete_plan(once, second);
  EXPECT_EQ(second.num_layers, 3);
  EXPECT_EQ(second.kept, Layers({0, 2}));
  EXPECT_EQ(second.kept_original, Layers({0, 3}));
  EXPECT_EQ(second.removed_original, Layers({2}));
  EXPECT_EQ(second.lineage, std::vector<Plan>{first});
}

TEST(CompletePlan, RefusesLayersThatCannotGo) {
  const auto error = [](Layers removed) {
    return input_error([&] { complete_plan(base(), choice(std::move(removed))); });
  };
  EXPECT_THAT(error({}), HasSubstr("wanted at least one"));
  EXPECT_THAT(error({0}), HasSubstr("layer 0 is protected: the first layer"));
  EXPECT_THAT(error({1, 3}), HasSubstr("layer 3 is protected: the first layer"));
  EXPECT_THAT(error({4}), HasSubstr("wanted layers from 0 to 3, found 4"));
  EXPECT_THAT(error({-1}), HasSubstr("found -1"));
  EXPECT_THAT(error({2, 1, 2}), HasSubstr("found 2 twice"));
  Plan shielded = choice({1});
  shielded.protected_layers = {0, 1, 3};
  EXPECT_THAT(input_error([&] { complete_plan(base(), shielded); }), HasSubstr("--protect"));
}

}  // namespace
}  // namespace espalier
