// SPDX-License-Identifier: Apache-2.0
#include "espalier/eval/verify.h"

#include <ATen/ATen.h>
#include <fmt/ranges.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>

#include "espalier/base/files.h"
#include "espalier/checkpoint/folder.h"
#include "espalier/checkpoint/weights_writer.h"
#include "espalier/prune/make_plan.h"
#include "espalier/prune/surgery.h"
#include "tests/model/fixture.h"
#include "tests/support.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using test::TemporaryDirectory;
using test::write_quickly;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

using Layers = std::vector<std::int64_t>;

Plan plan_for(const ModelDirectory& base, const Layers& removed) {
  return complete_plan(
      base, {.base_name = "base",
             .protected_layers = protected_layers(base.config.text.num_hidden_layers, {}),
             .removed = removed,
             .budget = layer_budget(std::ssize(removed))});
}

/// The fixture's own sample, and its words without the pictures.
std::vector<VerifySample> samples_of(const test::ModelFixture& fixture) {
  const ModelInput text =
      encode_prompt(fixture.session, {.images = {}, .prompt = "How many leaves are there?"});
  return {{.name = "text", .input = text}, {.name = "picture", .input = fixture.input}};
}

// -------------------------------------------------------------------------- surgery is skipping

struct SkippingCase {
  std::string model;
  std::string dtype;
  Layers removed;
};

class SurgeryIsSkipping : public testing::TestWithParam<SkippingCase> {
 protected:
  const c10::InferenceMode inference_;
};

TEST_P(SurgeryIsSkipping, BitForBitInAFolderAndInAPlan) {
  const auto& [name, dtype, removed] = GetParam();
  const TemporaryDirectory scratch;
  const ModelDirectory base = open_model_directory(test::fixture("models/" + name));
  Plan plan = plan_for(base, removed);
  prune_checkpoint(base, plan, scratch / "pruned", {});
  plan.base_path = base.folder;
  write_quickly(scratch / "plan.json", to_json_text(plan));

  const test::ModelFixture fixture = test::open_fixture(name, dtype);
  const std::vector<VerifySample> samples = samples_of(fixture);
  const auto skipping = answer(keep_layers(fixture.session.model, plan.kept), samples);
  for (const char* output : {"pruned", "plan.json"}) {
    const Session session = open_session(scratch / output, {.dtype = dtype, .threads = 2});
    EXPECT_EQ(session.model.language_model.layers.size(), plan.kept.size());
    const auto found = answer(session.model, samples);
    for (std::size_t i = 0; i < samples.size(); ++i) {
      EXPECT_TRUE(at::equal(found[i].logits, skipping[i].logits)) << output << samples[i].name;
    }
    for (const Check& check : verify_answers(samples, skipping, found)) {
      EXPECT_THAT(check.problems, IsEmpty()) << output << ": " << check.name;
    }
  }
  // ... and the layers that went did something.
  const auto whole = answer(fixture.session.model, samples);
  EXPECT_FALSE(at::equal(whole.back().logits, skipping.back().logits));
  EXPECT_FALSE(verify_answers(samples, skipping, whole).back().name.empty());
  EXPECT_FALSE(verify_answers(samples, skipping, whole).front().passed());
}

std::vector<SkippingCase> skipping_cases() {
  std::vector<SkippingCase> cases;
  for (const std::string& model : test::kModels) {
    for (const char* dtype : {"float32", "bfloat16"}) {
      cases.push_back({model, dtype, {1}});
      // long_text has three layers, of which the middle one may go.
      if (model != "long_text") cases.push_back({model, dtype, {1, 2}});
      if (model != "long_text") cases.push_back({model, dtype, {2}});
    }
  }
  return cases;
}

std::string name_of_case(const testing::TestParamInfo<SkippingCase>& info) {
  return fmt::format("{}_{}_{}", info.param.model, info.param.dtype,
                     fmt::join(info.param.removed, "_"));
}

INSTANTIATE_TEST_SUITE_P(Models, SurgeryIsSkipping, testing::ValuesIn(skipping_cases()),
                         name_of_case);

// ---------------------------------------------------------------------------------- broken files

/// A pruned directory to break; the shards of `sharded_bf16` have an index that can be stale.
class VerifyFiles : public testing::Test {
 protected:
  VerifyFiles() { prune_checkpoint(base_, plan_, pruned_, {}); }

  /// The problems of one check. Checksums are made anew first, so that each check is on its own.
  std::vector<std::string> problems(const std::string& name) {
    Checksums checksums = read_checksums(pruned_);
    for (auto entry = checksums.begin(); entry != checksums.end();) {
      if (fs::exists(pruned_ / entry->first)) {
        entry->second = sha256_of_file(pruned_ / entry->first);
        ++entry;
      } else {
        entry = checksums.erase(entry);
      }
    }
    write_checksums(pruned_, checksums, /*force=*/true);
    for (const Check& check : verify_files(pruned_, base_, plan_)) {
      if (check.name == name) return check.problems;
    }
    return {"there is no check " + name};
  }

  void edit_json(const char* name, const std::function<void(json&)>& edit) {
    json value = json::parse(read_file(pruned_ / name));
    edit(value);
    write_quickly(pruned_ / name, value.dump());
  }

  /// Writes the weights anew; `bytes_of` says which tensor's bytes each one gets.
  void rewrite(const std::vector<std::string>& names,
               const std::function<std::string(const std::string&)>& source_of) {
    const Weights old(pruned_);
    std::vector<TensorSpec> specs;
    for (const std::string& name : names) {
      const TensorInfo& info = old.info(source_of(name));
      specs.push_back({.name = name, .dtype = info.dtype, .shape = info.shape});
    }
    const fs::path fresh = scratch_ / "fresh";
    fs::create_directory(fresh);
    WeightsWriter writer(fresh, specs, {.max_file_bytes = 300'000});
    for (const std::string& name : names) writer.write(old.bytes(source_of(name)));
    writer.finish();
    for (const auto& file : old.files()) fs::remove(file->path());
    fs::remove(pruned_ / "model.safetensors.index.json");
    for (const auto& entry : fs::directory_iterator(fresh)) {
      fs::rename(entry.path(), pruned_ / entry.path().filename());
    }
  }

  std::vector<std::string> names() { return Weights(pruned_).names(); }

  const TemporaryDirectory scratch_;
  const ModelDirectory base_ = open_model_directory(test::fixture("models/sharded_bf16"));
  const Plan plan_ = plan_for(base_, {1});
  const fs::path pruned_ = scratch_ / "pruned";
};

std::string itself(const std::string& name) { return name; }

TEST_F(VerifyFiles, PassesWhatPruneWrote) {
  for (const Check& check : verify_files(pruned_, base_, plan_)) {
    EXPECT_THAT(check.problems, IsEmpty()) << check.name;
  }
}

TEST_F(VerifyFiles, PassesWeightsInOtherShards) {
  rewrite(names(), itself);
  EXPECT_THAT(problems("index"), IsEmpty());
  EXPECT_THAT(problems("tensors"), IsEmpty());
}

TEST_F(VerifyFiles, FindsOneFlippedByteAnywhere) {
  const Weights weights(pruned_);
  const auto file = weights.files().back()->path();
  std::string bytes = read_file(file);
  bytes[bytes.size() - 5000] ^= 1;  // beyond what the fingerprint sees of a large tensor
  write_quickly(file, bytes);
  std::vector<std::string> before;
  for (const Check& check : verify_files(pruned_, base_, plan_)) {
    if (check.name == "checksums") before = check.problems;
  }
  EXPECT_THAT(before, Contains(HasSubstr(file.filename().string() + ": wanted SHA-256")));
  EXPECT_THAT(problems("tensors"), Contains(HasSubstr("other bytes than the base's")));
}

TEST_F(VerifyFiles, FindsTwoSwappedLayers) {
  rewrite(names(), [](const std::string& name) {
    const auto layer = layer_of_tensor(name);
    if (!layer || *layer == 0) return name;
    return layer_prefix(3 - *layer) + name.substr(layer_prefix(*layer).size());
  });
  const auto found = problems("tensors");
  EXPECT_EQ(found.size(), 2U * 11U);  // eleven tensors a layer
  EXPECT_THAT(found, Contains(HasSubstr("layers.1.mlp.up_proj.weight: other bytes")));
}

TEST_F(VerifyFiles, FindsAStaleIndex) {
  edit_json("model.safetensors.index.json",
            [](json& index) { index["metadata"]["total_size"] = 1; });
  EXPECT_THAT(problems("index"), Contains(HasSubstr("total_size: wanted")));
  write_quickly(pruned_ / "model.safetensors.index.json",
                read_file(base_.folder / "model.safetensors.index.json"));
  EXPECT_THAT(problems("index"), testing::SizeIs(1));
  EXPECT_THAT(problems("tensors"), Contains(HasSubstr("see index")));
}

TEST_F(VerifyFiles, FindsAConfigurationThatSaysAnythingElse) {
  edit_json("config.json", [](json& config) { config["text_config"]["num_hidden_layers"] = 4; });
  EXPECT_THAT(problems("configuration"),
              Contains(HasSubstr("/text_config/num_hidden_layers: wanted 3, found 4")));
  edit_json("config.json", [](json& config) {
    config["text_config"]["num_hidden_layers"] = 3;
    config["text_config"]["rms_norm_eps"] = 1e-5;
    config["text_config"]["layer_types"] = json::array();
  });
  EXPECT_THAT(problems("configuration"), testing::SizeIs(2));
}

TEST_F(VerifyFiles, FindsATensorTooFew) {
  std::vector<std::string> fewer = names();
  const std::string gone = fewer.back();
  fewer.pop_back();
  rewrite(fewer, itself);
  EXPECT_THAT(problems("tensors"), Contains(HasSubstr(gone + ": is missing")));
}

TEST_F(VerifyFiles, FindsATensorTooMany) {
  std::vector<std::string> more = names();
  const std::string surplus = layer_prefix(3) + "input_layernorm.weight";
  more.push_back(surplus);
  rewrite(more, [&](const std::string& name) {
    return name == surplus ? layer_prefix(2) + "input_layernorm.weight" : name;
  });
  EXPECT_THAT(problems("tensors"), Contains(HasSubstr(surplus + ": is no tensor of the pruned")));
}

TEST_F(VerifyFiles, FindsSideFilesThatAreNotTheBases) {
  write_quickly(pruned_ / "generation_config.json", "{}");
  fs::remove(pruned_ / "vocab.json");
  write_quickly(pruned_ / "new.txt", "");
  const auto found = problems("side files");
  for (const char* part : {"generation_config.json: is not the base's", "vocab.json: is missing",
                           "new.txt: is not in the base"}) {
    EXPECT_THAT(found, Contains(HasSubstr(part)));
  }
}

TEST_F(VerifyFiles, FindsAnotherBase) {
  const ModelDirectory other = open_model_directory(test::fixture("models/gqa_tied"));
  const std::vector<Check> checks = verify_files(pruned_, other, plan_);
  ASSERT_EQ(checks.size(), 1U);
  EXPECT_THAT(checks.front().problems, Contains(HasSubstr("another model")));
}

// A list with one entry a layer that was left at the base's length.
TEST(VerifyFilesOfLists, FindsAListOfTheOldLength) {
  const TemporaryDirectory scratch;
  fs::copy(test::fixture("models/gqa_tied"), scratch / "base");
  json config = json::parse(read_file(scratch / "base/config.json"));
  config["text_config"]["layer_types"] = std::vector<std::string>(4, "full_attention");
  write_quickly(scratch / "base/config.json", config.dump());
  const ModelDirectory base = open_model_directory(scratch / "base");
  const Plan plan = plan_for(base, {1});
  prune_checkpoint(base, plan, scratch / "pruned", {});
  for (const Check& check : verify_files(scratch / "pruned", base, plan)) {
    EXPECT_THAT(check.problems, IsEmpty()) << check.name;
  }
  config["text_config"]["num_hidden_layers"] = 3;
  write_quickly(scratch / "pruned/config.json", config.dump());
  EXPECT_THAT(
      verify_files(scratch / "pruned", base, plan)[2].problems,
      Contains(HasSubstr("/text_config/layer_types/-: wanted nothing, found \"full_attention\"")));
}

// ---------------------------------------------------------------------------------------- speed

TEST(CompareSpeed, MeasuresBothModels) {
  const c10::InferenceMode inference;
  const test::ModelFixture fixture = test::open_fixture("gqa_tied");
  const Layers kept = {0, 3};
  const SpeedComparison speed =
      compare_speed(fixture.session.model, keep_layers(fixture.session.model, kept), fixture.input,
                    {.runs = 1, .new_tokens = 3});
  for (const double value : {speed.first_token_seconds_before, speed.first_token_seconds_after,
                             speed.tokens_per_second_before, speed.tokens_per_second_after}) {
    EXPECT_GT(value, 0.0);
  }
}

}  // namespace
}  // namespace espalier
