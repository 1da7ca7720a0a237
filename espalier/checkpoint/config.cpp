// SPDX-License-Identifier: Apache-2.0
#include "espalier/checkpoint/config.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "espalier/base/error.h"
#include "espalier/base/json.h"

namespace espalier {

using nlohmann::json;

namespace {

// Far above any model; they keep every product of sizes within 63 bits.
constexpr std::int64_t kMaxLayers = 4096;
constexpr std::int64_t kMaxSize = 1 << 20;
constexpr std::int64_t kMaxVocabulary = 1 << 24;
constexpr std::int64_t kMaxPositions = std::int64_t{1} << 40;

constexpr double kVisionRopeTheta = 10000.0;

constexpr std::string_view kDecoder = "model.language_model.";

std::int64_t size(const JsonObject& object, std::string_view key, std::int64_t max = kMaxSize) {
  const std::int64_t value = object.integer(key);
  require(value >= 1 && value <= max, "{}: {}: wanted 1 to {}, found {}", object.place(), key, max,
          value);
  return value;
}

double positive(const JsonObject& object, std::string_view key) {
  const double value = object.number(key);
  require(value > 0.0, "{}: {}: wanted a number above 0, found {}", object.place(), key, value);
  return value;
}

void want_text(const JsonObject& object, std::string_view key, std::string_view wanted) {
  const std::string found = object.string(key);
  require(found == wanted, "{}: {}: wanted \"{}\", found \"{}\"", object.place(), key, wanted,
          found);
}

/// A key that other configurations of the family may have and that must not do anything.
void want_number_if_there(const JsonObject& object, std::string_view key, double wanted) {
  if (!object.has(key)) return;
  const double found = object.number(key);
  require(found == wanted, "{}: {}: wanted {}, found {}: that is not implemented", object.place(),
          key, wanted, found);
}

/// Keys of any section that cannot change what a forward pass computes.
void ignore_common(const JsonObject& object) {
  object.ignore({"transformers_version", "initializer_range", "use_cache", "bos_token_id",
                 "eos_token_id", "pad_token_id", "_name_or_path", "name_or_path",
                 "_attn_implementation", "_attn_implementation_autoset", "attn_implementation",
                 "output_attentions", "output_hidden_states", "return_dict", "unsloth_fixed",
                 "unsloth_version"});
}

// ------------------------------------------------------------------------------ rotary embedding

struct Rope {
  double theta;
  std::array<std::int64_t, 3> section;
  bool operator==(const Rope&) const = default;
};

std::string shown(const Rope& rope) {
  return fmt::format("theta {}, section [{}, {}, {}]", rope.theta, rope.section[0], rope.section[1],
                     rope.section[2]);
}

/// The base: in the block (as transformers 5 saves it) or beside it (as released).
double read_theta(const JsonObject& text, const JsonObject& block) {
  constexpr std::string_view kKey = "rope_theta";
  if (!block.has(kKey)) return positive(text, kKey);
  const double theta = positive(block, kKey);
  if (text.has(kKey)) {
    const double sibling = positive(text, kKey);
    require(theta == sibling, "{}: {}: wanted {} as in {}, found {}", text.place(), kKey, theta,
            block.place(), sibling);
  }
  return theta;
}

Rope read_rope_block(const JsonObject& text, std::string_view name) {
  const JsonObject block = text.object(name);
  for (const std::string_view key : {"rope_type", "type"}) {
    if (!block.has(key)) continue;
    const std::string type = block.string(key);
    require(
        type == "default",
        "{}: {}: wanted \"default\", found \"{}\": scaled rotary embeddings are not implemented",
        block.place(), key, type);
  }
  require(block.boolean("mrope_interleaved"),
          "{}: mrope_interleaved: wanted true, found false: Qwen3-VL always interleaves its axes",
          block.place());
  want_number_if_there(block, "partial_rotary_factor", 1.0);
  const std::vector<std::int64_t> section = block.integers("mrope_section");
  require(section.size() == 3 && std::ranges::all_of(section, [](auto s) { return s >= 0; }),
          "{}: mrope_section: wanted 3 numbers from 0, found {}", block.place(),
          json(section).dump());
  const Rope rope{.theta = read_theta(text, block),
                  .section = {section[0], section[1], section[2]}};
  block.refuse_unread();
  return rope;
}

Rope read_rope(const JsonObject& text, std::int64_t head_dim) {
  std::optional<Rope> rope;
  for (const std::string_view name : {"rope_scaling", "rope_parameters"}) {
    if (!text.has(name)) continue;
    const Rope found = read_rope_block(text, name);
    require(!rope || *rope == found,
            "{}: rope_scaling ({}) and rope_parameters ({}) disagree; keep the right one",
            text.place(), rope ? shown(*rope) : "", shown(found));
    rope = found;
  }
  require(rope.has_value(), "{}: the key \"rope_scaling\" (or \"rope_parameters\") is missing",
          text.place());
  const auto& [t, h, w] = rope->section;
  const std::int64_t half = head_dim / 2;
  // A sum beyond 3 * half is no sum that could be right; testing first keeps it from overflowing.
  require(std::max({t, h, w}) <= half && t + h + w == half,
          "{}: mrope_section: wanted a sum of head_dim / 2 = {}, found [{}, {}, {}]", text.place(),
          half, t, h, w);
  // H sits at frequencies 1, 4, .. < 3 h and W at 2, 5, .. < 3 w: beyond half they would be cut.
  require(3 * h <= half && 3 * w <= half,
          "{}: mrope_section: wanted H and W of at most a third of head_dim / 2 = {}, found [{}, "
          "{}, {}]",
          text.place(), half, t, h, w);
  return *rope;
}

// ---------------------------------------------------------------------------------- the sections

void check_identity(const JsonObject& top) {
  const std::string model_type = top.string("model_type");
  require(model_type == "qwen3_vl",
          "{}: model_type: wanted \"qwen3_vl\" (a dense Qwen3-VL), found \"{}\"", top.place(),
          model_type);
  const json& found = top.at("architectures");
  require(found == json{kArchitecture}, "{}: architectures: wanted [\"{}\"], found {}", top.place(),
          kArchitecture, found.dump());
  for (const std::string_view key : {"quantization_config", "compression_config"}) {
    require(!top.has(key),
            "{}: {}: quantized weights are not supported; use the checkpoint that they were made "
            "from",
            top.place(), key);
  }
}

/// Sliding windows and per-layer kinds: the model has neither, so they may only say "none".
void check_layer_kinds(const JsonObject& text, std::int64_t num_hidden_layers) {
  const bool windows_are_off =
      text.has("use_sliding_window") && !text.boolean("use_sliding_window");
  require(windows_are_off || !text.has("use_sliding_window"),
          "{}: use_sliding_window: wanted false, found true: windows are not implemented",
          text.place());
  require(windows_are_off || !text.has("sliding_window"),
          "{}: sliding_window: wanted null, found {}: windows are not implemented", text.place(),
          text.has("sliding_window") ? text.at("sliding_window").dump() : "");
  text.ignore({"use_sliding_window", "sliding_window", "max_window_layers"});
  if (!text.has("layer_types")) return;
  const json& kinds = text.at("layer_types");
  require(kinds.is_array() && std::cmp_equal(kinds.size(), num_hidden_layers),
          "{}: layer_types: wanted num_hidden_layers = {} entries, found {}", text.place(),
          num_hidden_layers,
          kinds.is_array() ? std::to_string(kinds.size()) : std::string(kinds.type_name()));
  for (std::size_t layer = 0; layer < kinds.size(); ++layer) {
    require(kinds[layer] == "full_attention",
            "{}: layer_types: wanted \"full_attention\" for layer {}, found {}", text.place(),
            layer, kinds[layer].dump());
  }
}

void read_text_sizes(const JsonObject& text, TextConfig& config) {
  want_text(text, "model_type", "qwen3_vl_text");
  config.vocab_size = size(text, "vocab_size", kMaxVocabulary);
  config.hidden_size = size(text, "hidden_size");
  config.intermediate_size = size(text, "intermediate_size");
  config.num_hidden_layers = size(text, "num_hidden_layers", kMaxLayers);
  config.num_attention_heads = size(text, "num_attention_heads");
  config.num_key_value_heads = size(text, "num_key_value_heads");
  config.head_dim = size(text, "head_dim");
  config.max_position_embeddings = size(text, "max_position_embeddings", kMaxPositions);
  config.rms_norm_eps = positive(text, "rms_norm_eps");
  require(config.head_dim % 2 == 0, "{}: head_dim: wanted an even number, found {}", text.place(),
          config.head_dim);
  require(config.num_attention_heads % config.num_key_value_heads == 0,
          "{}: num_key_value_heads: wanted a divisor of num_attention_heads = {}, found {}",
          text.place(), config.num_attention_heads, config.num_key_value_heads);
  require(config.num_attention_heads * config.head_dim <= kMaxSize,
          "{}: num_attention_heads * head_dim: wanted at most {}, found {}", text.place(), kMaxSize,
          config.num_attention_heads * config.head_dim);
}

void check_text_computation(const JsonObject& text) {
  want_text(text, "hidden_act", "silu");
  require(!text.boolean("attention_bias"),
          "{}: attention_bias: wanted false, found true: projections with biases are not "
          "implemented",
          text.place());
  want_number_if_there(text, "attention_dropout", 0.0);
  want_number_if_there(text, "partial_rotary_factor", 1.0);
}

double read_vision_theta(const JsonObject& vision) {
  if (!vision.has("rope_parameters")) return kVisionRopeTheta;
  const JsonObject block = vision.object("rope_parameters");
  if (block.has("rope_type")) {
    const std::string type = block.string("rope_type");
    require(type == "axial" || type == "default",  // the reference reads one as the other
            "{}: rope_type: wanted \"axial\", found \"{}\"", block.place(), type);
  }
  const double theta = positive(block, "rope_theta");
  block.refuse_unread();
  return theta;
}

void read_vision_sizes(const JsonObject& vision, VisionConfig& config) {
  const std::string model_type = vision.string("model_type");
  require(model_type == "qwen3_vl" || model_type == "qwen3_vl_vision",
          "{}: model_type: wanted \"qwen3_vl\" or \"qwen3_vl_vision\", found \"{}\"",
          vision.place(), model_type);
  config.depth = size(vision, "depth", kMaxLayers);
  config.hidden_size = size(vision, "hidden_size");
  config.intermediate_size = size(vision, "intermediate_size");
  config.num_heads = size(vision, "num_heads");
  config.in_channels = size(vision, "in_channels");
  config.patch_size = size(vision, "patch_size", 1024);
  config.temporal_patch_size = size(vision, "temporal_patch_size", 64);
  config.spatial_merge_size = size(vision, "spatial_merge_size", 64);
  config.num_position_embeddings = size(vision, "num_position_embeddings", kMaxVocabulary);
  config.out_hidden_size = size(vision, "out_hidden_size");
  want_text(vision, "hidden_act", "gelu_pytorch_tanh");
  require(config.in_channels == 3, "{}: in_channels: wanted 3 (pictures are RGB), found {}",
          vision.place(), config.in_channels);
  // Half of a head turns with the row and half with the column, each in pairs.
  require(
      config.hidden_size % config.num_heads == 0 && config.hidden_size / config.num_heads % 4 == 0,
      "{}: num_heads: wanted heads whose width is a multiple of 4, found {} heads in "
      "hidden_size = {}",
      vision.place(), config.num_heads, config.hidden_size);
  const auto side = static_cast<std::int64_t>(
      std::llround(std::sqrt(static_cast<double>(config.num_position_embeddings))));
  require(side * side == config.num_position_embeddings,
          "{}: num_position_embeddings: wanted a square number, found {}", vision.place(),
          config.num_position_embeddings);
  const std::int64_t merged =
      config.hidden_size * config.spatial_merge_size * config.spatial_merge_size;
  require(merged <= kMaxSize, "{}: hidden_size * spatial_merge_size^2: wanted at most {}, found {}",
          vision.place(), kMaxSize, merged);
}

void read_deepstack(const JsonObject& vision, VisionConfig& config) {
  constexpr std::string_view kKey = "deepstack_visual_indexes";
  config.deepstack_visual_indexes = vision.integers(kKey);
  std::int64_t previous = -1;
  for (const std::int64_t index : config.deepstack_visual_indexes) {
    require(index > previous,
            "{}: {}: wanted ascending block numbers from 0, found {} after {}: the reference taps "
            "them in block order",
            vision.place(), kKey, index, previous);
    require(index < config.depth, "{}: {}: wanted block numbers below depth = {}, found {}",
            vision.place(), kKey, config.depth, index);
    previous = index;
  }
}

void read_token_ids(const JsonObject& top, Qwen3VLConfig& config) {
  const std::array<std::pair<std::string_view, std::int64_t*>, 4> fields{
      {{"image_token_id", &config.image_token_id},
       {"video_token_id", &config.video_token_id},
       {"vision_start_token_id", &config.vision_start_token_id},
       {"vision_end_token_id", &config.vision_end_token_id}}};
  for (const auto& [key, field] : fields) {
    *field = top.integer(key);
    require(*field >= 0 && *field < config.text.vocab_size,
            "{}: {}: wanted 0 to vocab_size - 1 = {}, found {}", top.place(), key,
            config.text.vocab_size - 1, *field);
    for (const auto& [other, earlier] : fields) {
      if (other == key) break;
      require(*earlier != *field, "{}: {}: wanted another id than {}, found {} for both",
              top.place(), key, other, *field);
    }
  }
}

/// Some writers repeat the depth at the top: it may only agree.
void check_repeated_depth(const JsonObject& top, const TextConfig& text) {
  constexpr std::string_view kKey = "num_hidden_layers";
  if (!top.has(kKey)) return;
  const std::int64_t found = top.integer(kKey);
  require(found == text.num_hidden_layers, "{}: {}: wanted {} as in text_config, found {}",
          top.place(), kKey, text.num_hidden_layers, found);
}

void read_tie(const JsonObject& top, const JsonObject& text, Qwen3VLConfig& config) {
  constexpr std::string_view kKey = "tie_word_embeddings";
  require(top.has(kKey),
          "{}: the kKey \"{}\" is missing: the reference would leave the head untied", top.place(),
          kKey);
  config.tie_word_embeddings = top.boolean(kKey);
  if (!text.has(kKey)) return;
  const bool inner = text.boolean(kKey);
  require(inner == config.tie_word_embeddings, "{}: {}: wanted {} as in {}, found {}", text.place(),
          kKey, config.tie_word_embeddings, top.place(), inner);
}

DType dtype_from(const std::string& name, const std::string& place) {
  if (name == "bfloat16") return DType::BF16;
  if (name == "float32") return DType::F32;
  require(name != "float16",
          "{}: wanted \"bfloat16\" or \"float32\", found \"float16\", whose range is too small for "
          "this model's activations; convert the weights to bfloat16",
          place);
  throw InputError(
      fmt::format("{}: wanted \"bfloat16\" or \"float32\", found \"{}\"", place, name));
}

/// The weights' type may be declared in any section, under its new or its old key.
DType read_dtype(const std::vector<const JsonObject*>& sections) {
  std::optional<std::string> declared;
  std::string first_place;
  for (const JsonObject* section : sections) {
    for (const std::string_view key : {"dtype", "torch_dtype"}) {
      if (!section->has(key)) continue;
      const std::string name = section->string(key);
      const std::string place = fmt::format("{}: {}", section->place(), key);
      require(!declared || *declared == name, "{}: wanted \"{}\" as in {}, found \"{}\"", place,
              declared.value_or(""), first_place, name);
      if (!declared) first_place = place;
      declared = name;
    }
  }
  require(declared.has_value(),
          "{}: the key \"dtype\" (or \"torch_dtype\") is missing, here and in text_config",
          sections.front()->place());
  return dtype_from(*declared, first_place);
}

/// Runs steps that each may refuse, and collects what they say.
class Steps {
 public:
  explicit Steps(std::vector<std::string>& problems) : problems_(problems) {}

  /// Whether the step passed.
  bool run(const std::function<void()>& step) {
    try {
      step();
      return true;
    } catch (const InputError& error) {
      problems_.emplace_back(error.what());
      return false;
    }
  }

 private:
  std::vector<std::string>& problems_;
};

bool read_text(const JsonObject& text, TextConfig& config, Steps& steps) {
  const bool sizes = steps.run([&] { read_text_sizes(text, config); });
  bool whole = steps.run([&] { check_text_computation(text); }) && sizes;
  if (sizes) {
    whole = steps.run([&] { check_layer_kinds(text, config.num_hidden_layers); }) && whole;
    whole = steps.run([&] {
      const Rope rope = read_rope(text, config.head_dim);
      config.rope_theta = rope.theta;
      config.mrope_section = rope.section;
    }) && whole;
  }
  ignore_common(text);
  return whole;
}

bool read_vision(const JsonObject& vision, VisionConfig& config, Steps& steps) {
  const bool sizes = steps.run([&] { read_vision_sizes(vision, config); });
  bool whole = steps.run([&] { config.rope_theta = read_vision_theta(vision); }) && sizes;
  if (sizes) whole = steps.run([&] { read_deepstack(vision, config); }) && whole;
  ignore_common(vision);
  return whole;
}

/// The configuration, or what is wrong with it: one of the two is empty.
std::optional<Qwen3VLConfig> parse(const json& value, const std::string& source,
                                   std::vector<std::string>& problems) {
  Steps steps(problems);
  Qwen3VLConfig config{};
  const bool parsed = steps.run([&] {
    const JsonObject top(value, source);
    check_identity(top);  // all else makes no sense in another architecture
    const JsonObject text = top.object("text_config");
    const JsonObject vision = top.object("vision_config");
    ignore_common(top);
    const bool text_whole = read_text(text, config.text, steps);
    const bool vision_whole = read_vision(vision, config.vision, steps);
    bool shared_whole = steps.run([&] { read_tie(top, text, config); });
    shared_whole = steps.run([&] {
      config.dtype = read_dtype({&top, &text, &vision});
    }) && shared_whole;
    if (text_whole) {
      shared_whole = steps.run([&] { read_token_ids(top, config); }) && shared_whole;
      shared_whole = steps.run([&] { check_repeated_depth(top, config.text); }) && shared_whole;
    }
    if (text_whole && vision_whole) {
      steps.run([&] {
        require(config.vision.out_hidden_size == config.text.hidden_size,
                "{}: out_hidden_size: wanted text_config's hidden_size = {}, found {}",
                vision.place(), config.text.hidden_size, config.vision.out_hidden_size);
      });
    }
    // A section whose reading stopped early has unread keys that are not unknown.
    if (text_whole && shared_whole) steps.run([&] { text.refuse_unread(); });
    if (vision_whole && shared_whole) steps.run([&] { vision.refuse_unread(); });
    if (text_whole && shared_whole) steps.run([&] { top.refuse_unread(); });
  });
  if (!parsed || !problems.empty()) return std::nullopt;
  return config;
}

// ---------------------------------------------------------------------------------- the tensors

/// Collects names and shapes.
class TensorList {
 public:
  void add(std::string name, std::vector<std::int64_t> shape) {
    tensors_.push_back({.name = std::move(name), .shape = std::move(shape)});
  }
  /// A vision layer's weight of this shape with a bias of its first side.
  void add_biased(const std::string& name, std::vector<std::int64_t> shape) {
    const std::int64_t out = shape.front();
    add(name + ".weight", std::move(shape));
    add(name + ".bias", {out});
  }
  [[nodiscard]] std::vector<ExpectedTensor> take() { return std::move(tensors_); }

 private:
  std::vector<ExpectedTensor> tensors_;
};

void add_merger(const std::string& name, std::int64_t norm_size, std::int64_t merged_size,
                std::int64_t out_size, TensorList& list) {
  list.add_biased(name + ".norm", {norm_size});
  list.add_biased(name + ".linear_fc1", {merged_size, merged_size});
  list.add_biased(name + ".linear_fc2", {out_size, merged_size});
}

void add_vision(const VisionConfig& config, TensorList& list) {
  const std::string visual = "model.visual.";
  const std::int64_t hidden = config.hidden_size;
  list.add_biased(visual + "patch_embed.proj",
                  {hidden, config.in_channels, config.temporal_patch_size, config.patch_size,
                   config.patch_size});
  list.add(visual + "pos_embed.weight", {config.num_position_embeddings, hidden});
  for (std::int64_t block = 0; block < config.depth; ++block) {
    const std::string name = fmt::format("{}blocks.{}.", visual, block);
    list.add_biased(name + "norm1", {hidden});
    list.add_biased(name + "attn.qkv", {3 * hidden, hidden});
    list.add_biased(name + "attn.proj", {hidden, hidden});
    list.add_biased(name + "norm2", {hidden});
    list.add_biased(name + "mlp.linear_fc1", {config.intermediate_size, hidden});
    list.add_biased(name + "mlp.linear_fc2", {hidden, config.intermediate_size});
  }
  const std::int64_t merged = hidden * config.spatial_merge_size * config.spatial_merge_size;
  for (std::size_t tap = 0; tap < config.deepstack_visual_indexes.size(); ++tap) {
    // These normalize after the merge, the last merger before it.
    add_merger(fmt::format("{}deepstack_merger_list.{}", visual, tap), merged, merged,
               config.out_hidden_size, list);
  }
  add_merger(visual + "merger", hidden, merged, config.out_hidden_size, list);
}

void add_decoder(const TextConfig& config, TensorList& list) {
  const std::string decoder(kDecoder);
  const std::int64_t hidden = config.hidden_size;
  const std::int64_t queries = config.num_attention_heads * config.head_dim;
  const std::int64_t keys = config.num_key_value_heads * config.head_dim;
  list.add(decoder + "embed_tokens.weight", {config.vocab_size, hidden});
  for (std::int64_t layer = 0; layer < config.num_hidden_layers; ++layer) {
    const std::string name = layer_prefix(layer);
    list.add(name + "input_layernorm.weight", {hidden});
    list.add(name + "self_attn.q_proj.weight", {queries, hidden});
    list.add(name + "self_attn.k_proj.weight", {keys, hidden});
    list.add(name + "self_attn.v_proj.weight", {keys, hidden});
    list.add(name + "self_attn.q_norm.weight", {config.head_dim});
    list.add(name + "self_attn.k_norm.weight", {config.head_dim});
    list.add(name + "self_attn.o_proj.weight", {hidden, queries});
    list.add(name + "post_attention_layernorm.weight", {hidden});
    list.add(name + "mlp.gate_proj.weight", {config.intermediate_size, hidden});
    list.add(name + "mlp.up_proj.weight", {config.intermediate_size, hidden});
    list.add(name + "mlp.down_proj.weight", {hidden, config.intermediate_size});
  }
  list.add(decoder + "norm.weight", {hidden});
}

/// 5000000 rather than 5000000.0, as in the released files.
json short_number(double value) {
  if (value == std::floor(value) && std::abs(value) < 1e15) return static_cast<std::int64_t>(value);
  return value;
}

json text_to_json(const Qwen3VLConfig& config) {
  const TextConfig& text = config.text;
  return {{"attention_bias", false},
          {"attention_dropout", 0.0},
          {"dtype", config.dtype == DType::F32 ? "float32" : "bfloat16"},
          {"head_dim", text.head_dim},
          {"hidden_act", "silu"},
          {"hidden_size", text.hidden_size},
          {"initializer_range", 0.02},
          {"intermediate_size", text.intermediate_size},
          {"max_position_embeddings", text.max_position_embeddings},
          {"model_type", "qwen3_vl_text"},
          {"num_attention_heads", text.num_attention_heads},
          {"num_hidden_layers", text.num_hidden_layers},
          {"num_key_value_heads", text.num_key_value_heads},
          {"rms_norm_eps", text.rms_norm_eps},
          {"rope_scaling",
           {{"mrope_interleaved", true},
            {"mrope_section", text.mrope_section},
            {"rope_type", "default"}}},
          {"rope_theta", short_number(text.rope_theta)},
          {"tie_word_embeddings", config.tie_word_embeddings},
          {"use_cache", true},
          {"vocab_size", text.vocab_size}};
}

json vision_to_json(const VisionConfig& vision) {
  json value = {{"deepstack_visual_indexes", vision.deepstack_visual_indexes},
                {"depth", vision.depth},
                {"hidden_act", "gelu_pytorch_tanh"},
                {"hidden_size", vision.hidden_size},
                {"in_channels", vision.in_channels},
                {"initializer_range", 0.02},
                {"intermediate_size", vision.intermediate_size},
                {"model_type", "qwen3_vl"},
                {"num_heads", vision.num_heads},
                {"num_position_embeddings", vision.num_position_embeddings},
                {"out_hidden_size", vision.out_hidden_size},
                {"patch_size", vision.patch_size},
                {"spatial_merge_size", vision.spatial_merge_size},
                {"temporal_patch_size", vision.temporal_patch_size}};
  // The released style has no key for the base; only transformers 5 reads this one.
  if (vision.rope_theta != kVisionRopeTheta) {
    value["rope_parameters"] = {{"rope_theta", vision.rope_theta}, {"rope_type", "axial"}};
  }
  return value;
}

}  // namespace

Qwen3VLConfig parse_config(const json& value, const std::string& source) {
  std::vector<std::string> problems;
  const std::optional<Qwen3VLConfig> config = parse(value, source, problems);
  if (!config) {
    throw InputError(problems.size() == 1
                         ? problems.front()
                         : fmt::format("{} (and {} more problems; `espalier inspect` lists them)",
                                       problems.front(), problems.size() - 1));
  }
  return *config;
}

std::vector<std::string> config_problems(const json& value, const std::string& source) {
  std::vector<std::string> problems;
  parse(value, source, problems);
  return problems;
}

Qwen3VLConfig read_config(const std::filesystem::path& folder) {
  const std::filesystem::path path = folder / "config.json";
  return parse_config(read_json(path), path.string());
}

json to_json(const Qwen3VLConfig& config) {
  return {{"architectures", {kArchitecture}},
          {"image_token_id", config.image_token_id},
          {"model_type", "qwen3_vl"},
          {"text_config", text_to_json(config)},
          {"tie_word_embeddings", config.tie_word_embeddings},
          {"transformers_version", "4.57.0"},
          {"video_token_id", config.video_token_id},
          {"vision_config", vision_to_json(config.vision)},
          {"vision_end_token_id", config.vision_end_token_id},
          {"vision_start_token_id", config.vision_start_token_id}};
}

std::string layer_prefix(std::int64_t layer) {
  return fmt::format("{}layers.{}.", kDecoder, layer);
}

std::optional<std::int64_t> layer_of_tensor(std::string_view name) {
  std::int64_t layer = -1;
  const std::string before = fmt::format("{}layers.", kDecoder);
  if (!name.starts_with(before)) return std::nullopt;
  std::from_chars(name.data() + before.size(), name.data() + name.size(), layer);
  // Only the number as we write it: not "03", not one too large to be read.
  if (layer < 0 || !name.starts_with(layer_prefix(layer))) return std::nullopt;
  return layer;
}

std::vector<ExpectedTensor> expected_tensors(const Qwen3VLConfig& config) {
  TensorList list;
  add_vision(config.vision, list);
  add_decoder(config.text, list);
  if (!config.tie_word_embeddings) {
    list.add("lm_head.weight", {config.text.vocab_size, config.text.hidden_size});
  }
  return list.take();
}

std::int64_t count_parameters(const Qwen3VLConfig& config) {
  std::int64_t parameters = 0;
  for (const ExpectedTensor& tensor : expected_tensors(config)) {
    std::int64_t elements = 1;
    for (const std::int64_t side : tensor.shape) elements *= side;
    parameters += elements;
  }
  return parameters;
}

}  // namespace espalier
