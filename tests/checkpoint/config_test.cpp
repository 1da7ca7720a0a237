// SPDX-License-Identifier: Apache-2.0
#include "espalier/checkpoint/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>

#include "espalier/base/error.h"
#include "espalier/base/json.h"
#include "espalier/checkpoint/init.h"
#include "tests/support.h"

namespace espalier {
namespace {

using nlohmann::json;
using test::input_error;
using test::write_quickly;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::StartsWith;

/// The released 4B file, word for word.
json released() {
  return parse_json(R"({
    "architectures": ["Qwen3VLForConditionalGeneration"],
    "image_token_id": 151655,
    "model_type": "qwen3_vl",
    "text_config": {
      "attention_bias": false, "attention_dropout": 0.0, "bos_token_id": 151643,
      "dtype": "bfloat16", "eos_token_id": 151645, "head_dim": 128, "hidden_act": "silu",
      "hidden_size": 2560, "initializer_range": 0.02, "intermediate_size": 9728,
      "max_position_embeddings": 262144, "model_type": "qwen3_vl_text",
      "num_attention_heads": 32, "num_hidden_layers": 36, "num_key_value_heads": 8,
      "rms_norm_eps": 1e-06,
      "rope_scaling": {"mrope_interleaved": true, "mrope_section": [24, 20, 20],
                       "rope_type": "default"},
      "rope_theta": 5000000, "tie_word_embeddings": true, "use_cache": true, "vocab_size": 151936
    },
    "tie_word_embeddings": true,
    "transformers_version": "4.57.0.dev0",
    "video_token_id": 151656,
    "vision_config": {
      "deepstack_visual_indexes": [5, 11, 17], "depth": 24, "hidden_act": "gelu_pytorch_tanh",
      "hidden_size": 1024, "in_channels": 3, "initializer_range": 0.02, "intermediate_size": 4096,
      "model_type": "qwen3_vl", "num_heads": 16, "num_position_embeddings": 2304,
      "out_hidden_size": 2560, "patch_size": 16, "spatial_merge_size": 2, "temporal_patch_size": 2
    },
    "vision_end_token_id": 151653,
    "vision_start_token_id": 151652
  })",
                    "released");
}

/// The same model as transformers 5.23 saves it.
json resaved() {
  json value = released();
  value["dtype"] = "bfloat16";
  value["transformers_version"] = "5.23.0";
  json& text = value["text_config"];
  text["pad_token_id"] = nullptr;
  text["rope_parameters"] = text["rope_scaling"];
  text["rope_parameters"]["rope_theta"] = 5000000;
  text.erase("rope_scaling");
  text.erase("rope_theta");
  json& vision = value["vision_config"];
  vision["dtype"] = "bfloat16";
  vision["model_type"] = "qwen3_vl_vision";
  vision["rope_parameters"] = {{"rope_theta", 10000.0}, {"rope_type", "axial"}};
  return value;
}

Qwen3VLConfig parse(const json& value) { return parse_config(value, "config.json"); }

TEST(Config, ReadsTheReleasedFile) {
  const Qwen3VLConfig config = parse(released());
  EXPECT_EQ(config.text, (TextConfig{.vocab_size = 151936,
                                     .hidden_size = 2560,
                                     .intermediate_size = 9728,
                                     .num_hidden_layers = 36,
                                     .num_attention_heads = 32,
                                     .num_key_value_heads = 8,
                                     .head_dim = 128,
                                     .max_position_embeddings = 262144,
                                     .rms_norm_eps = 1e-6,
                                     .rope_theta = 5e6,
                                     .mrope_section = {24, 20, 20}}));
  EXPECT_EQ(config.vision, (VisionConfig{.depth = 24,
                                         .hidden_size = 1024,
                                         .intermediate_size = 4096,
                                         .num_heads = 16,
                                         .in_channels = 3,
                                         .patch_size = 16,
                                         .temporal_patch_size = 2,
                                         .spatial_merge_size = 2,
                                         .num_position_embeddings = 2304,
                                         .out_hidden_size = 2560,
                                         .rope_theta = 1e4,
                                         .deepstack_visual_indexes = {5, 11, 17}}));
  EXPECT_TRUE(config.tie_word_embeddings);
  EXPECT_EQ(config.dtype, DType::BF16);
  EXPECT_EQ(config.image_token_id, 151655);
  EXPECT_EQ(config.video_token_id, 151656);
  EXPECT_EQ(config.vision_start_token_id, 151652);
  EXPECT_EQ(config.vision_end_token_id, 151653);
  EXPECT_THAT(config_problems(released(), "config.json"), IsEmpty());
}

TEST(Config, ReadsBothStylesAsTheSameModel) { EXPECT_EQ(parse(resaved()), parse(released())); }

TEST(Config, WritesTheReleasedStyleExactly) {
  json wanted = released();
  // Which tokens begin and end a text is not the network's; generation_config.json has it.
  wanted["text_config"].erase("bos_token_id");
  wanted["text_config"].erase("eos_token_id");
  wanted["transformers_version"] = "4.57.0";
  EXPECT_EQ(to_json(parse(released())).dump(2), wanted.dump(2));
}

TEST(Config, ReadsWhatItWrote) {
  for (const char* preset : {"tiny", "2b", "4b", "8b"}) {
    const Qwen3VLConfig config = preset_config(preset);
    EXPECT_EQ(parse(to_json(config)), config) << preset;
  }
  Qwen3VLConfig odd = preset_config("tiny");
  odd.dtype = DType::F32;
  odd.text.rope_theta = 1234.5;
  odd.vision.rope_theta = 2000.0;
  odd.vision.deepstack_visual_indexes = {};
  EXPECT_EQ(parse(to_json(odd)), odd);
}

struct Edit {
  const char* what;
  std::function<void(json&)> change;
  std::vector<std::string> wanted_in_message;
};

void expect_refused(const std::vector<Edit>& edits) {
  for (const Edit& edit : edits) {
    json value = released();
    edit.change(value);
    const std::string message = input_error([&] { parse(value); });
    EXPECT_THAT(message, StartsWith("config.json: ")) << edit.what;
    for (const std::string& part : edit.wanted_in_message) {
      EXPECT_THAT(message, HasSubstr(part)) << edit.what;
    }
  }
}

void expect_accepted(const std::vector<Edit>& edits) {
  for (const Edit& edit : edits) {
    json value = released();
    edit.change(value);
    EXPECT_THAT(config_problems(value, "config.json"), IsEmpty()) << edit.what;
  }
}

TEST(Config, RefusesEveryMissingKeyThatMatters) {
  const json whole = released();
  for (const char* section : {"", "text_config", "vision_config"}) {
    const json& keys = *section == '\0' ? whole : whole[section];
    for (const auto& item : keys.items()) {
      const bool harmless =
          std::set<std::string>{"transformers_version", "bos_token_id", "eos_token_id",
                                "initializer_range",    "use_cache",    "attention_dropout"}
              .contains(item.key()) ||
          (item.key() == "tie_word_embeddings" && *section != '\0');
      json value = whole;
      (*section == '\0' ? value : value[section]).erase(item.key());
      if (harmless) {
        EXPECT_THAT(config_problems(value, "config.json"), IsEmpty()) << section << item.key();
      } else {
        EXPECT_THAT(input_error([&] { parse(value); }),
                    AllOf(HasSubstr("\"" + item.key() + "\""), HasSubstr("missing")))
            << section << " " << item.key();
      }
    }
  }
}

TEST(Config, RefusesOtherArchitectures) {
  expect_refused(
      {{"no object", [](json& v) { v = json::array(); }, {"wanted an object"}},
       {"mixture of experts",
        [](json& v) { v["model_type"] = "qwen3_vl_moe"; },
        {"model_type: wanted \"qwen3_vl\"", "found \"qwen3_vl_moe\""}},
       {"older family", [](json& v) { v["model_type"] = "qwen2_5_vl"; }, {"\"qwen2_5_vl\""}},
       {"other class",
        [](json& v) { v["architectures"] = {"Qwen3VLModel"}; },
        {"architectures: wanted", "found [\"Qwen3VLModel\"]"}},
       {"no class", [](json& v) { v["architectures"] = json::array(); }, {"architectures: wanted"}},
       {"other text",
        [](json& v) { v["text_config"]["model_type"] = "qwen3"; },
        {"text_config: model_type: wanted \"qwen3_vl_text\", found \"qwen3\""}},
       {"other vision",
        [](json& v) { v["vision_config"]["model_type"] = "qwen2_5_vl"; },
        {"vision_config: model_type", "found \"qwen2_5_vl\""}},
       {"quantized",
        [](json& v) {
          v["quantization_config"] = {{"quant_method", "fp8"}};
        },
        {"quantization_config: quantized weights are not supported"}}});
}

TEST(Config, RefusesUnknownKeysByName) {
  expect_refused({{"top", [](json& v) { v["surprise"] = 1; }, {"unknown keys", "\"surprise\""}},
                  {"text",
                   [](json& v) { v["text_config"]["logit_cap"] = 30; },
                   {"text_config: ", "logit_cap"}},
                  {"vision",
                   [](json& v) { v["vision_config"]["window_size"] = 112; },
                   {"vision_config: ", "\"window_size\""}},
                  {"a per-layer list",
                   [](json& v) { v["text_config"]["no_rope_layers"] = std::vector<int>(36, 1); },
                   {"text_config: ", "\"no_rope_layers\""}},
                  {"rope block",
                   [](json& v) { v["text_config"]["rope_scaling"]["factor"] = 3.0; },
                   {"rope_scaling: unknown keys", "\"factor\""}}});
}

TEST(Config, IgnoresKeysThatCannotMatter) {
  expect_accepted(
      {{"names", [](json& v) { v["_name_or_path"] = "x"; }, {}},
       {"cache", [](json& v) { v["use_cache"] = false; }, {}},
       {"tokens", [](json& v) { v["pad_token_id"] = 151643; }, {}},
       {"null", [](json& v) { v["quantization_config"] = nullptr; }, {}},
       {"old dtype key", [](json& v) { v["torch_dtype"] = "bfloat16"; }, {}},
       {"rotates everything", [](json& v) { v["text_config"]["partial_rotary_factor"] = 1.0; }, {}},
       {"inert windows",
        [](json& v) {
          v["text_config"]["use_sliding_window"] = false;
          v["text_config"]["sliding_window"] = 4096;
          v["text_config"]["max_window_layers"] = 28;
        },
        {}},
       {"layers of the one kind",
        [](json& v) {
          v["text_config"]["layer_types"] = std::vector<std::string>(36, "full_attention");
        },
        {}}});
}

TEST(Config, RefusesAnotherComputation) {
  expect_refused({{"biases",
                   [](json& v) { v["text_config"]["attention_bias"] = true; },
                   {"attention_bias: wanted false, found true"}},
                  {"dropout",
                   [](json& v) { v["text_config"]["attention_dropout"] = 0.1; },
                   {"attention_dropout: wanted 0, found 0.1"}},
                  {"activation",
                   [](json& v) { v["text_config"]["hidden_act"] = "gelu"; },
                   {"text_config: hidden_act: wanted \"silu\", found \"gelu\""}},
                  {"vision activation",
                   [](json& v) { v["vision_config"]["hidden_act"] = "gelu"; },
                   {"vision_config: hidden_act: wanted \"gelu_pytorch_tanh\", found \"gelu\""}},
                  {"half rotation",
                   [](json& v) { v["text_config"]["partial_rotary_factor"] = 0.5; },
                   {"partial_rotary_factor: wanted 1, found 0.5"}},
                  {"window",
                   [](json& v) { v["text_config"]["use_sliding_window"] = true; },
                   {"use_sliding_window: wanted false"}},
                  {"window that nothing turns off",
                   [](json& v) { v["text_config"]["sliding_window"] = 4096; },
                   {"sliding_window: wanted null, found 4096"}},
                  {"grey pictures",
                   [](json& v) { v["vision_config"]["in_channels"] = 1; },
                   {"in_channels: wanted 3"}},
                  {"two patch sizes",
                   [](json& v) {
                     v["vision_config"]["patch_size"] = {16, 16};
                   },
                   {"patch_size: wanted an integer, found [16,16]"}}});
}

TEST(Config, RefusesPerLayerListsOfAnotherLengthOrKind) {
  expect_refused({{"the old length",
                   [](json& v) {
                     v["text_config"]["layer_types"] =
                         std::vector<std::string>(28, "full_attention");
                   },
                   {"layer_types: wanted num_hidden_layers = 36 entries, found 28"}},
                  {"no list",
                   [](json& v) { v["text_config"]["layer_types"] = "full_attention"; },
                   {"layer_types: wanted num_hidden_layers = 36 entries, found string"}},
                  {"another kind",
                   [](json& v) {
                     auto kinds = std::vector<std::string>(36, "full_attention");
                     kinds[7] = "sliding_attention";
                     v["text_config"]["layer_types"] = kinds;
                   },
                   {"wanted \"full_attention\" for layer 7, found \"sliding_attention\""}}});
}

TEST(Config, RefusesRopeThatItWouldComputeWrongly) {
  const auto scaling = [](json& v) -> json& { return v["text_config"]["rope_scaling"]; };
  expect_refused(
      {{"none",
        [&](json& v) { scaling(v) = nullptr; },
        {"\"rope_scaling\" (or \"rope_parameters\") is missing"}},
       {"yarn",
        [&](json& v) { scaling(v)["rope_type"] = "yarn"; },
        {"rope_scaling: rope_type: wanted \"default\", found \"yarn\""}},
       {"the older key",
        [&](json& v) {
          scaling(v).erase("rope_type");
          scaling(v)["type"] = "mrope";
        },
        {"rope_scaling: type: wanted \"default\", found \"mrope\""}},
       {"both keys, one wrong",
        [&](json& v) { scaling(v)["type"] = "linear"; },
        {"type: wanted \"default\", found \"linear\""}},
       {"not interleaved",
        [&](json& v) { scaling(v)["mrope_interleaved"] = false; },
        {"mrope_interleaved: wanted true, found false"}},
       {"unsaid",
        [&](json& v) { scaling(v).erase("mrope_interleaved"); },
        {"\"mrope_interleaved\" is missing"}},
       {"no section",
        [&](json& v) { scaling(v).erase("mrope_section"); },
        {"\"mrope_section\" is missing"}},
       {"two sections",
        [&](json& v) {
          scaling(v)["mrope_section"] = {32, 32};
        },
        {"mrope_section: wanted 3 numbers from 0, found [32,32]"}},
       {"negative",
        [&](json& v) {
          scaling(v)["mrope_section"] = {-20, 42, 42};
        },
        {"mrope_section: wanted 3 numbers from 0"}},
       {"wrong sum",
        [&](json& v) {
          scaling(v)["mrope_section"] = {24, 20, 19};
        },
        {"mrope_section: wanted a sum of head_dim / 2 = 64, found [24, 20, 19]"}},
       {"huge",
        [&](json& v) { scaling(v)["mrope_section"] = std::vector<std::int64_t>(3, 1LL << 62); },
        {"mrope_section: wanted a sum of head_dim / 2 = 64"}},
       // 3 * 22 = 66 > 64: the reference would cut H's last frequency silently.
       {"H beyond the head",
        [&](json& v) {
          scaling(v)["mrope_section"] = {22, 22, 20};
        },
        {"mrope_section: wanted H and W of at most a third of head_dim / 2 = 64, found [22, 22, "
         "20]"}},
       {"W beyond the head",
        [&](json& v) {
          scaling(v)["mrope_section"] = {22, 20, 22};
        },
        {"of at most a third"}},
       {"no base",
        [](json& v) { v["text_config"].erase("rope_theta"); },
        {"\"rope_theta\" is missing"}},
       {"base below 0",
        [](json& v) { v["text_config"]["rope_theta"] = -1; },
        {"rope_theta: wanted a number above 0, found -1"}},
       {"two bases",
        [&](json& v) { scaling(v)["rope_theta"] = 10000; },
        {"rope_theta: wanted 10000 as in config.json: text_config: rope_scaling, found 5000000"}},
       {"vision scaling",
        [](json& v) {
          v["vision_config"]["rope_parameters"] = {{"rope_theta", 1e4}, {"rope_type", "yarn"}};
        },
        {"vision_config: rope_parameters: rope_type: wanted \"axial\", found \"yarn\""}}});
}

TEST(Config, ReadsRopeInEverySpelling) {
  const auto scaling = [](json& v) -> json& { return v["text_config"]["rope_scaling"]; };
  expect_accepted(
      {{"the older key",
        [&](json& v) {
          scaling(v).erase("rope_type");
          scaling(v)["type"] = "default";
        },
        {}},
       {"no key", [&](json& v) { scaling(v).erase("rope_type"); }, {}},
       {"base in the block",
        [&](json& v) {
          scaling(v)["rope_theta"] = 5000000.0;
          v["text_config"].erase("rope_theta");
        },
        {}},
       {"base in both", [&](json& v) { scaling(v)["rope_theta"] = 5000000.0; }, {}},
       {"both blocks", [&](json& v) { v["text_config"]["rope_parameters"] = scaling(v); }, {}},
       {"vision default",
        [](json& v) {
          v["vision_config"]["rope_parameters"] = {{"rope_theta", 1e4}, {"rope_type", "default"}};
        },
        {}}});
}

TEST(Config, RefusesRopeBlocksThatDisagree) {
  expect_refused({{"section",
                   [](json& v) {
                     json& text = v["text_config"];
                     text["rope_parameters"] = text["rope_scaling"];
                     text["rope_parameters"]["mrope_section"] = {22, 21, 21};
                   },
                   {"rope_scaling", "[24, 20, 20]", "rope_parameters", "[22, 21, 21]", "disagree"}},
                  {"base",
                   [](json& v) {
                     json& text = v["text_config"];
                     text["rope_parameters"] = text["rope_scaling"];
                     text["rope_parameters"]["rope_theta"] = 5000000;
                     text["rope_scaling"]["rope_theta"] = 10000;
                     text.erase("rope_theta");
                   },
                   {"theta 10000", "theta 5000000", "disagree"}}});
}

TEST(Config, TakesTheVisionRopeBaseFromTheFile) {
  json value = resaved();
  value["vision_config"]["rope_parameters"]["rope_theta"] = 500.0;
  EXPECT_EQ(parse(value).vision.rope_theta, 500.0);
}

TEST(Config, RefusesTieFlagsThatDisagreeOrAreOnlyInside) {
  expect_refused({{"inside false",
                   [](json& v) { v["text_config"]["tie_word_embeddings"] = false; },
                   {"text_config: tie_word_embeddings: wanted true", "found false"}},
                  {"outside false",
                   [](json& v) { v["tie_word_embeddings"] = false; },
                   {"text_config: tie_word_embeddings: wanted false", "found true"}},
                  {"outside missing",
                   [](json& v) { v.erase("tie_word_embeddings"); },
                   {"\"tie_word_embeddings\" is missing", "untied"}}});
  expect_accepted(
      {{"inside missing", [](json& v) { v["text_config"].erase("tie_word_embeddings"); }, {}}});
}

TEST(Config, ReadsTheTypeWhereverItIsDeclared) {
  for (const auto& [section, key] : std::vector<std::pair<std::string, std::string>>{
           {"", "dtype"}, {"", "torch_dtype"}, {"text_config", "torch_dtype"}}) {
    json value = released();
    value["text_config"].erase("dtype");
    (section.empty() ? value : value[section])[key] = "float32";
    EXPECT_EQ(parse(value).dtype, DType::F32) << section << key;
  }
}

TEST(Config, RefusesTypesThatItCannotRunOrThatDisagree) {
  expect_refused(
      {{"float16",
        [](json& v) { v["text_config"]["dtype"] = "float16"; },
        {"text_config: dtype: wanted \"bfloat16\" or \"float32\", found \"float16\"", "convert"}},
       {"8 bits",
        [](json& v) { v["text_config"]["dtype"] = "float8_e4m3fn"; },
        {"found \"float8_e4m3fn\""}},
       {"two types",
        [](json& v) { v["torch_dtype"] = "float32"; },
        {"text_config: dtype: wanted \"float32\" as in config.json: torch_dtype, found "
         "\"bfloat16\""}}});
}

TEST(Config, RefusesSizesThatDoNotFitTogether) {
  expect_refused({{"zero layers",
                   [](json& v) { v["text_config"]["num_hidden_layers"] = 0; },
                   {"num_hidden_layers: wanted 1 to 4096, found 0"}},
                  {"absurd width",
                   [](json& v) { v["text_config"]["hidden_size"] = 1LL << 40; },
                   {"hidden_size: wanted 1 to"}},
                  {"a fraction",
                   [](json& v) { v["text_config"]["hidden_size"] = 2560.5; },
                   {"hidden_size: wanted an integer, found 2560.5"}},
                  {"absurd heads",
                   [](json& v) {
                     v["text_config"]["num_attention_heads"] = 1 << 20;
                     v["text_config"]["head_dim"] = 1 << 20;
                   },
                   {"num_attention_heads * head_dim: wanted at most"}},
                  {"key heads",
                   [](json& v) { v["text_config"]["num_key_value_heads"] = 5; },
                   {"num_key_value_heads: wanted a divisor of num_attention_heads = 32, found 5"}},
                  {"odd heads",
                   [](json& v) { v["text_config"]["head_dim"] = 127; },
                   {"head_dim: wanted an even number, found 127"}},
                  {"epsilon",
                   [](json& v) { v["text_config"]["rms_norm_eps"] = 0; },
                   {"rms_norm_eps: wanted a number above 0"}},
                  {"vision heads",
                   [](json& v) { v["vision_config"]["num_heads"] = 12; },
                   {"num_heads: wanted heads whose width is a multiple of 4, found 12 heads"}},
                  {"narrow vision heads",
                   [](json& v) { v["vision_config"]["num_heads"] = 512; },
                   {"num_heads: wanted heads whose width is a multiple of 4"}},
                  {"no square",
                   [](json& v) { v["vision_config"]["num_position_embeddings"] = 2305; },
                   {"num_position_embeddings: wanted a square number, found 2305"}},
                  {"other width",
                   [](json& v) { v["vision_config"]["out_hidden_size"] = 2048; },
                   {"out_hidden_size: wanted text_config's hidden_size = 2560, found 2048"}}});
}

TEST(Config, RefusesDeepStackIndexesOutOfOrderOrRange) {
  const auto with = [](std::vector<int> indexes) {
    return [indexes](json& v) { v["vision_config"]["deepstack_visual_indexes"] = indexes; };
  };
  expect_refused(
      {{"unsorted", with({5, 17, 11}), {"wanted ascending block numbers", "11 after 17"}},
       {"twice", with({5, 5, 11}), {"5 after 5"}},
       {"negative", with({-1, 5}), {"wanted ascending block numbers from 0, found -1"}},
       {"beyond", with({5, 11, 24}), {"below depth = 24, found 24"}}});
  expect_accepted({{"none", with({}), {}}, {"all", with({0, 23}), {}}});
}

TEST(Config, RefusesTokensOutsideTheVocabularyAndSharedOnes) {
  expect_refused({{"outside",
                   [](json& v) { v["image_token_id"] = 151936; },
                   {"image_token_id: wanted 0 to vocab_size - 1 = 151935, found 151936"}},
                  {"negative", [](json& v) { v["vision_end_token_id"] = -1; }, {"found -1"}},
                  {"shared",
                   [](json& v) { v["video_token_id"] = 151655; },
                   {"video_token_id: wanted another id than image_token_id, found 151655"}}});
}

TEST(Config, CollectsIndependentProblems) {
  json value = released();
  value["tie_word_embeddings"] = false;
  value["text_config"]["hidden_act"] = "gelu";
  value["text_config"]["rope_scaling"]["rope_type"] = "yarn";
  value["vision_config"]["deepstack_visual_indexes"] = {99};
  EXPECT_THAT(config_problems(value, "config.json"),
              ::testing::UnorderedElementsAre(HasSubstr("tie_word_embeddings"),
                                              HasSubstr("hidden_act"), HasSubstr("rope_type"),
                                              HasSubstr("deepstack_visual_indexes")));
  EXPECT_THAT(input_error([&] { parse(value); }), HasSubstr("and 3 more problems"));
}

TEST(Config, ReadsTheFileOfAFolder) {
  const test::TemporaryDirectory folder;
  EXPECT_THAT(input_error([&] { read_config(folder.path()); }), HasSubstr("No such file"));
  write_quickly(folder / "config.json", released().dump());
  EXPECT_EQ(read_config(folder.path()), parse(released()));
}

// The published sizes (2B: 625 tensors, 4B: 713), counted on the reference's own models.
TEST(ExpectedTensors, CountAsTheReferenceDoes) {
  EXPECT_THAT(expected_tensors(preset_config("2b")), SizeIs(625));
  EXPECT_EQ(count_parameters(preset_config("2b")), 2'127'532'032);
  EXPECT_THAT(expected_tensors(preset_config("4b")), SizeIs(713));
  EXPECT_EQ(count_parameters(preset_config("4b")), 4'437'815'808);
  EXPECT_EQ(count_parameters(preset_config("8b")), 8'767'123'696);
}

TEST(ExpectedTensors, HaveTheReleasedNamesAndShapes) {
  const std::vector<ExpectedTensor> tensors = expected_tensors(parse(released()));
  for (const ExpectedTensor& wanted : std::vector<ExpectedTensor>{
           {"model.visual.patch_embed.proj.weight", {1024, 3, 2, 16, 16}},
           {"model.visual.patch_embed.proj.bias", {1024}},
           {"model.visual.pos_embed.weight", {2304, 1024}},
           {"model.visual.blocks.23.attn.qkv.weight", {3072, 1024}},
           {"model.visual.blocks.23.mlp.linear_fc2.weight", {1024, 4096}},
           {"model.visual.merger.norm.weight", {1024}},
           {"model.visual.deepstack_merger_list.2.norm.weight", {4096}},
           {"model.visual.deepstack_merger_list.2.linear_fc2.bias", {2560}},
           {"model.language_model.embed_tokens.weight", {151936, 2560}},
           {"model.language_model.layers.35.self_attn.q_proj.weight", {4096, 2560}},
           {"model.language_model.layers.35.self_attn.k_proj.weight", {1024, 2560}},
           {"model.language_model.layers.35.self_attn.o_proj.weight", {2560, 4096}},
           {"model.language_model.layers.35.self_attn.k_norm.weight", {128}},
           {"model.language_model.layers.35.mlp.down_proj.weight", {2560, 9728}},
           {"model.language_model.norm.weight", {2560}}}) {
    EXPECT_THAT(tensors, ::testing::Contains(wanted)) << wanted.name;
  }
  EXPECT_EQ(tensors.front().name, "model.visual.patch_embed.proj.weight");
  EXPECT_EQ(tensors.back().name, "model.language_model.norm.weight");
  EXPECT_EQ(expected_tensors(preset_config("8b")).back(),
            (ExpectedTensor{"lm_head.weight", {151936, 4096}}));
}

}  // namespace
}  // namespace espalier
