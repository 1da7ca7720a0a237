// SPDX-License-Identifier: Apache-2.0
#include "espalier/checkpoint/side_files.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "espalier/base/error.h"
#include "espalier/base/files.h"
#include "espalier/base/json.h"

namespace espalier {

using nlohmann::json;

namespace fs = std::filesystem;

namespace {

constexpr double kRescaleFactor = 1.0 / 255.0;
constexpr std::int64_t kBicubic = 3;  // Pillow's code

std::int64_t at_least_one(const JsonObject& object, std::string_view key) {
  const std::int64_t value = object.integer(key);
  require(value >= 1, "{}: {}: wanted a number from 1, found {}", object.place(), key, value);
  return value;
}

std::array<double, 3> three_channels(const JsonObject& object, std::string_view key) {
  const std::vector<double> values = object.numbers(key);
  require(values.size() == 3, "{}: {}: wanted 3 numbers (red, green, blue), found {}",
          object.place(), key, values.size());
  return {values[0], values[1], values[2]};
}

/// The steps that we always do: the file may only agree. An absent key is true in the reference.
void check_steps(const JsonObject& object) {
  for (const std::string_view key : {"do_resize", "do_rescale", "do_normalize", "do_convert_rgb"}) {
    require(!object.has(key) || object.boolean(key),
            "{}: {}: wanted true, found false: pictures without that step are not implemented",
            object.place(), key);
  }
  for (const std::string_view key : {"do_center_crop", "do_pad"}) {
    require(!object.has(key) || !object.boolean(key),
            "{}: {}: wanted false, found true: that step is not implemented", object.place(), key);
  }
  if (object.has("resample")) {
    const std::int64_t resample = object.integer("resample");
    require(resample == kBicubic, "{}: resample: wanted {} (bicubic), found {}", object.place(),
            kBicubic, resample);
  }
  if (object.has("rescale_factor")) {
    const double factor = object.number("rescale_factor");
    // A file may round 1/255 to a few digits less than a double has.
    require(std::abs(factor - kRescaleFactor) < 1e-9, "{}: rescale_factor: wanted 1/255, found {}",
            object.place(), factor);
  }
  if (object.has("image_processor_type")) {
    const std::string type = object.string("image_processor_type");
    require(type == "Qwen2VLImageProcessor" || type == "Qwen2VLImageProcessorFast" ||
                type == "Qwen2VLImageProcessorPil",
            "{}: image_processor_type: wanted \"Qwen2VLImageProcessor\" or its Fast or Pil form, "
            "found \"{}\"",
            object.place(), type);
  }
}

/// An area: `min_pixels` and `max_pixels`, where present, stand over the size's edges.
std::int64_t read_pixels(const JsonObject& object, std::string_view key, std::string_view edge) {
  if (object.has(key)) return at_least_one(object, key);
  return at_least_one(object.object("size"), edge);
}

void check_size_keys(const JsonObject& object) {
  if (!object.has("size")) return;
  const JsonObject size = object.object("size");
  size.ignore({"shortest_edge", "longest_edge"});
  size.refuse_unread();
}

PreprocessorConfig parse_preprocessor(const JsonObject& object) {
  check_steps(object);
  check_size_keys(object);
  const PreprocessorConfig config{
      .min_pixels = read_pixels(object, "min_pixels", "shortest_edge"),
      .max_pixels = read_pixels(object, "max_pixels", "longest_edge"),
      .patch_size = at_least_one(object, "patch_size"),
      .temporal_patch_size = at_least_one(object, "temporal_patch_size"),
      .merge_size = at_least_one(object, "merge_size"),
      .image_mean = three_channels(object, "image_mean"),
      .image_std = three_channels(object, "image_std")};
  require(config.min_pixels <= config.max_pixels,
          "{}: size: wanted shortest_edge (an area) of at most longest_edge = {}, found {}",
          object.place(), config.max_pixels, config.min_pixels);
  require(std::ranges::all_of(config.image_std, [](double value) { return value > 0.0; }),
          "{}: image_std: wanted numbers above 0, found {}", object.place(),
          json(config.image_std).dump());
  object.ignore({"processor_class", "data_format", "input_data_format", "device",
                 "disable_grouping", "return_tensors", "default_to_square", "crop_size", "pad_size",
                 "image_processor_type", "_processor_class"});
  object.refuse_unread();
  return config;
}

// ------------------------------------------------------------------------------------ generation

/// A generation option that we do not implement, with the values at which it does nothing.
struct Unimplemented {
  std::string_view key;
  std::vector<json> neutral;
};

void refuse_active_options(const JsonObject& object) {
  static const std::vector<Unimplemented> options{{"min_p", {0}},
                                                  {"typical_p", {1}},
                                                  {"top_h", {}},
                                                  {"epsilon_cutoff", {0}},
                                                  {"eta_cutoff", {0}},
                                                  {"penalty_alpha", {0}},
                                                  {"guidance_scale", {1}},
                                                  {"encoder_repetition_penalty", {1}},
                                                  {"no_repeat_ngram_size", {0}},
                                                  {"encoder_no_repeat_ngram_size", {0}},
                                                  {"num_beams", {1}},
                                                  {"num_beam_groups", {1}},
                                                  {"diversity_penalty", {0}},
                                                  {"num_return_sequences", {1}},
                                                  {"min_length", {0}},
                                                  {"min_new_tokens", {0}},
                                                  {"max_time", {}},
                                                  {"stop_strings", {json::array()}},
                                                  {"bad_words_ids", {json::array()}},
                                                  {"force_words_ids", {json::array()}},
                                                  {"constraints", {json::array()}},
                                                  {"forced_bos_token_id", {}},
                                                  {"forced_eos_token_id", {}},
                                                  {"suppress_tokens", {json::array()}},
                                                  {"begin_suppress_tokens", {json::array()}},
                                                  {"sequence_bias", {}},
                                                  {"exponential_decay_length_penalty", {}},
                                                  {"renormalize_logits", {false}},
                                                  {"remove_invalid_values", {false}},
                                                  {"watermarking_config", {}},
                                                  {"token_healing", {false}},
                                                  {"dola_layers", {}},
                                                  {"presence_penalty", {0}},
                                                  {"frequency_penalty", {0}}};
  for (const auto& [key, neutral] : options) {
    if (!object.has(key)) continue;
    const json& found = object.at(key);
    require(std::ranges::find(neutral, found) != neutral.end(),
            "{}: {}: found {}, which changes the answers and is not implemented; remove the key",
            object.place(), key, found.dump());
  }
}

/// Keys that say nothing about which token comes next. The length is always the caller's to say.
void ignore_generation_keys(const JsonObject& object) {
  object.ignore({"bos_token_id",
                 "pad_token_id",
                 "decoder_start_token_id",
                 "transformers_version",
                 "_from_model_config",
                 "max_length",
                 "max_new_tokens",
                 "early_stopping",
                 "length_penalty",
                 "use_cache",
                 "use_mtp",
                 "cache_implementation",
                 "cache_config",
                 "max_cache_len",
                 "output_attentions",
                 "output_hidden_states",
                 "output_scores",
                 "output_logits",
                 "return_dict_in_generate",
                 "is_assistant",
                 "num_assistant_tokens",
                 "num_assistant_tokens_schedule",
                 "assistant_confidence_threshold",
                 "assistant_early_exit",
                 "assistant_lookbehind",
                 "target_lookbehind",
                 "assistant_ensemble_weight",
                 "prompt_lookup_num_tokens",
                 "max_matching_ngram_size",
                 "speculation_type",
                 "compile_config",
                 "disable_compile",
                 "continuous_batching_config",
                 "low_memory",
                 "prefill_chunk_size",
                 "chat_format",
                 "trust_remote_code"});
}

std::vector<std::int64_t> read_end_tokens(const JsonObject& object) {
  constexpr std::string_view kKey = "eos_token_id";
  require(object.has(kKey), "{}: the kKey \"{}\" is missing: no answer would end", object.place(),
          kKey);
  std::vector<std::int64_t> ids = object.at(kKey).is_array()
                                      ? object.integers(kKey)
                                      : std::vector<std::int64_t>{object.integer(kKey)};
  require(!ids.empty() && std::ranges::all_of(ids, [](std::int64_t id) { return id >= 0; }),
          "{}: {}: wanted one or more token ids from 0, found {}", object.place(), kKey,
          json(ids).dump());
  return ids;
}

}  // namespace

PreprocessorConfig read_preprocessor_config(const fs::path& folder) {
  const fs::path alone = folder / "preprocessor_config.json";
  const fs::path nesting = folder / "processor_config.json";
  std::optional<PreprocessorConfig> config;
  if (path_exists(nesting)) {
    const json value = read_json(nesting);
    const JsonObject processor(value, nesting.string());
    // Before version 5 this file held other things, if it was there at all.
    if (processor.has("image_processor")) {
      config = parse_preprocessor(processor.object("image_processor"));
    }
  }
  if (path_exists(alone)) {
    const json value = read_json(alone);
    const PreprocessorConfig found = parse_preprocessor({value, alone.string()});
    require(!config || *config == found,
            "{}: disagrees with image_processor in {}; keep the right one of the two files",
            alone.string(), nesting.string());
    config = found;
  }
  if (!config) {
    throw InputError(fmt::format(
        "{}: wanted preprocessor_config.json, or processor_config.json with an image_processor, "
        "found neither; copy it from the model that this one was made from",
        folder.string()));
  }
  return *config;
}

GenerationConfig read_generation_config(const fs::path& folder) {
  const fs::path path = folder / "generation_config.json";
  const json value = read_json(path);
  const JsonObject object(value, path.string());
  GenerationConfig config{.eos_token_ids = read_end_tokens(object)};
  if (object.has("do_sample")) config.do_sample = object.boolean("do_sample");
  if (object.has("temperature")) config.temperature = object.number("temperature");
  if (object.has("top_k")) config.top_k = object.integer("top_k");
  if (object.has("top_p")) config.top_p = object.number("top_p");
  if (object.has("repetition_penalty")) {
    config.repetition_penalty = object.number("repetition_penalty");
  }
  // Greedy answers do not use it, and files that mean "greedy" like to say 0.
  require(config.temperature > 0.0 || (!config.do_sample && config.temperature == 0.0),
          "{}: temperature: wanted a number above 0, found {}", object.place(), config.temperature);
  require(config.top_k >= 0, "{}: top_k: wanted a number from 0, found {}", object.place(),
          config.top_k);
  require(config.top_p > 0.0 && config.top_p <= 1.0,
          "{}: top_p: wanted a number above 0 and up to 1, found {}", object.place(), config.top_p);
  require(config.repetition_penalty > 0.0,
          "{}: repetition_penalty: wanted a number above 0, found {}", object.place(),
          config.repetition_penalty);
  refuse_active_options(object);
  ignore_generation_keys(object);
  object.refuse_unread();
  return config;
}

}  // namespace espalier
