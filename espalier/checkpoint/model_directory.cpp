// SPDX-License-Identifier: Apache-2.0
#include "espalier/checkpoint/model_directory.h"

#include <algorithm>
#include <array>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <tuple>
#include <utility>

#include "espalier/base/error.h"
#include "espalier/base/files.h"
#include "espalier/base/hash.h"
#include "espalier/base/json.h"
#include "espalier/checkpoint/side_files.h"

namespace espalier {

using nlohmann::json;

namespace fs = std::filesystem;

namespace {

constexpr std::string_view kHead = "lm_head.weight";
constexpr std::string_view kEmbedding = "model.language_model.embed_tokens.weight";

/// A broken checkpoint may miss every tensor; a reader wants to see the first few.
constexpr std::size_t kShownProblems = 20;

/// The index: which shard has which tensor.
std::map<std::string, std::string> read_weight_map(const fs::path& path) {
  const json value = read_json(path);
  const JsonObject index(value, path.string());
  const JsonObject weight_map = index.object("weight_map");
  std::map<std::string, std::string> shard_of;
  for (const auto& item : index.at("weight_map").items()) {
    const std::string shard = weight_map.string(item.key());
    require(fs::path(shard).filename() == shard && shard.ends_with(".safetensors"),
            "{}: {}: wanted the name of a .safetensors file in the same folder, found \"{}\"",
            weight_map.place(), item.key(), shard);
    shard_of.emplace(item.key(), shard);
  }
  require(!shard_of.empty(), "{}: wanted at least one tensor, found none", weight_map.place());
  return shard_of;
}

std::string shape_text(const std::vector<std::int64_t>& shape) { return json(shape).dump(); }

/// What is wrong with one tensor that is there; empty if nothing.
std::string tensor_problem(const ExpectedTensor& wanted, const TensorInfo& found, DType dtype) {
  if (found.shape != wanted.shape) {
    return fmt::format("{}: wanted shape {}, found {}", wanted.name, shape_text(wanted.shape),
                       shape_text(found.shape));
  }
  if (found.dtype != dtype) {
    return fmt::format("{}: wanted {} as config.json declares, found {}", wanted.name,
                       name_of(dtype), name_of(found.dtype));
  }
  return {};
}

/// A head beside tied embeddings is harmless only as a copy of them: the reference uses it.
std::string tied_head_problem(const Weights& weights) {
  if (!weights.has(kEmbedding)) return {};  // is reported as missing
  const TensorInfo& head = weights.info(kHead);
  const TensorInfo& embedding = weights.info(kEmbedding);
  if (head.shape == embedding.shape && head.dtype == embedding.dtype &&
      std::ranges::equal(weights.bytes(kHead), weights.bytes(kEmbedding))) {
    return {};
  }
  return fmt::format(
      "{}: wanted no tensor or a copy of {} (tie_word_embeddings is true), found other values; set "
      "tie_word_embeddings to false if the head is the model's own",
      kHead, kEmbedding);
}

std::string missing_problem(const std::string& name) {
  return name == kHead
             ? fmt::format(
                   "{}: is missing although tie_word_embeddings is false; set it to true in "
                   "config.json if the head is tied",
                   name)
             : fmt::format("{}: is missing", name);
}

/// Everything that keeps these weights from being the configuration's.
std::vector<std::string> weight_problems(const Qwen3VLConfig& config, const Weights& weights) {
  std::vector<std::string> problems;
  std::set<std::string, std::less<>> expected;
  for (const ExpectedTensor& tensor : expected_tensors(config)) {
    expected.insert(tensor.name);
    std::string problem = weights.has(tensor.name)
                              ? tensor_problem(tensor, weights.info(tensor.name), config.dtype)
                              : missing_problem(tensor.name);
    if (!problem.empty()) problems.push_back(std::move(problem));
  }
  for (const std::string& name : weights.names()) {
    if (expected.contains(name)) continue;
    std::string problem = name == kHead
                              ? tied_head_problem(weights)
                              : fmt::format("{}: is not a tensor of this configuration", name);
    if (!problem.empty()) problems.push_back(std::move(problem));
  }
  return problems;
}

/// Runs a check and adds what it refuses.
bool attempt(std::vector<std::string>& problems, const std::function<void()>& check) {
  try {
    check();
    return true;
  } catch (const InputError& error) {
    problems.emplace_back(error.what());
    return false;
  }
}

void check_is_folder(const fs::path& folder) {
  const bool there = path_exists(folder);
  require(there && fs::is_directory(folder),
          "{}: wanted a checkpoint folder or a plan (.json), found {}", folder.string(),
          there ? "a file" : "nothing there");
}

void find_weight_problems(const fs::path& folder, const std::optional<Qwen3VLConfig>& config,
                          std::vector<std::string>& problems) {
  attempt(problems, [&] {
    const Weights weights(folder);
    if (!config) return;
    std::vector<std::string> found = weight_problems(*config, weights);
    const std::size_t all = found.size();
    found.resize(std::min(all, kShownProblems));
    for (const std::string& problem : found) {
      problems.push_back(fmt::format("{}: {}", folder.string(), problem));
    }
    if (all > kShownProblems) {
      problems.push_back(
          fmt::format("{}: and {} more tensors like these", folder.string(), all - kShownProblems));
    }
  });
}

void check_preprocessor(const fs::path& folder, const std::optional<Qwen3VLConfig>& config) {
  const PreprocessorConfig pictures = read_preprocessor_config(folder);
  if (!config) return;
  const VisionConfig& vision = config->vision;
  const std::array<std::tuple<std::string_view, std::int64_t, std::int64_t>, 3> pairs{
      {{"patch_size", vision.patch_size, pictures.patch_size},
       {"temporal_patch_size", vision.temporal_patch_size, pictures.temporal_patch_size},
       {"merge_size", vision.spatial_merge_size, pictures.merge_size}}};
  for (const auto& [key, wanted, found] : pairs) {
    require(wanted == found, "{}: the preprocessor's {}: wanted {} as in config.json, found {}",
            folder.string(), key, wanted, found);
  }
}

void check_generation(const fs::path& folder, const std::optional<Qwen3VLConfig>& config) {
  const GenerationConfig generation = read_generation_config(folder);
  if (!config) return;
  for (const std::int64_t id : generation.eos_token_ids) {
    require(id < config->text.vocab_size,
            "{}: generation_config.json: eos_token_id: wanted ids below vocab_size = {}, found {}",
            folder.string(), config->text.vocab_size, id);
  }
}

void check_tokenizer(const fs::path& folder) {
  const auto there = [&](const char* name) { return path_exists(folder / name); };
  require(there("tokenizer.json") ||
              (there("vocab.json") && there("merges.txt") && there("tokenizer_config.json")),
          "{}: wanted a tokenizer (tokenizer.json, or vocab.json, merges.txt and "
          "tokenizer_config.json), found {}",
          folder.string(), there("vocab.json") ? "only a part of these" : "none");
}

void check_template_is_there(const fs::path& folder) {
  if (path_exists(folder / "chat_template.jinja") || path_exists(folder / "chat_template.json")) {
    return;
  }
  const fs::path path = folder / "tokenizer_config.json";
  if (path_exists(path)) {
    const json value = read_json(path);
    if (JsonObject(value, path.string()).has("chat_template")) return;
  }
  throw InputError(fmt::format(
      "{}: wanted a chat template (chat_template.jinja, chat_template.json, or in "
      "tokenizer_config.json), found none; copy it from the model that this one was made from",
      folder.string()));
}

void hash_text(Sha256& hash, std::string_view text) {
  hash.update(fmt::format("{}:", text.size()));  // the length keeps neighbours apart
  hash.update(text);
}

}  // namespace

Weights::Weights(const fs::path& folder) {
  const fs::path single = folder / "model.safetensors";
  const fs::path index = folder / "model.safetensors.index.json";
  const bool has_single = path_exists(single);
  const bool has_index = path_exists(index);
  require(
      !has_single || !has_index,
      "{}: wanted model.safetensors or model.safetensors.index.json, found both; remove the one "
      "that is out of date",
      folder.string());
  require(has_single || has_index,
          "{}: wanted model.safetensors or model.safetensors.index.json, found neither{}",
          folder.string(),
          path_exists(folder / "pytorch_model.bin") ||
                  path_exists(folder / "pytorch_model.bin.index.json")
              ? "; convert the pytorch_model.bin to safetensors"
              : "");
  if (has_single) {
    add_file(single);
  } else {
    add_shards(index);
  }
}

void Weights::add_file(const fs::path& path) {
  files_.push_back(std::make_shared<const SafetensorsFile>(path));
  for (const auto& [name, info] : files_.back()->tensors()) {
    const auto [place, inserted] =
        place_.emplace(name, Place{.file = files_.size() - 1, .stored_name = name});
    require(inserted, "{}: {}: is in {} too", path.string(), name,
            inserted ? "" : files_[place->second.file]->path().filename().string());
  }
}

void Weights::add_shards(const fs::path& index) {
  const std::map<std::string, std::string> shard_of = read_weight_map(index);
  std::set<std::string> shards;
  for (const auto& [name, shard] : shard_of) shards.insert(shard);
  for (const std::string& shard : shards) {
    const fs::path path = index.parent_path() / shard;
    require(path_exists(path), "{}: names the shard {}, which is missing; fetch it again",
            index.string(), shard);
    add_file(path);
  }
  const auto name_of_file = [&](const Place& place) {
    return files_[place.file]->path().filename().string();
  };
  for (const auto& [name, shard] : shard_of) {
    const auto found = place_.find(name);
    require(found != place_.end() && name_of_file(found->second) == shard,
            "{}: {}: wanted in {}, found {}", index.string(), name, shard,
            found == place_.end() ? "nowhere" : fmt::format("in {}", name_of_file(found->second)));
  }
  for (const auto& [name, place] : place_) {
    require(shard_of.contains(name), "{}: {}: is in {} but not in the index", index.string(), name,
            name_of_file(place));
  }
}

const Weights::Place& Weights::place_of(std::string_view name) const {
  const auto found = place_.find(name);
  require(found != place_.end(), "{}: there is no tensor \"{}\"",
          files_.front()->path().parent_path().string(), name);
  return found->second;
}

const TensorInfo& Weights::info(std::string_view name) const {
  const Place& place = place_of(name);
  return files_[place.file]->tensors().find(place.stored_name)->second;
}

std::span<const std::byte> Weights::bytes(std::string_view name) const {
  const Place& place = place_of(name);
  return files_[place.file]->bytes(place.stored_name);
}

std::vector<std::string> Weights::names() const {
  std::vector<std::string> names;
  names.reserve(place_.size());
  for (const auto& [name, place] : place_) names.push_back(name);
  return names;
}

std::vector<std::string> Weights::names_as_stored() const {
  std::vector<std::string> names = this->names();
  std::ranges::stable_sort(names, {}, [&](const std::string& name) {
    return std::pair(place_of(name).file, info(name).begin);
  });
  return names;
}

Weights Weights::keep_layers(std::span<const std::int64_t> kept) const {
  Weights some(*this);
  some.place_.clear();
  for (const auto& [name, place] : place_) {
    const std::optional<std::int64_t> layer = layer_of_tensor(name);
    if (!layer) {
      some.place_.emplace(name, place);
      continue;
    }
    const auto found = std::ranges::lower_bound(kept, *layer);
    if (found == kept.end() || *found != *layer) continue;
    const std::string rest = name.substr(layer_prefix(*layer).size());
    some.place_.emplace(layer_prefix(found - kept.begin()) + rest, place);
  }
  return some;
}

namespace {

/// A plan over a plan over a plan ... ends somewhere, or goes in circles.
constexpr int kMaxNestedPlans = 16;

/// \throws InputError  unless the plan of a directory speaks of that directory
void check_plan_of_directory(const Plan& plan, const fs::path& file, const Qwen3VLConfig& config) {
  require(std::cmp_equal(plan.kept.size(), config.text.num_hidden_layers),
          "{}: kept: wanted as many layers as config.json has, {}, found {}; the file belongs to "
          "another model",
          file.string(), config.text.num_hidden_layers, plan.kept.size());
}

ModelDirectory open_folder(const fs::path& folder) {
  check_is_folder(folder);
  ModelDirectory model{.path = folder,
                       .folder = folder,
                       .config = read_config(folder),
                       .weights = Weights(folder),
                       .folder_layers = {},
                       .plan = std::nullopt};
  for (std::int64_t layer = 0; layer < model.config.text.num_hidden_layers; ++layer) {
    model.folder_layers.push_back(layer);
  }
  const std::vector<std::string> problems = weight_problems(model.config, model.weights);
  if (!problems.empty()) {
    throw InputError(
        problems.size() == 1
            ? fmt::format("{}: {}", folder.string(), problems.front())
            : fmt::format("{}: {} (and {} more tensors are wrong; `espalier inspect` lists them)",
                          folder.string(), problems.front(), problems.size() - 1));
  }
  const fs::path file = folder / kPlanName;
  if (path_exists(file)) {
    model.plan = read_plan(file);
    check_plan_of_directory(*model.plan, file, model.config);
  }
  return model;
}

/// Where the base of a plan is to be looked for. A base that is itself a plan lies where the plan
/// says; what has moved is the directory at the bottom.
fs::path base_of(const Plan& plan, const fs::path& file, const OpenOptions& options) {
  fs::path written = file.parent_path() / plan.base_path;  // an absolute one stays as it is
  if (options.base.empty()) {
    require(!plan.base_path.empty(), "{}: base: path: is not there; name the base with --base DIR",
            file.string());
    require(path_exists(written), "{}: its base {} is not there; name the base with --base DIR",
            file.string(), written.string());
    return written;
  }
  return !plan.base_path.empty() && path_exists(written) && !fs::is_directory(written)
             ? written
             : options.base;
}

/// A file with the ending of a plan's; any other path is taken for a folder.
bool may_be_plan(const fs::path& path) {
  return path.extension() == ".json" && path_exists(path) && !fs::is_directory(path);
}

ModelDirectory open_any(const fs::path& path, const OpenOptions& options, int depth) {
  if (!may_be_plan(path)) {
    require(depth > 0 || options.base.empty(),
            "{}: --base is for a plan file, but this is no file; leave --base out", path.string());
    return open_folder(path);
  }
  require(depth < kMaxNestedPlans,
          "{}: wanted at most {} plans upon one another; it may be its own base", path.string(),
          kMaxNestedPlans);
  const Plan plan = read_plan(path);
  const fs::path base_path = base_of(plan, path, options);
  ModelDirectory model = open_any(base_path, options, depth + 1);
  const std::string found = fingerprint(model);
  require(found == plan.base_fingerprint,
          "{}: wanted a base with the fingerprint {}, found {} in {}; name the right base with "
          "--base DIR",
          path.string(), plan.base_fingerprint, found, base_path.string());
  require(plan.num_layers == model.config.text.num_hidden_layers,
          "{}: num_layers: wanted {} as the base has, found {}", path.string(),
          model.config.text.num_hidden_layers, plan.num_layers);
  model.folder_layers = numbers_in_folder(model, plan.kept);
  model.path = path;
  model.config.text.num_hidden_layers = std::ssize(plan.kept);
  model.weights = model.weights.keep_layers(plan.kept);
  model.plan = plan;
  model.is_plan_file = true;
  return model;
}

/// The problems of a directory; a plan's are those of its base.
void find_folder_problems(const fs::path& folder, std::vector<std::string>& problems) {
  std::optional<Qwen3VLConfig> config;
  attempt(problems, [&] {
    const fs::path path = folder / "config.json";
    const json value = read_json(path);
    problems = config_problems(value, path.string());
    if (problems.empty()) config = parse_config(value, path.string());
  });
  find_weight_problems(folder, config, problems);
  attempt(problems, [&] { check_preprocessor(folder, config); });
  attempt(problems, [&] { check_generation(folder, config); });
  attempt(problems, [&] { check_tokenizer(folder); });
  attempt(problems, [&] { check_template_is_there(folder); });
  attempt(problems, [&] {
    const fs::path file = folder / kPlanName;
    if (config && path_exists(file)) check_plan_of_directory(read_plan(file), file, *config);
  });
}

}  // namespace

std::vector<std::int64_t> numbers_in_folder(const ModelDirectory& model,
                                            std::span<const std::int64_t> layers) {
  std::vector<std::int64_t> numbers;
  numbers.reserve(layers.size());
  for (const std::int64_t layer : layers) {
    numbers.push_back(model.folder_layers[static_cast<std::size_t>(layer)]);
  }
  return numbers;
}

ModelDirectory open_model_directory(const fs::path& model, const OpenOptions& options) {
  return open_any(model, options, 0);
}

std::vector<std::string> find_problems(const fs::path& model, const OpenOptions& options) {
  std::vector<std::string> problems;
  fs::path folder = model;
  const bool found = attempt(problems, [&] {
    // A plan whose base cannot be opened has one problem, which says where to look.
    if (may_be_plan(model) || !options.base.empty())
      folder = open_model_directory(model, options).folder;
    check_is_folder(folder);
  });
  if (!found) return problems;
  find_folder_problems(folder, problems);
  return problems;
}

std::string fingerprint(const ModelDirectory& model) {
  constexpr std::size_t kEdgeBytes = 4096;
  constexpr std::size_t kReleaseEvery = 64;  // tensors: the system maps 64 KiB around each edge
  Sha256 hash;
  hash_text(hash, to_json(model.config).dump());
  std::vector<ExpectedTensor> tensors = expected_tensors(model.config);
  std::ranges::sort(tensors, {}, &ExpectedTensor::name);
  std::size_t hashed = 0;
  for (const ExpectedTensor& tensor : tensors) {
    const std::span<const std::byte> bytes = model.weights.bytes(tensor.name);
    const std::size_t edge = std::min(bytes.size(), kEdgeBytes);
    hash_text(hash, tensor.name);
    hash_text(hash, name_of(model.weights.info(tensor.name).dtype));
    hash_text(hash, shape_text(tensor.shape));
    hash.update(bytes.first(edge));
    hash.update(bytes.last(edge));
    if (++hashed % kReleaseEvery != 0) continue;
    for (const auto& file : model.weights.files()) file->release_pages();
  }
  return hash.finish();
}

}  // namespace espalier
