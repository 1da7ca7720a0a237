// SPDX-License-Identifier: Apache-2.0
#include "espalier/checkpoint/copy_weights.h"

#include <algorithm>
#include <limits>

#include "espalier/base/error.h"
#include "espalier/base/files.h"
#include "espalier/base/hash.h"
#include "espalier/checkpoint/layer_selection.h"
#include "espalier/checkpoint/weights_writer.h"

namespace espalier {

namespace fs = std::filesystem;

namespace {

// Bounds the memory of the weights' way through: what is mapped of the base at a time.
constexpr std::size_t kPieceBytes = std::size_t{8} << 20;

/// The tensors that the configuration asks for, in the order in which they are stored.
std::vector<TensorSpec> tensors_of(const Qwen3VLConfig& config, const Weights& weights) {
  std::vector<std::string> expected;
  for (const ExpectedTensor& tensor : expected_tensors(config)) expected.push_back(tensor.name);
  std::ranges::sort(expected);
  std::vector<TensorSpec> specs;
  for (const std::string& name : weights.names_as_stored()) {
    if (!std::ranges::binary_search(expected, name)) continue;
    const TensorInfo& info = weights.info(name);
    specs.push_back({.name = name, .dtype = info.dtype, .shape = info.shape});
  }
  return specs;
}

bool is_same_or_inside(const fs::path& inner, const fs::path& outer) {
  return std::mismatch(outer.begin(), outer.end(), inner.begin(), inner.end()).first == outer.end();
}

}  // namespace

std::uint64_t shard_bytes_of(const Weights& weights) {
  if (weights.files().size() == 1) return std::numeric_limits<std::uint64_t>::max();
  std::uint64_t most = 0;
  for (const auto& file : weights.files()) {
    std::uint64_t bytes = 0;
    for (const auto& [name, info] : file->tensors()) bytes += info.end - info.begin;
    most = std::max(most, bytes);
  }
  return most;
}

Checksums copy_weights(const Weights& weights, const Qwen3VLConfig& config, const fs::path& folder,
                       const CopyWeightsOptions& options) {
  const std::vector<TensorSpec> tensors = tensors_of(config, weights);
  WeightsWriter writer(folder, tensors,
                       {.max_file_bytes = options.max_file_bytes, .checksums = true});
  std::size_t mapped = 0;
  for (const TensorSpec& tensor : tensors) {
    auto rest = weights.bytes(tensor.name);
    if (options.replace) {
      const auto other = options.replace(tensor.name);
      assume(!other || other->size() == rest.size(), "a tensor keeps its size");
      rest = other.value_or(rest);
    }
    while (!rest.empty()) {
      const auto piece = rest.first(std::min(rest.size(), kPieceBytes));
      writer.write(piece);
      rest = rest.subspan(piece.size());
      mapped += piece.size();
      if (mapped < kPieceBytes) continue;
      for (const auto& file : weights.files()) file->release_pages();
      mapped = 0;
    }
  }
  writer.finish();
  return writer.checksums();
}

Checksums copy_side_files(const fs::path& from, const std::vector<fs::path>& files,
                          const fs::path& to) {
  Checksums checksums;
  for (const fs::path& path : files) {
    fs::create_directories((to / path).parent_path());
    checksums[path.string()] = copy_with_checksum(from / path, to / path);
  }
  return checksums;
}

void write_text(const fs::path& folder, const std::string& name, const std::string& text,
                Checksums& checksums) {
  write_file(folder / name, text, /*force=*/false);
  Sha256 hash;
  hash.update(text);
  checksums[name] = hash.finish();
}

void check_apart(const fs::path& base, const fs::path& out) {
  const fs::path from = fs::weakly_canonical(base);
  fs::path to = fs::weakly_canonical(out);
  if (!to.has_filename()) to = to.parent_path();
  require(!is_same_or_inside(to, from) && !is_same_or_inside(from, to),
          "{}: is the base {}, in it or around it; choose a folder apart from it", out.string(),
          base.string());
}

std::string name_of_folder(const fs::path& folder) {
  const fs::path path = fs::weakly_canonical(folder);
  return (path.has_filename() ? path : path.parent_path()).filename().string();
}

void write_changed_checkpoint(const ModelDirectory& base, const fs::path& out,
                              const ChangedCheckpoint& changed) {
  check_apart(base.folder, out);
  const fs::path config_path = base.folder / "config.json";
  std::string config = read_file(config_path);
  if (base.is_plan_file) {
    config = keep_layers_in_config(config, config_path.string(), base.folder_layers);
  }
  OutputDirectory folder(out, changed.force);
  Checksums checksums =
      copy_side_files(base.folder, list_side_files(base.folder).files, folder.path());
  checksums.merge(
      copy_weights(base.weights, base.config, folder.path(),
                   {.max_file_bytes = shard_bytes_of(base.weights), .replace = changed.replace}));
  write_text(folder.path(), "config.json", config, checksums);
  if (base.plan) {
    Plan plan = *base.plan;
    plan.base_path.clear();
    write_text(folder.path(), kPlanName, to_json_text(plan), checksums);
  }
  const fs::path card = base.folder / "README.md";
  std::string text = path_exists(card) && !base.is_plan_file ? read_file(card) + "\n" : "";
  write_text(folder.path(), "README.md", text + changed.card, checksums);
  write_checksums(folder.path(), checksums, /*force=*/false);
  folder.commit();
}

}  // namespace espalier
