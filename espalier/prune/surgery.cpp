// SPDX-License-Identifier: Apache-2.0
#include "espalier/prune/surgery.h"

#include <algorithm>
#include <limits>

#include "espalier/base/error.h"
#include "espalier/base/files.h"
#include "espalier/base/hash.h"
#include "espalier/checkpoint/folder.h"
#include "espalier/checkpoint/layer_selection.h"
#include "espalier/checkpoint/weights_writer.h"
#include "espalier/prune/model_card.h"

namespace espalier {

namespace fs = std::filesystem;

namespace {

// Bounds the memory of the weights' way through: what is mapped of the base at a time.
constexpr std::size_t kPieceBytes = std::size_t{8} << 20;

/// The most bytes of tensors that a file of the base has; no limit where it has but one file.
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

/// The tensors of the pruned model in the order in which the base stores them, so that the disk
/// reads straight on.
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

Checksums write_weights(const Weights& weights, const std::vector<TensorSpec>& tensors,
                        std::uint64_t max_file_bytes, const fs::path& folder) {
  WeightsWriter writer(folder, tensors, {.max_file_bytes = max_file_bytes, .checksums = true});
  std::size_t mapped = 0;
  for (const TensorSpec& tensor : tensors) {
    for (auto rest = weights.bytes(tensor.name); !rest.empty();) {
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

/// Writes small files and remembers their checksums.
class TextFiles {
 public:
  TextFiles(const fs::path& folder, Checksums& checksums)
      : folder_(folder), checksums_(checksums) {}

  void write(const std::string& name, const std::string& text) {
    write_file(folder_ / name, text, /*force=*/false);
    Sha256 hash;
    hash.update(text);
    checksums_[name] = hash.finish();
  }

 private:
  const fs::path& folder_;
  Checksums& checksums_;
};

bool is_same_or_inside(const fs::path& inner, const fs::path& outer) {
  return std::mismatch(outer.begin(), outer.end(), inner.begin(), inner.end()).first == outer.end();
}

/// The last part of a path, a trailing slash or "." notwithstanding.
std::string name_of_folder(const fs::path& folder) {
  const fs::path path = fs::weakly_canonical(folder);
  return (path.has_filename() ? path : path.parent_path()).filename().string();
}

/// A base that is replaced by its own pruned model, or copied into itself, is lost.
void check_apart(const fs::path& base, const fs::path& out) {
  const fs::path from = fs::weakly_canonical(base);
  fs::path to = fs::weakly_canonical(out);
  if (!to.has_filename()) to = to.parent_path();
  require(!is_same_or_inside(to, from) && !is_same_or_inside(from, to),
          "{}: is the base {}, in it or around it; choose a folder apart from it", out.string(),
          base.string());
}

}  // namespace

SurgeryResult prune_checkpoint(const ModelDirectory& base, const Plan& plan, const fs::path& out,
                               const SurgeryOptions& options) {
  check_apart(base.folder, out);
  const fs::path config_path = base.folder / "config.json";
  // A plan's base is the folder of another model, with other numbers.
  const std::vector<std::int64_t> kept = numbers_in_folder(base, plan.kept);
  const std::string config =
      keep_layers_in_config(read_file(config_path), config_path.string(), kept);
  const Weights weights = base.weights.keep_layers(plan.kept);
  const SideFiles side_files = list_side_files(base.folder);
  Qwen3VLConfig pruned = base.config;
  pruned.text.num_hidden_layers = std::ssize(plan.kept);

  OutputDirectory folder(out, options.force);
  Checksums checksums;
  for (const fs::path& path : side_files.files) {
    fs::create_directories((folder.path() / path).parent_path());
    checksums[path.string()] = copy_with_checksum(base.folder / path, folder.path() / path);
  }
  checksums.merge(write_weights(weights, tensors_of(pruned, weights),
                                options.max_file_bytes.value_or(shard_bytes_of(base.weights)),
                                folder.path()));
  TextFiles texts(folder.path(), checksums);
  texts.write("config.json", config);
  Plan written = plan;
  written.base_path.clear();
  texts.write(kPlanName, to_json_text(written));
  texts.write("mergekit.yaml",
              mergekit_recipe(base.is_plan_file ? base.folder.filename().string() : plan.base_name,
                              kept, base.config.dtype));
  texts.write("README.md", model_card(plan, {.name = name_of_folder(out),
                                             .licence = read_licence(base.folder),
                                             .data = options.data}));
  write_checksums(folder.path(), checksums, /*force=*/false);
  folder.commit();
  return {.not_copied = side_files.other_weights};
}

}  // namespace espalier
