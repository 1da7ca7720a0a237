// SPDX-License-Identifier: Apache-2.0
#include "espalier/checkpoint/init.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <future>
#include <nlohmann/json.hpp>
#include <numbers>
#include <string>
#include <vector>

#include "espalier/base/error.h"
#include "espalier/base/files.h"
#include "espalier/base/hash.h"
#include "espalier/checkpoint/weights_writer.h"

namespace espalier {

using nlohmann::json;

namespace fs = std::filesystem;

namespace {

// -------------------------------------------------------------------------------------- presets

constexpr std::int64_t kVocabulary = 151936;
constexpr std::int64_t kFirstAddedToken = 151643;  // <|endoftext|>

// Where Qwen's added tokens stand after the first one.
constexpr std::int64_t kImEnd = 2;
constexpr std::int64_t kVisionStart = 9;
constexpr std::int64_t kVisionEnd = 10;
constexpr std::int64_t kImagePad = 12;
constexpr std::int64_t kVideoPad = 13;

/// What all presets share; sizes that differ are those of the 2B model.
Qwen3VLConfig base_preset(std::int64_t first_added_token) {
  return {.text = {.vocab_size = kVocabulary,
                   .hidden_size = 2048,
                   .intermediate_size = 6144,
                   .num_hidden_layers = 28,
                   .num_attention_heads = 16,
                   .num_key_value_heads = 8,
                   .head_dim = 128,
                   .max_position_embeddings = 262144,
                   .rms_norm_eps = 1e-6,
                   .rope_theta = 5e6,
                   .mrope_section = {24, 20, 20}},
          .vision = {.depth = 24,
                     .hidden_size = 1024,
                     .intermediate_size = 4096,
                     .num_heads = 16,
                     .in_channels = 3,
                     .patch_size = 16,
                     .temporal_patch_size = 2,
                     .spatial_merge_size = 2,
                     .num_position_embeddings = 2304,
                     .out_hidden_size = 2048,
                     .rope_theta = 1e4,
                     .deepstack_visual_indexes = {5, 11, 17}},
          .tie_word_embeddings = true,
          .dtype = DType::BF16,
          .image_token_id = first_added_token + kImagePad,
          .video_token_id = first_added_token + kVideoPad,
          .vision_start_token_id = first_added_token + kVisionStart,
          .vision_end_token_id = first_added_token + kVisionEnd};
}

Qwen3VLConfig preset_4b() {
  Qwen3VLConfig config = base_preset(kFirstAddedToken);
  config.text.hidden_size = 2560;
  config.text.intermediate_size = 9728;
  config.text.num_hidden_layers = 36;
  config.text.num_attention_heads = 32;
  config.vision.out_hidden_size = 2560;
  return config;
}

Qwen3VLConfig preset_8b() {
  Qwen3VLConfig config = base_preset(kFirstAddedToken);
  config.text.hidden_size = 4096;
  config.text.intermediate_size = 12288;
  config.text.num_hidden_layers = 36;
  config.text.num_attention_heads = 32;
  config.vision.depth = 27;
  config.vision.hidden_size = 1152;
  config.vision.intermediate_size = 4304;
  config.vision.out_hidden_size = 4096;
  config.vision.deepstack_visual_indexes = {8, 16, 24};
  config.tie_word_embeddings = false;
  return config;
}

/// Small enough for a test, with every part of the large ones. 256 bytes and Qwen's 26 added tokens
/// are 282 ids, rounded up to a multiple of 32 as the released vocabularies are.
Qwen3VLConfig preset_tiny() {
  Qwen3VLConfig config = base_preset(256);
  config.text.vocab_size = 288;
  config.text.hidden_size = 64;
  config.text.intermediate_size = 128;
  config.text.num_hidden_layers = 6;
  config.text.num_attention_heads = 4;
  config.text.num_key_value_heads = 2;
  config.text.head_dim = 32;
  config.text.mrope_section = {8, 4, 4};
  config.vision.depth = 4;
  config.vision.hidden_size = 64;
  config.vision.intermediate_size = 128;
  config.vision.num_heads = 4;
  config.vision.num_position_embeddings = 576;
  config.vision.out_hidden_size = 64;
  config.vision.deepstack_visual_indexes = {0, 1, 2};
  return config;
}

/// The tiny one with layers enough that the paper's budgets remove 1, 3 and 5 of the 14 prunable.
Qwen3VLConfig preset_small() {
  Qwen3VLConfig config = preset_tiny();
  config.text.num_hidden_layers = 16;
  return config;
}

// -------------------------------------------------------------------------------------- weights

constexpr std::size_t kQuantiles = std::size_t{1} << 16;
constexpr std::size_t kPerWord = 4;                               // 16-bit draws in a 64-bit word
constexpr std::uint64_t kPieceElements = std::uint64_t{1} << 22;  // a multiple of kPerWord

/// The middles of 65536 slices of equal probability of the standard normal: one 16-bit draw and
/// one look-up make a weight, which bfloat16 could not hold finer anyway.
std::vector<float> normal_quantiles() {
  std::vector<float> quantiles(kQuantiles);
  double z = 0.0;
  for (std::size_t i = kQuantiles / 2; i-- > 0;) {
    // Newton's method from the neighbour nearer the middle: below 0 the distribution is convex, so
    // that each step stays on the root's right and comes nearer.
    const double probability = (static_cast<double>(i) + 0.5) / static_cast<double>(kQuantiles);
    for (int step = 0; step < 5; ++step) {
      const double distribution = 0.5 * std::erfc(-z / std::numbers::sqrt2);
      const double density = std::exp(-0.5 * z * z) / std::sqrt(2.0 * std::numbers::pi);
      z -= (distribution - probability) / density;
    }
    quantiles[i] = static_cast<float>(z);
    quantiles[kQuantiles - 1 - i] = static_cast<float>(-z);
  }
  return quantiles;
}

/// To the nearest, ties to even. Finite values only.
std::uint16_t to_bfloat16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  return static_cast<std::uint16_t>((bits + 0x7FFFU + ((bits >> 16) & 1U)) >> 16);
}

/// The quantiles of one kind of tensor, as stored.
template <typename Stored>
std::vector<Stored> table_of(const std::vector<float>& quantiles, float mean, float deviation) {
  std::vector<Stored> table;
  table.reserve(quantiles.size());
  for (const float z : quantiles) {
    const float value = mean + deviation * z;
    if constexpr (sizeof(Stored) == 2) {
      table.push_back(to_bfloat16(value));
    } else {
      table.push_back(value);
    }
  }
  return table;
}

/// SplitMix64's output function (Steele et al. 2014): the word at a counter, without a state.
std::uint64_t random_word(std::uint64_t key, std::uint64_t counter) {
  std::uint64_t word = key + (counter + 1) * 0x9E3779B97F4A7C15ULL;
  word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9ULL;
  word = (word ^ (word >> 27)) * 0x94D049BB133111EBULL;
  return word ^ (word >> 31);
}

/// The start of a tensor's own sequence: from seed and name alone.
std::uint64_t key_of(std::uint64_t seed, std::string_view name) {
  Sha256 hash;
  hash.update(fmt::format("{}:{}", seed, name));
  return std::stoull(hash.finish().substr(0, 16), nullptr, 16);
}

/// A run of elements of one tensor.
struct Piece {
  std::uint64_t key;
  bool is_norm;
  std::uint64_t first;  ///< a multiple of kPerWord
  std::uint64_t count;
};

std::vector<Piece> cut_into_pieces(const std::vector<TensorSpec>& tensors, std::uint64_t seed) {
  std::vector<Piece> pieces;
  for (const TensorSpec& tensor : tensors) {
    const std::uint64_t elements = size_in_bytes(tensor) / size_in_bytes(tensor.dtype);
    const bool is_norm = tensor.shape.size() == 1 && tensor.name.ends_with(".weight");
    const std::uint64_t key = key_of(seed, tensor.name);
    for (std::uint64_t first = 0; first < elements; first += kPieceElements) {
      pieces.push_back({.key = key,
                        .is_norm = is_norm,
                        .first = first,
                        .count = std::min(kPieceElements, elements - first)});
    }
  }
  return pieces;
}

template <typename Stored>
void fill(const Piece& piece, const std::vector<Stored>& table, std::vector<Stored>& values) {
  values.resize(piece.count);
  for (std::uint64_t i = 0; i < piece.count; i += kPerWord) {
    std::uint64_t word = random_word(piece.key, (piece.first + i) / kPerWord);
    const std::uint64_t end = std::min<std::uint64_t>(i + kPerWord, piece.count);
    for (std::uint64_t j = i; j < end; ++j, word >>= 16) values[j] = table[word & 0xFFFF];
  }
}

/// Draws the next piece on a second thread while the first is written. The values depend on
/// counters only, so that the threads cannot change them.
template <typename Stored>
void write_weights(const std::vector<Piece>& pieces, WeightsWriter& writer) {
  const std::vector<float> quantiles = normal_quantiles();
  const auto matrices = table_of<Stored>(quantiles, 0.0F, 0.02F);  // biases too
  const auto norms = table_of<Stored>(quantiles, 1.0F, 0.1F);
  std::vector<Stored> current;
  std::vector<Stored> next;
  const auto draw = [&](std::size_t index, std::vector<Stored>& values) {
    fill(pieces[index], pieces[index].is_norm ? norms : matrices, values);
  };
  draw(0, current);
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    std::future<void> drawn;
    if (i + 1 < pieces.size()) {
      drawn = std::async(std::launch::async, [&, i] { draw(i + 1, next); });
    }
    writer.write(std::as_bytes(std::span(current)));
    if (drawn.valid()) drawn.get();
    std::swap(current, next);
  }
  writer.finish();
}

// ----------------------------------------------------------------------------------- side files

json preprocessor_json(const VisionConfig& vision, std::int64_t shortest, std::int64_t longest) {
  return {{"size", {{"longest_edge", longest}, {"shortest_edge", shortest}}},
          {"patch_size", vision.patch_size},
          {"temporal_patch_size", vision.temporal_patch_size},
          {"merge_size", vision.spatial_merge_size},
          {"image_mean", {0.5, 0.5, 0.5}},
          {"image_std", {0.5, 0.5, 0.5}},
          {"processor_class", "Qwen3VLProcessor"}};
}

/// The released sampling values; the end tokens stand where Qwen's order has them.
json generation_json(const Qwen3VLConfig& config) {
  const std::int64_t end_of_text = config.image_token_id - kImagePad;
  require(
      end_of_text >= 0,
      "image_token_id: wanted at least {}, the place of Qwen's added tokens before it, found {}",
      kImagePad, config.image_token_id);
  return {{"bos_token_id", end_of_text},
          {"do_sample", true},
          {"eos_token_id", {end_of_text + kImEnd, end_of_text}},
          {"pad_token_id", end_of_text},
          {"repetition_penalty", 1.0},
          {"temperature", 0.7},
          {"top_k", 20},
          {"top_p", 0.8},
          {"transformers_version", "4.57.0"}};
}

void write_json(const fs::path& path, const json& value) {
  write_file(path, value.dump(2) + "\n", false);
}

}  // namespace

Qwen3VLConfig preset_config(std::string_view name) {
  if (name == "tiny") return preset_tiny();
  if (name == "small") return preset_small();
  if (name == "2b") return base_preset(kFirstAddedToken);
  if (name == "4b") return preset_4b();
  if (name == "8b") return preset_8b();
  throw InputError(fmt::format("preset: wanted tiny, small, 2b, 4b or 8b, found \"{}\"", name));
}

void write_random_checkpoint(const fs::path& folder, const Qwen3VLConfig& config,
                             std::uint64_t seed) {
  const json value = to_json(config);
  parse_config(value, "the configuration");  // nothing is written that we would not read
  json pictures = preprocessor_json(config.vision, 65536, 16777216);
  pictures["image_processor_type"] = "Qwen2VLImageProcessorFast";
  json videos = preprocessor_json(config.vision, 4096, 25165824);
  videos["video_processor_type"] = "Qwen3VLVideoProcessor";
  const json generation = generation_json(config);

  write_json(folder / "config.json", value);
  write_json(folder / "preprocessor_config.json", pictures);
  write_json(folder / "video_preprocessor_config.json", videos);
  write_json(folder / "generation_config.json", generation);

  std::vector<TensorSpec> tensors;
  for (ExpectedTensor& tensor : expected_tensors(config)) {
    tensors.push_back(
        {.name = std::move(tensor.name), .dtype = config.dtype, .shape = std::move(tensor.shape)});
  }
  const std::vector<Piece> pieces = cut_into_pieces(tensors, seed);
  WeightsWriter writer(folder, std::move(tensors));
  if (config.dtype == DType::F32) {
    write_weights<float>(pieces, writer);
  } else {
    write_weights<std::uint16_t>(pieces, writer);
  }
}

}  // namespace espalier
