// SPDX-License-Identifier: Apache-2.0
#include "espalier/prune/surgery.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "espalier/base/files.h"
#include "espalier/base/json.h"
#include "espalier/checkpoint/folder.h"
#include "espalier/prune/make_plan.h"
#include "tests/support.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;
using Layers = std::vector<std::int64_t>;
using test::input_error;
using test::TemporaryDirectory;
using test::write_quickly;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

/// A copy of a fixture that may be changed, and a place beside it.
class Surgery : public testing::Test {
 protected:
  explicit Surgery(const std::string& model = "gqa_tied") {
    fs::copy(test::fixture("models/" + model), base_);
  }

  SurgeryResult prune(const Layers& removed, const SurgeryOptions& options = {}) {
    const ModelDirectory base = open_model_directory(base_);
    const std::int64_t layers = base.config.text.num_hidden_layers;
    const Plan plan = complete_plan(base, {.base_name = "base",
                                           .protected_layers = protected_layers(layers, {}),
                                           .removed = removed,
                                           .budget = layer_budget(std::ssize(removed))});
    return prune_checkpoint(base, plan, out_, options);
  }

  const TemporaryDirectory scratch_;
  const fs::path base_ = scratch_ / "base";
  const fs::path out_ = scratch_ / "out";
};

class SurgeryOnShards : public Surgery {
 protected:
  SurgeryOnShards() : Surgery("sharded_bf16") {}
};

std::string bytes_of(const Weights& weights, const std::string& name) {
  const auto bytes = weights.bytes(name);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

TEST_F(Surgery, MovesEveryTensorUnchangedToItsNewNumber) {
  prune({1});
  const ModelDirectory pruned = open_model_directory(out_);
  EXPECT_EQ(pruned.config.text.num_hidden_layers, 3);
  const Weights base(base_);
  const Layers kept = {0, 2, 3};
  for (const std::string& name : pruned.weights.names()) {
    std::string source = name;
    if (const auto layer = layer_of_tensor(name)) {
      source = layer_prefix(kept[static_cast<std::size_t>(*layer)]) +
               name.substr(layer_prefix(*layer).size());
    }
    EXPECT_EQ(bytes_of(pruned.weights, name), bytes_of(base, source)) << name;
  }
  EXPECT_THAT(find_problems(out_), IsEmpty());
}

TEST_F(Surgery, KeepsSideFilesAndListsEveryChecksum) {
  write_quickly(base_ / "LICENSE", "free");
  fs::create_directory(base_ / "assets");
  write_quickly(base_ / "assets/a.txt", "a");
  write_quickly(base_ / "README.md", "---\nlicense: mit\n---\n# Base\n");
  prune({1, 2});
  for (const fs::path& path : list_side_files(base_).files) {
    EXPECT_EQ(read_file(out_ / path), read_file(base_ / path)) << path;
  }
  EXPECT_THAT(checksum_problems(out_), IsEmpty());
  EXPECT_THAT(read_file(out_ / "README.md"), HasSubstr("license: mit\n"));
  EXPECT_EQ(read_plan(out_ / kPlanName).removed, Layers({1, 2}));
  EXPECT_EQ(fs::exists(out_ / "mergekit.yaml"), true);
}

TEST_F(Surgery, ReportsWeightsOfOtherFormatsAndLeavesThem) {
  write_quickly(base_ / "pytorch_model.bin", "x");
  fs::create_directory(base_ / "onnx");
  write_quickly(base_ / "onnx/model.onnx", "x");
  // The fixture's own expected.safetensors is one of no model, too.
  EXPECT_THAT(prune({1}).not_copied,
              ElementsAre("expected.safetensors", "onnx/model.onnx", "pytorch_model.bin"));
  EXPECT_FALSE(fs::exists(out_ / "pytorch_model.bin"));
}

TEST_F(Surgery, LeavesOutACopyOfTiedEmbeddings) {
  // A file of its own beside the fixture's becomes a second shard.
  const std::string embedding = "model.language_model.embed_tokens.weight";
  {
    const Weights weights(base_);
    const TensorInfo& info = weights.info(embedding);
    SafetensorsWriter writer(
        base_ / "model-2.safetensors",
        {{.name = "lm_head.weight", .dtype = info.dtype, .shape = info.shape}});
    writer.write(weights.bytes(embedding));
    writer.finish();
    nlohmann::json index = {{"metadata", nlohmann::json::object()}};
    for (const std::string& name : weights.names()) {
      index["weight_map"][name] = "model-1.safetensors";
    }
    index["weight_map"]["lm_head.weight"] = "model-2.safetensors";
    write_quickly(base_ / "model.safetensors.index.json", index.dump());
  }
  fs::rename(base_ / "model.safetensors", base_ / "model-1.safetensors");
  prune({1});
  const ModelDirectory pruned = open_model_directory(out_);
  EXPECT_TRUE(pruned.config.tie_word_embeddings);
  EXPECT_FALSE(pruned.weights.has("lm_head.weight"));
}

TEST_F(Surgery, RepeatsItselfByteForByte) {
  prune({2});
  const auto first = test::snapshot(out_);
  prune({2}, {.force = true});
  EXPECT_EQ(test::snapshot(out_), first);
}

TEST_F(Surgery, OfAPlanEqualsSurgeryAtOnce) {
  // Layer 2 of the plan's 0 2 3 is the base's 2 at place 1.
  Plan plan = complete_plan(
      open_model_directory(base_),
      {.base_name = "base", .protected_layers = {0, 3}, .removed = {1}, .budget = layer_budget(1)});
  plan.base_path = "base";
  write_quickly(scratch_ / "plan.json", to_json_text(plan));
  const ModelDirectory over_plan = open_model_directory(scratch_ / "plan.json");
  const Plan second = complete_plan(
      over_plan,
      {.base_name = "plan", .protected_layers = {0, 2}, .removed = {1}, .budget = layer_budget(1)});
  prune_checkpoint(over_plan, second, scratch_ / "twice", {});
  prune({1, 2});
  const ModelDirectory twice = open_model_directory(scratch_ / "twice");
  EXPECT_EQ(fingerprint(twice), fingerprint(open_model_directory(out_)));
  EXPECT_EQ(twice.plan->kept_original, Layers({0, 3}));
  EXPECT_EQ(read_file(scratch_ / "twice/config.json"), read_file(out_ / "config.json"));
  EXPECT_EQ(read_file(scratch_ / "twice/mergekit.yaml"), read_file(out_ / "mergekit.yaml"));
}

TEST_F(SurgeryOnShards, KeepsShardsAndTheirSize) {
  std::uint64_t largest = 0;
  const Weights base(base_);
  for (const auto& file : base.files()) {
    largest = std::max(largest, fs::file_size(file->path()));
  }
  prune({1});
  const Weights pruned(out_);
  EXPECT_GT(pruned.files().size(), 1U);
  std::uint64_t bytes = 0;
  for (const std::string& name : pruned.names()) bytes += pruned.bytes(name).size();
  for (const auto& file : pruned.files()) EXPECT_LE(fs::file_size(file->path()), largest);
  const auto index = read_json(out_ / "model.safetensors.index.json");
  EXPECT_EQ(index["metadata"]["total_size"], bytes);
  EXPECT_EQ(index["weight_map"].size(), pruned.names().size());
  EXPECT_THAT(checksum_problems(out_), IsEmpty());
}

TEST_F(SurgeryOnShards, TakesAnotherShardSize) {
  prune({1}, {.max_file_bytes = 1 << 30});
  EXPECT_TRUE(fs::exists(out_ / "model.safetensors"));
  EXPECT_FALSE(fs::exists(out_ / "model.safetensors.index.json"));
  prune({1}, {.max_file_bytes = 100'000, .force = true});
  EXPECT_GT(Weights(out_).files().size(), 4U);
  EXPECT_THAT(find_problems(out_), IsEmpty());
}

TEST_F(Surgery, RefusesAFolderThatWouldHarmTheBase) {
  const auto before = test::snapshot(base_);
  const ModelDirectory base = open_model_directory(base_);
  const Plan plan = complete_plan(
      base,
      {.base_name = "base", .protected_layers = {0, 3}, .removed = {1}, .budget = layer_budget(1)});
  for (const fs::path& out :
       {base_, base_ / "", base_ / "inside", base_ / ".." / "base", scratch_.path()}) {
    EXPECT_THAT(input_error([&] { prune_checkpoint(base, plan, out, {.force = true}); }),
                HasSubstr("in it or around it"))
        << out;
  }
  EXPECT_EQ(test::snapshot(base_), before);
}

TEST_F(Surgery, RefusesAFolderThatExistsAndLeavesNothingBehind) {
  fs::create_directory(out_);
  write_quickly(out_ / "precious", "x");
  const auto before = test::snapshot(scratch_.path());
  EXPECT_THAT(input_error([&] { prune({1}); }), AllOf(HasSubstr("exists"), HasSubstr("--force")));
  fs::create_symlink("nowhere", base_ / "broken");
  EXPECT_THAT(input_error([&] { prune({1}, {.force = true}); }), HasSubstr("broken"));
  fs::remove(base_ / "broken");
  EXPECT_EQ(test::snapshot(scratch_.path()), before);
}

}  // namespace
}  // namespace espalier
