// SPDX-License-Identifier: Apache-2.0
#include "espalier/train/training_folder.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <span>
#include <system_error>
#include <utility>
#include <vector>

#include "espalier/base/error.h"
#include "espalier/base/job_folder.h"
#include "espalier/base/json.h"
#include "espalier/base/safetensors.h"
#include "espalier/model/load.h"

namespace espalier {

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

/// What a run writes; nothing else may be in its folder.
bool is_ours(const fs::path& file) {
  const std::string name = file.filename().string();
  return name == "training.json" || name == "steps.jsonl" || name.starts_with("checkpoint.") ||
         name.starts_with("events.out.tfevents") || name.starts_with("adapter_") ||
         name == "README.md" || name.ends_with(".partial");
}

/// A file that a writer left behind when it was killed.
bool is_leftover(const fs::path& file) {
  return file.filename().string().starts_with(".") && file.extension() == ".partial";
}

std::int64_t step_noted(const SafetensorsFile& file) {
  const auto note = file.metadata().find("step");
  const std::string text = note == file.metadata().end() ? "" : note->second;
  std::int64_t step = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), step);
  require(error == std::errc() && step > 0,
          "{}: wanted a number of steps, found \"{}\"; start anew with --force",
          file.path().string(), text);
  return step;
}

}  // namespace

TrainingFolder::TrainingFolder(fs::path folder, const std::string& header, bool force)
    : folder_(std::move(folder)), header_(header) {
  const bool exists = path_exists(folder_);
  const bool known = path_exists(folder_ / "training.json");
  if (known && !force) check_same_run(header);
  if (exists && !known) refuse_other_files();
  std::error_code error;
  fs::create_directories(folder_, error);
  require(!error, "{}: cannot be made: {}", folder_.string(), error.message());
  require(lock_.take(folder_), "{}: another training is at work in this folder", folder_.string());
  if (known && force) clear();
  for (const auto& entry : fs::directory_iterator(folder_)) {
    if (is_leftover(entry.path())) fs::remove(entry.path());
  }
  if (!known || force) {
    json begun = json::parse(header_);
    begun["complete"] = false;
    write_file(folder_ / "training.json", begun.dump(2) + "\n", /*force=*/true);
  }
}

void TrainingFolder::check_same_run(const std::string& header) const {
  const fs::path file = folder_ / "training.json";
  json found = read_json(file);
  require(found.is_object() && found.contains("complete") && found["complete"].is_boolean(),
          "{}: this is no training record", file.string());
  if (found["complete"].get<bool>()) refuse_finished(folder_, "training");
  found.erase("complete");
  check_same_head(folder_, "training", json::parse(header), found);
}

void TrainingFolder::refuse_other_files() const {
  require(fs::is_directory(folder_), "{} is no folder; take another --out", folder_.string());
  for (const auto& entry : fs::directory_iterator(folder_)) {
    require(is_leftover(entry.path()), "{} exists and holds no training; take another --out",
            folder_.string());
  }
}

/// A former run is replaced: what it wrote goes, and nothing else. Last goes what marks the folder
/// as a training's, so that a kill on the way leaves one that can be cleared again.
void TrainingFolder::clear() const {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(folder_)) {
    require(is_ours(entry.path()), "{} does not belong to a training; take another --out",
            entry.path().string());
    files.push_back(entry.path());
  }
  std::ranges::partition(files,
                         [](const fs::path& file) { return file.filename() != "training.json"; });
  for (const fs::path& file : files) fs::remove(file);
}

std::int64_t TrainingFolder::resume(const Parameters& parameters, OptimizerState& state) const {
  if (!path_exists(checkpoint())) return 0;
  const SafetensorsFile file(checkpoint());
  const auto read = [&](const char* name, const at::Tensor& to) {
    const auto bytes = file.bytes(name);
    require(bytes.size() == to.nbytes(), "{}: {} has {} bytes, wanted {}; start anew with --force",
            checkpoint().string(), name, bytes.size(), to.nbytes());
    at::Tensor host = at::empty(to.sizes(), at::kFloat);
    std::memcpy(host.mutable_data_ptr(), bytes.data(), bytes.size());
    to.copy_(host);
  };
  read("values", parameters.values);
  read("first", state.first);
  read("second", state.second);
  state.step = step_noted(file);
  parameters.refresh();
  return state.step;
}

void TrainingFolder::save(const Parameters& parameters, const OptimizerState& state) const {
  const std::vector<std::pair<const char*, at::Tensor>> tensors = {
      {"values", parameters.values.cpu()},
      {"first", state.first.cpu()},
      {"second", state.second.cpu()}};
  std::vector<TensorSpec> specs;
  for (const auto& [name, tensor] : tensors) {
    specs.push_back({.name = name, .dtype = DType::F32, .shape = tensor.sizes().vec()});
  }
  SafetensorsWriter writer(checkpoint(), specs, /*force=*/true,
                           {{"step", std::to_string(state.step)}});
  for (const auto& [name, tensor] : tensors) writer.write(bytes_of(tensor));
  writer.finish();
}

void TrainingFolder::finish(const std::string& results) const {
  json ended = json::parse(header_);
  ended["complete"] = true;
  ended["results"] = json::parse(results);
  write_file(folder_ / "training.json", ended.dump(2) + "\n", /*force=*/true);
  std::error_code ignored;
  fs::remove(checkpoint(), ignored);
}

}  // namespace espalier
