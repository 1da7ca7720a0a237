// SPDX-License-Identifier: Apache-2.0
#include "espalier/checkpoint/model_directory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>

#include "espalier/base/error.h"
#include "espalier/base/json.h"
#include "espalier/checkpoint/init.h"
#include "espalier/checkpoint/weights_writer.h"
#include "tests/support.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using test::input_error;
using test::TemporaryDirectory;
using test::write_quickly;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::StartsWith;

constexpr const char* kEmbedding = "model.language_model.embed_tokens.weight";
constexpr const char* kNorm = "model.language_model.norm.weight";

/// One tensor with its bytes.
struct Tensor {
  TensorSpec spec;
  std::string bytes;
};

/// A checkpoint in memory, to be broken and written.
class Checkpoint {
 public:
  Checkpoint() {
    const TemporaryDirectory folder;
    Qwen3VLConfig config = preset_config("tiny");
    config.text.num_hidden_layers = 2;
    write_random_checkpoint(folder.path(), config, 1);
    const Weights weights(folder.path());
    for (const std::string& name : weights.names()) {
      const auto bytes = weights.bytes(name);
      tensors[name] = {
          .spec = {.name = name, .dtype = DType::BF16, .shape = weights.info(name).shape},
          .bytes = {reinterpret_cast<const char*>(bytes.data()), bytes.size()}};
    }
    for (const auto& entry : fs::directory_iterator(folder.path())) {
      if (entry.path().extension() == ".json") {
        files[entry.path().filename().string()] = read_json(entry.path());
      }
    }
    files["tokenizer.json"] = json::object();
    files["chat_template.json"] = json::object();
  }

  void add(const std::string& name, DType dtype, std::vector<std::int64_t> shape,
           std::string bytes) {
    tensors[name] = {.spec = {.name = name, .dtype = dtype, .shape = std::move(shape)},
                     .bytes = std::move(bytes)};
  }

  void write(const fs::path& folder, std::uint64_t max_file_bytes = 1 << 30) const {
    for (const auto& [name, value] : files) write_quickly(folder / name, value.dump());
    std::vector<TensorSpec> specs;
    for (const auto& [name, tensor] : tensors) specs.push_back(tensor.spec);
    WeightsWriter writer(folder, specs, {.max_file_bytes = max_file_bytes});
    for (const auto& [name, tensor] : tensors) {
      writer.write(test::as_bytes(tensor.bytes));
    }
    writer.finish();
  }

  std::map<std::string, Tensor> tensors;
  std::map<std::string, json> files;
};

std::string open_error(const Checkpoint& checkpoint) {
  const TemporaryDirectory folder;
  checkpoint.write(folder.path());
  return input_error([&] { open_model_directory(folder.path()); });
}

std::vector<std::string> problems_of(const Checkpoint& checkpoint) {
  const TemporaryDirectory folder;
  checkpoint.write(folder.path());
  return find_problems(folder.path());
}

TEST(ModelDirectory, OpensAWholeCheckpoint) {
  const TemporaryDirectory folder;
  const Checkpoint checkpoint;
  checkpoint.write(folder.path());
  const ModelDirectory model = open_model_directory(folder.path());
  EXPECT_EQ(model.path, folder.path());
  EXPECT_EQ(model.config.text.num_hidden_layers, 2);
  EXPECT_EQ(model.weights.names().size(), expected_tensors(model.config).size());
  EXPECT_TRUE(std::ranges::is_sorted(model.weights.names()));
  EXPECT_TRUE(model.weights.has(kNorm));
  EXPECT_EQ(model.weights.info(kNorm).shape, std::vector<std::int64_t>{64});
  const auto bytes = model.weights.bytes(kNorm);
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()),
            checkpoint.tensors.at(kNorm).bytes);
  EXPECT_THAT(find_problems(folder.path()), IsEmpty());
  EXPECT_THAT(input_error([&] { static_cast<void>(model.weights.info("x")); }),
              HasSubstr("there is no tensor \"x\""));
}

TEST(ModelDirectory, RefusesMissingTensorsByName) {
  Checkpoint checkpoint;
  checkpoint.tensors.erase(kNorm);
  EXPECT_THAT(open_error(checkpoint), HasSubstr(std::string(kNorm) + ": is missing"));
  checkpoint.tensors.erase(kEmbedding);
  EXPECT_THAT(open_error(checkpoint),
              AllOf(HasSubstr(std::string(kEmbedding) + ": is missing"), HasSubstr("and 1 more")));
}

TEST(ModelDirectory, RefusesSurplusTensorsSuchAsALayerTooMany) {
  Checkpoint checkpoint;
  const std::string name = "model.language_model.layers.2.input_layernorm.weight";
  checkpoint.add(name, DType::BF16, {64}, std::string(128, '\1'));
  EXPECT_THAT(open_error(checkpoint), HasSubstr(name + ": is not a tensor of this configuration"));
}

TEST(ModelDirectory, RefusesAnotherShape) {
  Checkpoint checkpoint;
  checkpoint.add(kNorm, DType::BF16, {2, 32}, std::string(128, '\1'));
  EXPECT_THAT(open_error(checkpoint),
              HasSubstr(std::string(kNorm) + ": wanted shape [64], found [2,32]"));
}

TEST(ModelDirectory, RefusesAnotherTypeThanDeclared) {
  Checkpoint checkpoint;
  checkpoint.add(kNorm, DType::F32, {64}, std::string(256, '\1'));
  EXPECT_THAT(open_error(checkpoint),
              HasSubstr(std::string(kNorm) + ": wanted BF16 as config.json declares, found F32"));
}

TEST(ModelDirectory, TakesACopyOfTiedEmbeddingsAsHeadAndNothingElse) {
  Checkpoint checkpoint;
  const Tensor embedding = checkpoint.tensors.at(kEmbedding);
  checkpoint.add("lm_head.weight", DType::BF16, embedding.spec.shape, embedding.bytes);
  EXPECT_THAT(problems_of(checkpoint), IsEmpty());
  checkpoint.tensors["lm_head.weight"].bytes.back() ^= 1;
  EXPECT_THAT(open_error(checkpoint),
              AllOf(HasSubstr("lm_head.weight: wanted no tensor or a copy of"),
                    HasSubstr("set tie_word_embeddings to false")));
  checkpoint.add("lm_head.weight", DType::BF16, {1, 64}, std::string(128, '\1'));
  EXPECT_THAT(open_error(checkpoint), HasSubstr("lm_head.weight: wanted no tensor or a copy"));
}

TEST(ModelDirectory, RefusesAnUntiedModelWithoutAHead) {
  Checkpoint checkpoint;
  checkpoint.files["config.json"]["tie_word_embeddings"] = false;
  checkpoint.files["config.json"]["text_config"]["tie_word_embeddings"] = false;
  EXPECT_THAT(open_error(checkpoint),
              HasSubstr("lm_head.weight: is missing although tie_word_embeddings is false"));
  const Tensor embedding = checkpoint.tensors.at(kEmbedding);
  checkpoint.add("lm_head.weight", DType::BF16, embedding.spec.shape, embedding.bytes);
  EXPECT_THAT(problems_of(checkpoint), IsEmpty());
}

TEST(ModelDirectory, RefusesAPathThatIsNoFolder) {
  const TemporaryDirectory folder;
  write_quickly(folder / "f", "");
  for (const char* name : {"f", "none"}) {
    const std::string wanted = (folder / name).string() + ": wanted a checkpoint folder";
    EXPECT_THAT(input_error([&] { open_model_directory(folder / name); }), StartsWith(wanted));
    EXPECT_THAT(find_problems(folder / name), ElementsAre(StartsWith(wanted)));
  }
}

// ---------------------------------------------------------------------------------------- shards

/// A checkpoint in several files, whose index may be changed.
class Shards {
 public:
  Shards() {
    Checkpoint().write(folder_.path(), 500'000);
    index = read_json(path());
  }
  void write_index() { write_quickly(path(), index.dump()); }
  [[nodiscard]] std::string error() {
    write_index();
    return input_error([&] { Weights weights(folder_.path()); });
  }
  [[nodiscard]] fs::path path() const { return folder_ / "model.safetensors.index.json"; }
  [[nodiscard]] const fs::path& folder() const { return folder_.path(); }

  json index;

 private:
  TemporaryDirectory folder_;
};

TEST(Shards, AreTheSameModelAsOneFile) {
  const Shards shards;
  const TemporaryDirectory folder;
  Checkpoint().write(folder.path());
  const ModelDirectory whole = open_model_directory(folder.path());
  const ModelDirectory cut = open_model_directory(shards.folder());
  ASSERT_GT(cut.weights.files().size(), 2U);
  EXPECT_EQ(cut.weights.names(), whole.weights.names());
  for (const std::string& name : whole.weights.names()) {
    EXPECT_TRUE(std::ranges::equal(cut.weights.bytes(name), whole.weights.bytes(name))) << name;
  }
  EXPECT_EQ(fingerprint(cut), fingerprint(whole));
}

TEST(Shards, MustAllBeThere) {
  Shards shards;
  const std::string shard = shards.index["weight_map"][kNorm];
  fs::remove(shards.folder() / shard);
  EXPECT_THAT(shards.error(),
              AllOf(StartsWith(shards.path().string()), HasSubstr(shard), HasSubstr("missing")));
}

TEST(Shards, MayNotLieElsewhere) {
  for (const char* name :
       {"../x.safetensors", "/etc/x.safetensors", "a/x.safetensors", "..", "", "x.bin"}) {
    Shards shards;
    shards.index["weight_map"][kNorm] = name;
    EXPECT_THAT(shards.error(), AllOf(HasSubstr("wanted the name of a .safetensors file"),
                                      HasSubstr(fmt::format("found \"{}\"", name))));
  }
}

TEST(Shards, MustAgreeWithTheIndex) {
  {
    Shards shards;
    shards.index["weight_map"]["surplus"] = shards.index["weight_map"][kNorm];
    EXPECT_THAT(shards.error(), AllOf(HasSubstr("surplus: wanted in"), HasSubstr("found nowhere")));
  }
  {
    Shards shards;
    shards.index["weight_map"].erase(kNorm);
    EXPECT_THAT(shards.error(), AllOf(HasSubstr(kNorm), HasSubstr("but not in the index")));
  }
  {
    Shards shards;
    const std::string last = shards.index["weight_map"]["model.visual.pos_embed.weight"];
    ASSERT_NE(shards.index["weight_map"][kNorm], last);
    shards.index["weight_map"][kNorm] = last;
    EXPECT_THAT(shards.error(), AllOf(HasSubstr(kNorm), HasSubstr("wanted in " + last),
                                      HasSubstr("found in model-0000")));
  }
}

TEST(Shards, MayNotHaveATensorTwice) {
  Shards shards;
  fs::copy_file(shards.folder() / std::string(shards.index["weight_map"][kNorm]),
                shards.folder() / "copy.safetensors");
  shards.index["weight_map"]["another"] = "copy.safetensors";
  EXPECT_THAT(shards.error(), AllOf(HasSubstr("is in"), HasSubstr("too")));
}

TEST(Shards, NeedAnIndexThatIsOne) {
  Shards shards;
  shards.index["weight_map"] = json::object();
  EXPECT_THAT(shards.error(), HasSubstr("wanted at least one tensor"));
  shards.index["weight_map"] = {{kNorm, 1}};
  EXPECT_THAT(shards.error(), HasSubstr("wanted a text, found 1"));
  shards.index.erase("weight_map");
  EXPECT_THAT(shards.error(), HasSubstr("\"weight_map\" is missing"));
}

TEST(Weights, RefusesNoneAndTwo) {
  const TemporaryDirectory folder;
  EXPECT_THAT(input_error([&] { Weights weights(folder.path()); }),
              AllOf(StartsWith(folder.path().string()), HasSubstr("found neither")));
  write_quickly(folder / "pytorch_model.bin", "");
  EXPECT_THAT(input_error([&] { Weights weights(folder.path()); }),
              HasSubstr("convert the pytorch_model.bin"));
  const Shards shards;
  write_quickly(shards.folder() / "model.safetensors", "");
  EXPECT_THAT(input_error([&] { Weights weights(shards.folder()); }),
              AllOf(HasSubstr("found both"), HasSubstr("remove the one")));
}

// -------------------------------------------------------------------------------------- problems

TEST(FindProblems, CollectsEveryKindInOnePass) {
  const TemporaryDirectory folder;
  Checkpoint checkpoint;
  checkpoint.tensors.erase(kNorm);
  checkpoint.files["preprocessor_config.json"]["patch_size"] = 14;
  checkpoint.files["generation_config.json"]["eos_token_id"] = 100'000;
  checkpoint.files.erase("tokenizer.json");
  checkpoint.files.erase("chat_template.json");
  checkpoint.write(folder.path());
  EXPECT_THAT(find_problems(folder.path()),
              ElementsAre(HasSubstr("norm.weight: is missing"),
                          HasSubstr("patch_size: wanted 16 as in config.json, found 14"),
                          HasSubstr("eos_token_id: wanted ids below vocab_size = 288"),
                          HasSubstr("wanted a tokenizer"), HasSubstr("wanted a chat template")));
}

TEST(FindProblems, GoesOnAfterABrokenConfiguration) {
  Checkpoint checkpoint;
  checkpoint.files["config.json"]["text_config"]["hidden_act"] = "gelu";
  checkpoint.files["config.json"]["vision_config"]["depth"] = 0;
  checkpoint.files.erase("generation_config.json");
  EXPECT_THAT(problems_of(checkpoint), ElementsAre(HasSubstr("hidden_act"), HasSubstr("depth"),
                                                   HasSubstr("generation_config.json")));
}

TEST(FindProblems, ShowsTheFirstOfManyTensors) {
  Checkpoint checkpoint;
  std::erase_if(checkpoint.tensors,
                [](const auto& tensor) { return tensor.first.starts_with("model.visual.blocks"); });
  const std::vector<std::string> problems = problems_of(checkpoint);
  ASSERT_THAT(problems, SizeIs(21));  // 4 blocks of 12 tensors
  EXPECT_THAT(problems.back(), HasSubstr("and 28 more tensors like these"));
}

TEST(FindProblems, KnowsTheTokenizerFilesOfBothKinds) {
  Checkpoint checkpoint;
  checkpoint.files.erase("tokenizer.json");
  for (const char* name : {"vocab.json", "merges.txt", "tokenizer_config.json"}) {
    EXPECT_THAT(problems_of(checkpoint), Contains(HasSubstr("wanted a tokenizer")));
    checkpoint.files[name] = json::object();
  }
  EXPECT_THAT(problems_of(checkpoint), IsEmpty());
  checkpoint.files.erase("chat_template.json");
  EXPECT_THAT(problems_of(checkpoint), Contains(HasSubstr("wanted a chat template")));
  checkpoint.files["tokenizer_config.json"]["chat_template"] = "x";
  EXPECT_THAT(problems_of(checkpoint), IsEmpty());
}

// ------------------------------------------------------------------------------------------ plans

/// A plan over a directory "base" beside it that leaves out one of three layers.
class PlanFile : public testing::Test {
 protected:
  PlanFile() {
    checkpoint_.files["config.json"]["text_config"]["num_hidden_layers"] = 3;
    for (const std::string& name : Weights(write_base()).names()) {
      if (layer_of_tensor(name) != 1) continue;
      Tensor copy = checkpoint_.tensors.at(name);
      const std::string last = layer_prefix(2) + name.substr(layer_prefix(1).size());
      copy.bytes.front() ^= 1;  // a third layer, unlike the second
      checkpoint_.add(last, DType::BF16, copy.spec.shape, copy.bytes);
    }
    fs::remove_all(base_);
    write_base();
    plan_ = {.base_name = "base",
             .base_path = "base",
             .base_fingerprint = fingerprint(open_model_directory(base_)),
             .num_layers = 3,
             .protected_layers = {0, 2},
             .removed = {1},
             .kept = {0, 2},
             .removed_original = {1},
             .kept_original = {0, 2},
             .budget = layer_budget(1),
             .k = 1};
  }

  fs::path write_base() {
    fs::create_directories(base_);
    checkpoint_.write(base_);
    return base_;
  }

  fs::path write(const Plan& plan, const std::string& name = "plan.json") {
    write_quickly(folder_ / name, to_json_text(plan));
    return folder_ / name;
  }

  const TemporaryDirectory folder_;
  const fs::path base_ = folder_ / "base";
  Checkpoint checkpoint_;
  Plan plan_;
};

TEST_F(PlanFile, PresentsTheKeptLayersUnderContiguousNumbers) {
  const ModelDirectory model = open_model_directory(write(plan_));
  EXPECT_EQ(model.path, folder_ / "plan.json");
  EXPECT_EQ(model.folder, base_);
  EXPECT_EQ(model.config.text.num_hidden_layers, 2);
  EXPECT_EQ(model.folder_layers, std::vector<std::int64_t>({0, 2}));
  EXPECT_EQ(model.plan, plan_);
  EXPECT_EQ(model.weights.names().size(), expected_tensors(model.config).size());
  const std::string rest = "mlp.up_proj.weight";
  const auto bytes = model.weights.bytes(layer_prefix(1) + rest);
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()),
            checkpoint_.tensors.at(layer_prefix(2) + rest).bytes);
  EXPECT_THAT(find_problems(folder_ / "plan.json"), IsEmpty());
}

TEST_F(PlanFile, MayLieOverAnotherPlan) {
  write(plan_);
  Plan upper = plan_;
  upper.base_path = "plan.json";
  upper.base_fingerprint = fingerprint(open_model_directory(folder_ / "plan.json"));
  upper.num_layers = 2;
  upper.removed = {1};
  upper.kept = {0};
  upper.protected_layers = {0};
  upper.removed_original = {2};
  upper.kept_original = {0};
  upper.lineage = {plan_};
  upper.lineage.front().base_path.clear();
  const ModelDirectory model = open_model_directory(write(upper, "upper.json"));
  EXPECT_EQ(model.folder_layers, std::vector<std::int64_t>{0});
  EXPECT_EQ(model.folder, base_);
}

TEST_F(PlanFile, FollowsABaseThatHasMoved) {
  write(plan_);
  fs::rename(base_, folder_ / "moved");
  EXPECT_THAT(input_error([&] { open_model_directory(folder_ / "plan.json"); }),
              AllOf(HasSubstr("plan.json: its base"), HasSubstr("--base DIR")));
  EXPECT_THAT(find_problems(folder_ / "plan.json"), ElementsAre(HasSubstr("--base DIR")));
  const OpenOptions options{.base = folder_ / "moved"};
  EXPECT_EQ(open_model_directory(folder_ / "plan.json", options).folder, folder_ / "moved");
  EXPECT_THAT(find_problems(folder_ / "plan.json", options), IsEmpty());
  EXPECT_THAT(input_error([&] { open_model_directory(folder_ / "moved", options); }),
              HasSubstr("--base is for a plan file"));
}

TEST_F(PlanFile, RefusesAnotherBaseAndACircle) {
  Plan other = plan_;
  other.base_fingerprint = std::string(64, '0');
  EXPECT_THAT(input_error([&] { open_model_directory(write(other)); }),
              AllOf(HasSubstr("wanted a base with the fingerprint 0000"), HasSubstr("--base")));
  Plan circle = plan_;
  circle.base_path = "plan.json";
  EXPECT_THAT(input_error([&] { open_model_directory(write(circle)); }),
              HasSubstr("it may be its own base"));
}

TEST_F(PlanFile, OfADirectoryMustBeItsOwn) {
  write_quickly(base_ / kPlanName, to_json_text(plan_));  // keeps two layers; three are here
  EXPECT_THAT(input_error([&] { open_model_directory(base_); }),
              HasSubstr("kept: wanted as many layers as config.json has, 3, found 2"));
  EXPECT_THAT(find_problems(base_), ElementsAre(HasSubstr("kept: wanted as many layers")));
  write_quickly(base_ / kPlanName, "{");
  EXPECT_THAT(find_problems(base_), ElementsAre(HasSubstr("espalier.json")));
}

// ----------------------------------------------------------------------------------- fingerprint

std::string fingerprint_of(const Checkpoint& checkpoint) {
  const TemporaryDirectory folder;
  checkpoint.write(folder.path());
  return fingerprint(open_model_directory(folder.path()));
}

TEST(Fingerprint, ChangesWithWeightsAndConfigurationOnly) {
  const std::string original = fingerprint_of(Checkpoint());
  EXPECT_EQ(original.size(), 64U);
  EXPECT_EQ(fingerprint_of(Checkpoint()), original);

  Checkpoint first_byte;
  first_byte.tensors[kEmbedding].bytes.front() ^= 1;
  EXPECT_NE(fingerprint_of(first_byte), original);
  Checkpoint last_byte;
  last_byte.tensors[kEmbedding].bytes.back() ^= 1;
  EXPECT_NE(fingerprint_of(last_byte), original);
  Checkpoint other_config;
  other_config.files["config.json"]["text_config"]["rms_norm_eps"] = 1e-5;
  EXPECT_NE(fingerprint_of(other_config), original);

  Checkpoint irrelevant;
  irrelevant.files["config.json"]["transformers_version"] = "9";
  irrelevant.files["config.json"]["dtype"] = "bfloat16";
  const Tensor embedding = irrelevant.tensors.at(kEmbedding);
  irrelevant.add("lm_head.weight", DType::BF16, embedding.spec.shape, embedding.bytes);
  EXPECT_EQ(fingerprint_of(irrelevant), original);
}

}  // namespace
}  // namespace espalier
