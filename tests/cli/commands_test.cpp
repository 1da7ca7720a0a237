// SPDX-License-Identifier: Apache-2.0
// The commands as a user runs them, on a small checkpoint.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "espalier/base/safetensors.h"
#include "tests/support.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;
using test::CommandResult;
using test::TemporaryDirectory;
using testing::AllOf;
using testing::HasSubstr;

class Commands : public testing::Test {
 protected:
  CommandResult init_tiny(const std::string& name, const std::string& seed = "0") {
    return test::run_espalier(
        {"init", scratch_ / name, "--preset", "tiny", "--seed", seed, "--quiet"});
  }

  /// The answer of `generate --json` on the tiny checkpoint.
  nlohmann::json generate(std::vector<std::string> options) {
    std::vector<std::string> command = {
        "generate", scratch_ / "tiny", "--image", test::fixture("models/gqa_tied/tall.png"),
        "--prompt", "Describe this.",  "--json",  "--max-new-tokens",
        "12"};
    command.insert(command.end(), options.begin(), options.end());
    const CommandResult result = test::run_espalier(command);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return nlohmann::json::parse(result.out);
  }

  const TemporaryDirectory scratch_;
};

TEST_F(Commands, HelpNamesEveryCommand) {
  const CommandResult result = test::run_espalier({"--help"});
  EXPECT_EQ(result.exit_code, 0);
  for (const char* command :
       {"inspect", "init", "generate", "trace", "probe", "rank", "prune", "verify"}) {
    EXPECT_THAT(result.out, HasSubstr(command));
  }
}

TEST_F(Commands, InitMakesWhatInspectFindsWhole) {
  ASSERT_EQ(init_tiny("tiny").exit_code, 0);
  const CommandResult result = test::run_espalier({"inspect", scratch_ / "tiny", "--json"});
  EXPECT_EQ(result.exit_code, 0) << result.out;
  const auto report = nlohmann::json::parse(result.out);
  EXPECT_TRUE(report.at("problems").empty());
  EXPECT_EQ(report.at("fingerprint").get<std::string>().size(), 64U);
}

TEST_F(Commands, SmallModelsAreCountedInSmallUnits) {
  const CommandResult init = test::run_espalier({"init", scratch_ / "tiny", "--preset", "tiny"});
  EXPECT_THAT(init.err, HasSubstr("writing 914.3 k random parameters"));
  EXPECT_THAT(test::run_espalier({"inspect", scratch_ / "tiny"}).out,
              AllOf(HasSubstr("parameters    914.3 k in 143 tensors"), HasSubstr("1.8 MB")));
}

TEST_F(Commands, InitSaysAsJsonWhatInspectFinds) {
  const fs::path out = scratch_ / "tiny";
  const CommandResult result =
      test::run_espalier({"init", out, "--preset", "tiny", "--seed", "7", "--json", "--quiet"});
  EXPECT_EQ(result.err, "");
  auto written = nlohmann::json::parse(result.out);
  EXPECT_EQ(written.at("out"), out.string());
  EXPECT_EQ(written.at("preset"), "tiny");
  EXPECT_EQ(written.at("seed"), 7);
  for (const char* key : {"out", "preset", "seed"}) written.erase(key);
  auto found = nlohmann::json::parse(test::run_espalier({"inspect", out, "--json"}).out);
  found.erase("problems");
  EXPECT_EQ(written, found);
}

TEST_F(Commands, InitDependsOnTheSeedAlone) {
  init_tiny("a", "3");
  init_tiny("b", "3");
  init_tiny("c", "4");
  EXPECT_EQ(test::snapshot(scratch_ / "a"), test::snapshot(scratch_ / "b"));
  EXPECT_NE(test::snapshot(scratch_ / "a"), test::snapshot(scratch_ / "c"));
}

TEST_F(Commands, GenerateStreamsTextAndRepeatsItselfForASeed) {
  init_tiny("tiny");
  const auto greedy = generate({"--greedy"});
  EXPECT_LE(greedy.at("ids").size(), 12U);
  EXPECT_EQ(greedy.at("ids"), generate({"--greedy", "--seed", "5"}).at("ids"));
  const auto sampled = generate({"--sample", "--temperature", "2", "--top-k", "0", "--top-p", "1"});
  EXPECT_EQ(sampled.at("ids"),
            generate({"--sample", "--temperature", "2", "--top-k", "0", "--top-p", "1"}).at("ids"));
  EXPECT_NE(sampled.at("ids"), generate({"--sample", "--temperature", "2", "--top-k", "0",
                                         "--top-p", "1", "--seed", "1"})
                                   .at("ids"));
}

TEST_F(Commands, AModelMayFollowAPicture) {
  const fs::path model = test::fixture("models/gqa_tied");
  const CommandResult result =
      test::run_espalier({"generate", "--image", model / "wide.png", model, "--prompt", "Hi",
                          "--max-new-tokens", "1", "--greedy", "--quiet"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
}

TEST_F(Commands, TraceNamesEveryStage) {
  const fs::path model = test::fixture("models/gqa_tied");
  const CommandResult result =
      test::run_espalier({"trace", model, "--image", model / "wide.png", "--image",
                          model / "tall.png", "--prompt", "What differs between the two?", "--out",
                          scratch_ / "t.safetensors", "--max-new-tokens", "20", "--quiet"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const SafetensorsFile found(scratch_ / "t.safetensors");
  const SafetensorsFile expected(model / "expected.safetensors");
  for (const auto& [name, info] : expected.tensors()) {
    ASSERT_TRUE(found.tensors().contains(name)) << name;
    EXPECT_EQ(found.tensors().at(name).shape, info.shape) << name;
    EXPECT_EQ(found.tensors().at(name).dtype, info.dtype) << name;
  }
  EXPECT_EQ(found.tensors().size(), expected.tensors().size());
}

TEST_F(Commands, TraceOfATextHasNoPictures) {
  init_tiny("tiny");
  const CommandResult result = test::run_espalier({"trace", scratch_ / "tiny", "--prompt", "Hi",
                                                   "--out", scratch_ / "t.safetensors",
                                                   "--all-logits", "--dtype", "float32", "--json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const SafetensorsFile found(scratch_ / "t.safetensors");
  EXPECT_FALSE(found.tensors().contains("pixel_values"));
  const auto summary = nlohmann::json::parse(result.out);
  EXPECT_EQ(summary.at("out"), (scratch_ / "t.safetensors").string());
  EXPECT_EQ(summary.at("tensors"), found.tensors().size());
  EXPECT_EQ(summary.at("prompt_tokens"), found.tensors().at("input_ids").shape[0]);
  EXPECT_EQ(found.tensors().at("logits").shape[0], found.tensors().at("input_ids").shape[0]);
}

}  // namespace
}  // namespace espalier
