// SPDX-License-Identifier: Apache-2.0
#include "espalier/checkpoint/side_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "espalier/base/error.h"
#include "espalier/base/files.h"
#include "espalier/base/json.h"
#include "tests/support.h"

namespace espalier {
namespace {

using nlohmann::json;
using test::input_error;
using test::TemporaryDirectory;
using test::write_quickly;
using ::testing::AllOf;
using ::testing::HasSubstr;

const PreprocessorConfig kReleased{.min_pixels = 65536,
                                   .max_pixels = 16777216,
                                   .patch_size = 16,
                                   .temporal_patch_size = 2,
                                   .merge_size = 2,
                                   .image_mean = {0.5, 0.5, 0.5},
                                   .image_std = {0.5, 0.5, 0.5}};

json released_preprocessor() {
  return parse_json(R"({
    "size": {"longest_edge": 16777216, "shortest_edge": 65536},
    "patch_size": 16, "temporal_patch_size": 2, "merge_size": 2,
    "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5],
    "processor_class": "Qwen3VLProcessor", "image_processor_type": "Qwen2VLImageProcessorFast"
  })",
                    "released");
}

/// What transformers 5.23 writes inside processor_config.json.
json resaved_preprocessor() {
  json value = released_preprocessor();
  value.update(parse_json(R"({
    "do_convert_rgb": true, "do_normalize": true, "do_rescale": true, "do_resize": true,
    "image_processor_type": "Qwen2VLImageProcessor", "resample": 3,
    "rescale_factor": 0.00392156862745098, "data_format": "channels_first", "crop_size": null
  })",
                          "resaved"));
  return value;
}

PreprocessorConfig read_preprocessor(const json& value) {
  const TemporaryDirectory folder;
  write_quickly(folder / "preprocessor_config.json", value.dump());
  return read_preprocessor_config(folder.path());
}

TEST(Preprocessor, ReadsTheReleasedFile) {
  EXPECT_EQ(read_preprocessor(released_preprocessor()), kReleased);
}

TEST(Preprocessor, ReadsTheNestedFileOfTransformers5) {
  const TemporaryDirectory folder;
  const json processor = {{"image_processor", resaved_preprocessor()},
                          {"processor_class", "Qwen3VLProcessor"},
                          {"video_processor", {{"fps", 2}}}};
  write_quickly(folder / "processor_config.json", processor.dump());
  EXPECT_EQ(read_preprocessor_config(folder.path()), kReleased);
}

TEST(Preprocessor, TakesBothFilesOnlyIfTheyAgree) {
  const TemporaryDirectory folder;
  const auto write = [&](const char* name, const json& value) {
    write_quickly(folder / name, value.dump());
  };
  write("preprocessor_config.json", released_preprocessor());
  write("processor_config.json", {{"processor_class", "Qwen3VLProcessor"}});
  EXPECT_EQ(read_preprocessor_config(folder.path()), kReleased);
  write("processor_config.json", {{"image_processor", resaved_preprocessor()}});
  EXPECT_EQ(read_preprocessor_config(folder.path()), kReleased);
  json other = resaved_preprocessor();
  other["size"]["longest_edge"] = 1'000'000;
  write("processor_config.json", {{"image_processor", other}});
  EXPECT_THAT(input_error([&] { read_preprocessor_config(folder.path()); }),
              AllOf(HasSubstr("disagrees"), HasSubstr("processor_config.json")));
}

TEST(Preprocessor, RefusesAFolderWithoutOne) {
  const TemporaryDirectory folder;
  EXPECT_THAT(input_error([&] { read_preprocessor_config(folder.path()); }),
              AllOf(HasSubstr(folder.path().string()), HasSubstr("found neither")));
  write_quickly(folder / "processor_config.json", R"({"processor_class": "x"})");
  EXPECT_THAT(input_error([&] { read_preprocessor_config(folder.path()); }),
              HasSubstr("found neither"));
}

TEST(Preprocessor, LetsPixelLimitsStandOverTheEdges) {
  json value = released_preprocessor();
  value["min_pixels"] = 1024;
  EXPECT_EQ(read_preprocessor(value).min_pixels, 1024);
  EXPECT_EQ(read_preprocessor(value).max_pixels, 16777216);
  value["max_pixels"] = 4096;
  EXPECT_EQ(read_preprocessor(value).max_pixels, 4096);
  value.erase("size");
  EXPECT_EQ(read_preprocessor(value).max_pixels, 4096);
  value.erase("min_pixels");
  EXPECT_THAT(input_error([&] { read_preprocessor(value); }), HasSubstr("\"size\" is missing"));
}

struct BadValue {
  const char* key;
  json value;
  const char* wanted_in_message;
};

TEST(Preprocessor, RefusesStepsThatWeDoNotDo) {
  for (const BadValue& bad : std::vector<BadValue>{
           {"do_resize", false, "do_resize: wanted true, found false"},
           {"do_rescale", false, "do_rescale: wanted true"},
           {"do_normalize", false, "do_normalize: wanted true"},
           {"do_convert_rgb", false, "do_convert_rgb: wanted true"},
           {"do_center_crop", true, "do_center_crop: wanted false, found true"},
           {"do_pad", true, "do_pad: wanted false"},
           {"resample", 2, "resample: wanted 3 (bicubic), found 2"},
           {"rescale_factor", 1.0, "rescale_factor: wanted 1/255, found 1"},
           {"image_processor_type", "SiglipImageProcessor", "found \"SiglipImageProcessor\""},
           {"patch_size", {16, 16}, "patch_size: wanted an integer, found [16,16]"},
           {"patch_size", 0, "patch_size: wanted a number from 1, found 0"},
           {"image_mean", {0.5, 0.5}, "image_mean: wanted 3 numbers"},
           {"image_std", {0.5, 0.0, 0.5}, "image_std: wanted numbers above 0"},
           {"min_pixels", 20'000'000, "at most longest_edge = 16777216, found 20000000"},
           {"size", {{"height", 16}, {"width", 16}}, "unknown keys"},
           {"surprise", 1, "\"surprise\""}}) {
    json value = released_preprocessor();
    value[bad.key] = bad.value;
    EXPECT_THAT(input_error([&] { read_preprocessor(value); }),
                AllOf(HasSubstr("preprocessor_config.json"), HasSubstr(bad.wanted_in_message)))
        << bad.key;
  }
}

TEST(Preprocessor, RefusesEveryMissingKeyWhoseDefaultIsAnotherModels) {
  for (const char* key :
       {"size", "patch_size", "temporal_patch_size", "merge_size", "image_mean", "image_std"}) {
    json value = released_preprocessor();
    value.erase(key);
    EXPECT_THAT(input_error([&] { read_preprocessor(value); }),
                HasSubstr(fmt::format("\"{}\" is missing", key)));
  }
}

GenerationConfig read_generation(const json& value) {
  const TemporaryDirectory folder;
  write_quickly(folder / "generation_config.json", value.dump());
  return read_generation_config(folder.path());
}

TEST(Generation, ReadsTheReleasedFile) {
  const json value = parse_json(
      R"({"bos_token_id": 151643, "pad_token_id": 151643, "do_sample": true,
          "eos_token_id": [151645, 151643], "top_k": 20, "top_p": 0.8, "repetition_penalty": 1.0,
          "temperature": 0.7, "transformers_version": "4.56.0"})",
      "released");
  EXPECT_EQ(read_generation(value), (GenerationConfig{.eos_token_ids = {151645, 151643},
                                                      .do_sample = true,
                                                      .temperature = 0.7,
                                                      .top_k = 20,
                                                      .top_p = 0.8,
                                                      .repetition_penalty = 1.0}));
}

TEST(Generation, HasTheReferencesDefaults) {
  const GenerationConfig config = read_generation({{"eos_token_id", 7}});
  EXPECT_EQ(config, (GenerationConfig{.eos_token_ids = {7},
                                      .do_sample = false,
                                      .temperature = 1.0,
                                      .top_k = 50,
                                      .top_p = 1.0,
                                      .repetition_penalty = 1.0}));
}

// transformers 5 writes every option that it has, most of them null.
TEST(Generation, TakesNullsAndOptionsThatDoNothing) {
  const json value = parse_json(
      R"({"eos_token_id": 7, "do_sample": null, "temperature": null, "top_k": null, "top_p": null,
          "min_p": null, "typical_p": 1.0, "num_beams": 1, "num_beam_groups": 1, "top_h": null,
          "no_repeat_ngram_size": 0, "bad_words_ids": null, "suppress_tokens": [],
          "renormalize_logits": false, "diversity_penalty": 0.0, "epsilon_cutoff": 0.0,
          "guidance_scale": null, "max_length": 20, "max_new_tokens": null, "use_cache": true,
          "output_attentions": false, "_from_model_config": true, "num_return_sequences": 1,
          "early_stopping": false, "length_penalty": 1.0, "some_new_option": null})",
      "nulls");
  EXPECT_EQ(read_generation(value), (GenerationConfig{.eos_token_ids = {7}}));
}

TEST(Generation, RefusesWhatWouldChangeTheAnswers) {
  for (const BadValue& bad : std::vector<BadValue>{
           {"min_p", 0.1, "min_p: found 0.1, which changes the answers"},
           {"typical_p", 0.9, "typical_p"},
           {"num_beams", 4, "num_beams: found 4"},
           {"no_repeat_ngram_size", 3, "no_repeat_ngram_size"},
           {"penalty_alpha", 0.6, "penalty_alpha"},
           {"suppress_tokens", {1, 2}, "suppress_tokens: found [1,2]"},
           {"bad_words_ids", {{1}}, "bad_words_ids"},
           {"forced_eos_token_id", 3, "forced_eos_token_id"},
           {"renormalize_logits", true, "renormalize_logits"},
           {"min_new_tokens", 5, "min_new_tokens"},
           {"stop_strings", {"x"}, "stop_strings"},
           {"guidance_scale", 1.5, "guidance_scale"},
           {"presence_penalty", 1.5, "presence_penalty"},
           {"some_new_option", 1, "unknown keys"},
           {"do_sample", 1, "do_sample: wanted true or false"},
           {"temperature", -0.5, "temperature: wanted a number above 0, found -0.5"},
           {"top_k", -1, "top_k: wanted a number from 0, found -1"},
           {"top_p", 0.0, "top_p: wanted a number above 0 and up to 1, found 0"},
           {"top_p", 1.5, "top_p: wanted"},
           {"repetition_penalty", 0, "repetition_penalty: wanted a number above 0"},
           {"eos_token_id", nullptr, "\"eos_token_id\" is missing"},
           {"eos_token_id", json::array(), "eos_token_id: wanted one or more token ids"},
           {"eos_token_id", -1, "eos_token_id: wanted one or more token ids from 0, found [-1]"},
           {"eos_token_id", "x", "eos_token_id: wanted an integer"}}) {
    json value = {{"eos_token_id", 7}};
    value[bad.key] = bad.value;
    EXPECT_THAT(input_error([&] { read_generation(value); }),
                AllOf(HasSubstr("generation_config.json: "), HasSubstr(bad.wanted_in_message)))
        << bad.key;
  }
}

TEST(Generation, TakesATemperatureOfZeroOnlyForGreedyAnswers) {
  EXPECT_EQ(read_generation({{"eos_token_id", 7}, {"temperature", 0}}).temperature, 0.0);
  EXPECT_THAT(input_error([] {
                read_generation({{"eos_token_id", 7}, {"temperature", 0}, {"do_sample", true}});
              }),
              HasSubstr("temperature: wanted a number above 0, found 0"));
}

TEST(Generation, RefusesAFolderWithoutOne) {
  const TemporaryDirectory folder;
  EXPECT_THAT(input_error([&] { read_generation_config(folder.path()); }),
              AllOf(HasSubstr("generation_config.json"), HasSubstr("No such file")));
}

}  // namespace
}  // namespace espalier
