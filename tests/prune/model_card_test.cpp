// SPDX-License-Identifier: Apache-2.0
#include "espalier/prune/model_card.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support.h"

namespace espalier {
namespace {

using test::input_error;
using test::TemporaryDirectory;
using test::write_quickly;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;

Plan plan() {
  return {.base_name = "Qwen/Qwen3-VL-2B-Instruct",
          .base_fingerprint = std::string(64, 'a'),
          .num_layers = 6,
          .protected_layers = {0, 5},
          .removed = {2, 3},
          .kept = {0, 1, 4, 5},
          .removed_original = {2, 3},
          .kept_original = {0, 1, 4, 5},
          .criterion = "mixed",
          .rule = "topk",
          .budget = parse_budget("50%"),
          .k = 2,
          .relaxations = {},
          .deepstack_shift = false,
          .parameters = {.before = 1000000, .after = 750000},
          .bytes = {.before = 2000000, .after = 1500000},
          .ranking_fingerprint = std::string(64, 'b')};
}

TEST(ModelCard, BeginsWithTheHeadThatHubsRead) {
  EXPECT_THAT(model_card(plan(), {.name = "small", .licence = {"license: apache-2.0"}}),
              StartsWith("---\n"
                         "base_model: \"Qwen/Qwen3-VL-2B-Instruct\"\n"
                         "license: apache-2.0\n"
                         "library_name: transformers\n"
                         "pipeline_tag: image-text-to-text\n"
                         "tags:\n- espalier\n- depth-pruning\n- qwen3_vl\n"
                         "---\n\n# small\n"));
}

TEST(ModelCard, SaysWhatWasRemovedHowAndWhatIsNotMeasured) {
  const std::string card = model_card(plan(), {.name = "small", .data = {"9000 samples"}});
  for (const char* part :
       {"| removed | 2-3 |", "| kept | 0-1, 4-5 |", "Criterion `mixed`, rule `topk`, budget 50%",
        "9000 samples", "| parameters | 1,000,000 | 750,000 | 25.0 % |", "Not measured.",
        "espalier prune Qwen/Qwen3-VL-2B-Instruct --ranking ranking.json --criterion mixed --rule "
        "topk --budget 50% --out small\n",
        "--prune-layers 2,3 ", "AutoModelForImageTextToText", "vllm serve small",
        "names no licence"}) {
    EXPECT_THAT(card, HasSubstr(part));
  }
  EXPECT_THAT(card, Not(HasSubstr("DeepStack")));
  EXPECT_THAT(model_card(plan(), {.name = "small", .licence = {"license: mit"}}),
              Not(HasSubstr("names no licence")));
}

TEST(ModelCard, NamesTheCommandsOfEveryStep) {
  Plan second = plan();
  second.lineage = {plan()};
  second.base_name = "half way";
  second.criterion = second.rule = second.ranking_fingerprint = "";
  second.removed = {1, 2};
  EXPECT_THAT(model_card(second, {.name = "small"}),
              AllOf(HasSubstr("--budget 50% --out 'half way'\n"
                              "espalier prune 'half way' --layers 1-2 --out small\n"
                              "espalier verify small --against 'half way'\n"),
                    HasSubstr("named by hand"), HasSubstr("was pruned before")));
}

TEST(ModelCard, TakesTheLicenceFromTheBasesHead) {
  const TemporaryDirectory folder;
  const auto licence_of = [&](const std::string& readme) {
    write_quickly(folder / "README.md", readme);
    return read_licence(folder.path());
  };
  EXPECT_THAT(read_licence(folder.path()), IsEmpty());
  EXPECT_THAT(licence_of("---\nlicense: other\r\nlicense_name: x\ntags:\n- y\n---\nlicense: no\n"),
              ElementsAre("license: other", "license_name: x"));
  EXPECT_THAT(licence_of("# Model\nlicense: no\n"), IsEmpty());
  EXPECT_THAT(licence_of("---\nlicense:\n- a\n---\n"), IsEmpty());
  EXPECT_THAT(licence_of(""), IsEmpty());
}

TEST(ModelCard, TakesASpeedInThePlaceOfTheLast) {
  const CardSpeed speed{.conditions = "cpu",
                        .first_token_seconds_before = 3.0,
                        .first_token_seconds_after = 2.0,
                        .tokens_per_second_before = 4.0,
                        .tokens_per_second_after = 5.0};
  const std::string card = model_card(plan(), {.name = "small"});
  const std::string once = with_speed(card, speed);
  EXPECT_THAT(once, AllOf(HasSubstr("| seconds to the first token | 3.000 | 2.000 | 1.50 |"),
                          HasSubstr("| tokens a second after it | 4.00 | 5.00 | 1.25 |"),
                          HasSubstr("## Scores\n\n<!-- scores -->\nNot measured.")));
  EXPECT_EQ(with_speed(once, speed), once);
  EXPECT_THAT(input_error([&] { with_speed("# another card\n", speed); }), HasSubstr("README.md"));
}

TEST(ModelCard, TakesScoresInPlaceOfThoseThatStandThere) {
  const std::string card = model_card(plan(), {.name = "m"});
  CardScores scores{.conditions = "Of test.jsonl.",
                    .rows = {{"math", 3, 4, 0.75, 0.3, 0.95, std::nullopt}}};
  const std::string once = with_scores(card, scores);
  EXPECT_THAT(once,
              AllOf(HasSubstr("| domain | right | asked | % | 95 % |\n"),
                    HasSubstr("| math | 3 | 4 | 75.00 | 30.00 to 95.00 |\n"),
                    HasSubstr("Of test.jsonl."), HasSubstr("## Speed\n\n<!-- speed -->\nNot")));
  EXPECT_EQ(with_scores(once, scores), once);
  scores.rows.front().before = 0.5;
  EXPECT_THAT(with_scores(once, scores),
              AllOf(HasSubstr("| before, % |"), HasSubstr("30.00 to 95.00 | 50.00 |")));
  EXPECT_THAT(input_error([&] { with_scores("# another card\n", scores); }),
              HasSubstr("README.md"));
}

TEST(MergekitRecipe, HasHalfOpenRanges) {
  const std::vector<std::int64_t> kept = {0, 1, 4, 6, 7};
  EXPECT_EQ(mergekit_recipe("a/b", kept, DType::BF16),
            "# mergekit-yaml mergekit.yaml OUT makes the same model from the base.\n"
            "merge_method: passthrough\ndtype: bfloat16\nslices:\n"
            "  - sources:\n      - model: \"a/b\"\n        layer_range: [0, 2]\n"
            "  - sources:\n      - model: \"a/b\"\n        layer_range: [4, 5]\n"
            "  - sources:\n      - model: \"a/b\"\n        layer_range: [6, 8]\n");
}

}  // namespace
}  // namespace espalier
