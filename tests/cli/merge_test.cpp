// SPDX-License-Identifier: Apache-2.0
// `espalier merge`: what it writes, and which adapters it refuses.
#include <gmock/gmock.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>
#include <span>

#include "espalier/base/files.h"
#include "espalier/base/safetensors.h"
#include "tests/cli/finetune_fixture.h"
#include "tests/support.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using test::Words;
using testing::AllOf;
using testing::HasSubstr;

class MergeCommand : public test::FinetuneBase {};

float bfloat16_at(std::span<const std::byte> bytes, std::size_t i) {
  std::uint16_t half = 0;
  std::memcpy(&half, bytes.data() + 2 * i, sizeof half);
  return std::bit_cast<float>(static_cast<std::uint32_t>(half) << 16U);
}

float float32_at(std::span<const std::byte> bytes, std::size_t i) {
  float value = 0.0F;
  std::memcpy(&value, bytes.data() + 4 * i, sizeof value);
  return value;
}

TEST_F(MergeCommand, AddsTheProductOfBothMatricesTimesAlphaOverRank) {
  run(command("run", {"--lora-rank", "4", "--lora-alpha", "12", "--merge-to", path("at-once")}));
  const auto result =
      run({"merge", path("model"), path("run"), "--out", path("merged"), "--json", "--quiet"});
  const std::string product = "model.language_model.layers.3.self_attn.k_proj";
  const SafetensorsFile lora(path("run/adapter_model.safetensors"));
  const SafetensorsFile base(path("model/model.safetensors"));
  const SafetensorsFile merged(path("merged/model.safetensors"));
  const auto a = lora.bytes("base_model.model." + product + ".lora_A.weight");
  const auto b = lora.bytes("base_model.model." + product + ".lora_B.weight");
  const auto from = base.bytes(product + ".weight");
  const auto to = merged.bytes(product + ".weight");
  constexpr std::size_t kOut = 64, kIn = 64, kRank = 4;
  for (std::size_t row = 0; row < kOut; ++row) {
    for (std::size_t column = 0; column < kIn; ++column) {
      double update = 0.0;
      for (std::size_t r = 0; r < kRank; ++r) {
        update += double{float32_at(b, row * kRank + r)} * float32_at(a, r * kIn + column);
      }
      const std::size_t i = row * kIn + column;
      const double wanted = bfloat16_at(from, i) + 12.0 / 4.0 * update;
      // Rounded once: half a unit of bfloat16's 8 bits, and a little for float32's sums.
      const double half_unit = std::ldexp(1.0, std::ilogb(wanted) - 8);
      ASSERT_NEAR(bfloat16_at(to, i), wanted, 1.001 * half_unit + 1e-9);
    }
  }
  const json report = json::parse(result.out);
  EXPECT_GT(report["changed"], report["numbers"].get<double>() / 3.0);
  EXPECT_EQ(report["numbers"], 6 * (128 * 64 * 2 + 64 * 64 * 2 + 64 * 128 * 3));
  EXPECT_LT(report["mean_divergence"], 1e-4);
  // --merge-to takes the same numbers, though the model ran with rounded ones.
  EXPECT_TRUE(read_file(path("at-once/model.safetensors")) ==
              read_file(path("merged/model.safetensors")));
  // What has no adapter is the base's.
  for (const auto& [name, info] : base.tensors()) {
    if (name.find("_proj.") != std::string::npos &&
        name.find("language_model") != std::string::npos)
      continue;
    ASSERT_TRUE(std::ranges::equal(base.bytes(name), merged.bytes(name))) << name;
  }
}

TEST_F(MergeCommand, MakesAModelThatPredictsAsTheAdapterDid) {
  const Words more = {"--val", path("train.jsonl"), "--dtype", "float32"};
  Words training = more;
  training.insert(training.end(), {"--epochs", "4", "--learning-rate", "1e-2"});
  run(command("run", training));
  run({"merge", path("model"), path("run"), "--out", path("merged"), "--quiet"});
  // A step at the rate 0 leaves a model as it is and measures it.
  Words measuring = more;
  measuring.insert(measuring.end(), {"--steps", "1", "--learning-rate", "0"});
  run(command("of-merged", measuring, "merged"));
  run(command("of-base", measuring));
  const double adapted = *steps("run").back().validation_loss;
  const double merged = *steps("of-merged").back().validation_loss;
  const double base = *steps("of-base").back().validation_loss;
  EXPECT_GT(base - adapted, 0.2);
  EXPECT_NEAR(merged, adapted, 0.01);
  // --merge-to writes the same weights at once.
  training.insert(training.end(), {"--merge-to", path("at-once")});
  run(command("again", training));
  EXPECT_TRUE(read_file(path("at-once/model.safetensors")) ==
              read_file(path("merged/model.safetensors")));
  EXPECT_THAT(read_file(path("at-once/README.md")), HasSubstr("--train lora --loss sft"));
}

TEST_F(MergeCommand, RefusesAnAdapterThatChangesNothing) {
  run(command("run", {"--steps", "1", "--learning-rate", "0"}));
  EXPECT_THAT(refused({"merge", path("model"), path("run"), "--out", path("merged")}),
              AllOf(HasSubstr("merged"), HasSubstr("the adapter changes no weight")));
}

/// Writes an adapter's weights anew, without the note of its base, as PEFT would.
void rewrite(const fs::path& file,
             const std::function<void(const std::string&, std::string&)>& edit) {
  std::vector<TensorSpec> specs;
  std::vector<std::string> data;
  {
    const SafetensorsFile old(file);
    for (const auto& [name, info] : old.tensors()) {
      const auto bytes = old.bytes(name);
      specs.push_back({.name = name, .dtype = info.dtype, .shape = info.shape});
      data.emplace_back(reinterpret_cast<const char*>(bytes.data()), bytes.size());
      edit(name, data.back());
    }
  }
  SafetensorsWriter writer(file, specs, /*force=*/true);
  for (const std::string& bytes : data) writer.write(test::as_bytes(bytes));
  writer.finish();
}

TEST_F(MergeCommand, RefusesAnAdapterOfAnotherModel) {
  run(command("run", {"--steps", "1"}));
  const auto merge = [&](const std::string& model) {
    return Words{"merge", model, path("run"), "--out", path("merged")};
  };
  const std::string narrow = test::fixture("models/gqa_tied");
  init("stranger", "1");
  EXPECT_THAT(refused(merge(path("stranger"))),
              AllOf(HasSubstr(path("run")), HasSubstr("it was trained on the model")));
  EXPECT_THAT(refused(merge(narrow)), HasSubstr("it was trained on the model"));
  // PEFT's own files do not say what they were trained on; then shapes must do.
  rewrite(path("run/adapter_model.safetensors"), [](const std::string&, std::string&) {});
  EXPECT_THAT(refused(merge(narrow)),
              AllOf(HasSubstr("lora_A.weight is 32x64, but the model wants 32x48"),
                    HasSubstr("another model")));
  run({"prune", path("model"), "--layers", "2", "--quiet", "--out", path("pruned")});
  EXPECT_THAT(refused(merge(path("pruned"))),
              AllOf(HasSubstr("layers.5."), HasSubstr("of 5 layers, has no such product")));
}

TEST_F(MergeCommand, RefusesABrokenAdapter) {
  run(command("run", {"--steps", "2"}));
  const Words merge = {"merge", path("model"), path("run"), "--out", path("merged")};
  const std::string config = read_file(path("run/adapter_config.json"));
  const auto with = [&](const char* key, const json& value) {
    json changed = json::parse(config);
    changed[key] = value;
    test::write_quickly(path("run/adapter_config.json"), changed.dump());
    return refused(merge);
  };
  EXPECT_THAT(with("peft_type", "LOHA"), HasSubstr("peft_type: wanted LORA, found LOHA"));
  EXPECT_THAT(with("use_dora", true), HasSubstr("use_dora"));
  EXPECT_THAT(with("r", 0), HasSubstr("r: wanted at least 1"));
  EXPECT_THAT(with("modules_to_save", {"lm_head"}), HasSubstr("modules_to_save"));
  test::write_quickly(path("run/adapter_config.json"), config);
  rewrite(path("run/adapter_model.safetensors"), [](const std::string& name, std::string& bytes) {
    if (name.find("layers.3.mlp.up_proj.lora_B") == std::string::npos) return;
    const float nan = std::numeric_limits<float>::quiet_NaN();
    std::memcpy(bytes.data(), &nan, sizeof nan);
  });
  EXPECT_THAT(refused(merge),
              AllOf(HasSubstr("layers.3.mlp.up_proj.lora_B.weight"), HasSubstr("not finite")));
  fs::resize_file(path("run/adapter_model.safetensors"), 5000);
  EXPECT_THAT(refused(merge), HasSubstr("adapter_model.safetensors"));
  EXPECT_THAT(refused({"merge", path("model"), path("gone"), "--out", path("merged")}),
              HasSubstr("no adapter here"));
}

TEST_F(MergeCommand, ReplacesNothingUnasked) {
  run(command("run", {"--steps", "2"}));
  Words merge = {"merge", path("model"), path("run"), "--out", path("merged"), "--quiet"};
  run(merge);
  EXPECT_THAT(refused(merge), HasSubstr("merged: exists already"));
  merge.push_back("--force");
  const auto before = test::snapshot(path("merged"));
  run(merge);
  EXPECT_TRUE(test::snapshot(path("merged")) == before);
  EXPECT_THAT(refused({"merge", path("model"), path("run"), "--out", path("model"), "--force"}),
              HasSubstr("is the base"));
}

}  // namespace
}  // namespace espalier
