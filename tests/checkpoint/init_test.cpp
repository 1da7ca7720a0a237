// SPDX-License-Identifier: Apache-2.0
#include "espalier/checkpoint/init.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "espalier/base/error.h"
#include "espalier/checkpoint/model_directory.h"
#include "espalier/checkpoint/side_files.h"
#include "tests/support.h"

namespace espalier {
namespace {

using test::input_error;
using test::snapshot;
using test::TemporaryDirectory;
using ::testing::AllOf;
using ::testing::HasSubstr;

std::vector<float> values_of(const ModelDirectory& model, std::string_view name) {
  const auto bytes = model.weights.bytes(name);
  std::vector<float> values;
  if (model.config.dtype == DType::F32) {
    values.resize(bytes.size() / 4);
    std::memcpy(values.data(), bytes.data(), bytes.size());
    return values;
  }
  for (std::size_t i = 0; i < bytes.size(); i += 2) {
    std::uint16_t half = 0;
    std::memcpy(&half, bytes.data() + i, 2);
    values.push_back(std::bit_cast<float>(static_cast<std::uint32_t>(half) << 16));
  }
  return values;
}

struct Moments {
  double mean;
  double deviation;
};

Moments moments_of(const std::vector<float>& values) {
  double sum = 0.0;
  double squares = 0.0;
  for (const float value : values) sum += value;
  const double mean = sum / static_cast<double>(values.size());
  for (const float value : values) squares += (value - mean) * (value - mean);
  return {mean, std::sqrt(squares / static_cast<double>(values.size()))};
}

TEST(Preset, TinyHasTheByteTokenizersIds) {
  const Qwen3VLConfig tiny = preset_config("tiny");
  // 256 bytes; then <|endoftext|>, <|im_start|>, <|im_end|>, six tags, <|vision_start|> as the
  // tenth added token.
  EXPECT_EQ(tiny.vision_start_token_id, 265);
  EXPECT_EQ(tiny.vision_end_token_id, 266);
  EXPECT_EQ(tiny.image_token_id, 268);
  EXPECT_EQ(tiny.video_token_id, 269);
  EXPECT_GE(tiny.text.vocab_size, 256 + 26);
}

TEST(Preset, EveryOneIsAcceptedAndOthersAreRefused) {
  for (const char* name : {"tiny", "2b", "4b", "8b"}) {
    EXPECT_EQ(parse_config(to_json(preset_config(name)), name), preset_config(name));
  }
  EXPECT_THAT(input_error([] { preset_config("3b"); }),
              HasSubstr("wanted tiny, small, 2b, 4b or 8b, found \"3b\""));
}

TEST(RandomCheckpoint, IsAWholeModel) {
  const TemporaryDirectory folder;
  write_random_checkpoint(folder.path(), preset_config("tiny"), 0);
  const ModelDirectory model = open_model_directory(folder.path());
  EXPECT_EQ(model.config, preset_config("tiny"));
  EXPECT_EQ(read_preprocessor_config(folder.path()).max_pixels, 16777216);
  EXPECT_EQ(read_generation_config(folder.path()), (GenerationConfig{.eos_token_ids = {258, 256},
                                                                     .do_sample = true,
                                                                     .temperature = 0.7,
                                                                     .top_k = 20,
                                                                     .top_p = 0.8}));
  EXPECT_TRUE(path_exists(folder / "video_preprocessor_config.json"));
}

// 73728 elements: the mean's deviation is 0.02 / sqrt(n) = 7e-5, the deviation's 5e-5.
TEST(RandomCheckpoint, HasNormalWeights) {
  const TemporaryDirectory folder;
  write_random_checkpoint(folder.path(), preset_config("tiny"), 1);
  const ModelDirectory model = open_model_directory(folder.path());
  const std::vector<float> values = values_of(model, "model.visual.patch_embed.proj.weight");
  const Moments moments = moments_of(values);
  EXPECT_NEAR(moments.mean, 0.0, 5 * 7.3e-5);
  EXPECT_NEAR(moments.deviation, 0.02, 5 * 5.2e-5);
  double within_one = 0;
  double within_two = 0;
  for (const float value : values) {
    if (std::abs(value) < 0.02F) ++within_one;
    if (std::abs(value) < 0.04F) ++within_two;
  }
  const auto count = static_cast<double>(values.size());
  EXPECT_NEAR(within_one / count, 0.6827, 0.01);
  EXPECT_NEAR(within_two / count, 0.9545, 0.005);
}

TEST(RandomCheckpoint, HasNormsNearOneAndBiasesNearZeroThatShow) {
  const TemporaryDirectory folder;
  write_random_checkpoint(folder.path(), preset_config("tiny"), 2);
  const ModelDirectory model = open_model_directory(folder.path());
  for (const ExpectedTensor& tensor : expected_tensors(model.config)) {
    if (tensor.shape.size() != 1) continue;
    const std::vector<float> values = values_of(model, tensor.name);
    const Moments moments = moments_of(values);
    const bool is_bias = tensor.name.ends_with(".bias");
    EXPECT_NEAR(moments.mean, is_bias ? 0.0 : 1.0, is_bias ? 0.02 : 0.1) << tensor.name;
    EXPECT_GT(moments.deviation, is_bias ? 0.01 : 0.05) << tensor.name;
  }
}

TEST(RandomCheckpoint, DependsOnTheSeedAndNothingElse) {
  const TemporaryDirectory folder;
  for (const char* name : {"a", "b", "c"}) std::filesystem::create_directory(folder / name);
  write_random_checkpoint(folder / "a", preset_config("tiny"), 7);
  write_random_checkpoint(folder / "b", preset_config("tiny"), 7);
  write_random_checkpoint(folder / "c", preset_config("tiny"), 8);
  EXPECT_EQ(snapshot(folder / "a"), snapshot(folder / "b"));
  EXPECT_NE(read_file(folder / "a/model.safetensors"), read_file(folder / "c/model.safetensors"));
}

TEST(RandomCheckpoint, GivesATensorTheSameWeightsInADeeperModel) {
  const TemporaryDirectory folder;
  for (const char* name : {"a", "b"}) std::filesystem::create_directory(folder / name);
  Qwen3VLConfig config = preset_config("tiny");
  write_random_checkpoint(folder / "a", config, 7);
  config.text.num_hidden_layers = 8;
  config.tie_word_embeddings = false;
  write_random_checkpoint(folder / "b", config, 7);
  const ModelDirectory shallow = open_model_directory(folder / "a");
  const ModelDirectory deep = open_model_directory(folder / "b");
  for (const std::string& name : shallow.weights.names()) {
    EXPECT_TRUE(std::ranges::equal(shallow.weights.bytes(name), deep.weights.bytes(name))) << name;
  }
  EXPECT_NE(values_of(deep, "lm_head.weight"),
            values_of(deep, "model.language_model.embed_tokens.weight"));
}

// More than one piece (4194304 elements), and a last word that is used in part: 4194304 + 64 + ...
TEST(RandomCheckpoint, IsNotCutWherePiecesMeet) {
  const TemporaryDirectory folder;
  Qwen3VLConfig config = preset_config("tiny");
  config.text.vocab_size = (1 << 16) + 289;
  write_random_checkpoint(folder.path(), config, 3);
  const ModelDirectory model = open_model_directory(folder.path());
  const std::vector<float> values = values_of(model, "model.language_model.embed_tokens.weight");
  constexpr std::ptrdiff_t kPiece = 1 << 22;
  const std::vector<float> first(values.begin(), values.begin() + 64);
  const std::vector<float> second(values.begin() + kPiece, values.begin() + kPiece + 64);
  EXPECT_NE(first, second);
  const Moments moments = moments_of({values.begin() + kPiece, values.end()});
  EXPECT_NEAR(moments.deviation, 0.02, 5 * 0.02 / std::sqrt(2 * 289.0 * 64.0));
}

TEST(RandomCheckpoint, WritesFloat32Too) {
  const TemporaryDirectory folder;
  for (const char* name : {"a", "b"}) std::filesystem::create_directory(folder / name);
  Qwen3VLConfig config = preset_config("tiny");
  write_random_checkpoint(folder / "a", config, 7);
  config.dtype = DType::F32;
  write_random_checkpoint(folder / "b", config, 7);
  const std::string name = "model.language_model.layers.0.mlp.gate_proj.weight";
  const std::vector<float> rounded = values_of(open_model_directory(folder / "a"), name);
  const std::vector<float> exact = values_of(open_model_directory(folder / "b"), name);
  ASSERT_EQ(rounded.size(), exact.size());
  // bfloat16 keeps 8 bits: half a unit in the last place is 2^-9 of the value.
  for (std::size_t i = 0; i < exact.size(); ++i) {
    EXPECT_LE(std::abs(rounded[i] - exact[i]), std::abs(exact[i]) * 0x1p-8F);
  }
  EXPECT_NE(rounded, exact);
}

TEST(RandomCheckpoint, RefusesAConfigurationThatCannotBeRead) {
  const TemporaryDirectory folder;
  Qwen3VLConfig config = preset_config("tiny");
  config.text.num_key_value_heads = 3;
  EXPECT_THAT(input_error([&] { write_random_checkpoint(folder.path(), config, 0); }),
              HasSubstr("num_key_value_heads"));
  config = preset_config("tiny");
  config.image_token_id = 3;
  EXPECT_THAT(input_error([&] { write_random_checkpoint(folder.path(), config, 0); }),
              AllOf(HasSubstr("image_token_id: wanted at least 12"), HasSubstr("found 3")));
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

}  // namespace
}  // namespace espalier
