// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "espalier/base/safetensors.h"
#include "espalier/checkpoint/config.h"
#include "espalier/records/plan.h"

namespace espalier {

/// A checkpoint's weights: one file, or shards with an index; mapped, not read.
class Weights {
 public:
  /// \throws InputError for no weights, a broken index, a missing shard, a tensor in two shards or
  ///                    one that index and shard do not agree on
  explicit Weights(const std::filesystem::path& folder);

  [[nodiscard]] bool has(std::string_view name) const { return place_.contains(name); }
  [[nodiscard]] const TensorInfo& info(std::string_view name) const;
  [[nodiscard]] std::span<const std::byte> bytes(std::string_view name) const;
  [[nodiscard]] std::vector<std::string> names() const;  ///< ascending
  /// File by file, in the order in which the tensors lie there.
  [[nodiscard]] std::vector<std::string> names_as_stored() const;
  /// The same weights with some of the decoder layers alone, under contiguous numbers; nothing is
  /// copied.
  ///
  /// \param kept  ascending numbers of the layers that stay
  [[nodiscard]] Weights keep_layers(std::span<const std::int64_t> kept) const;
  [[nodiscard]] const std::vector<std::shared_ptr<const SafetensorsFile>>& files() const {
    return files_;
  }

 private:
  /// Where a tensor lies; its name there is another one after keep_layers.
  struct Place {
    std::size_t file = 0;  ///< index into files_
    std::string stored_name;
  };
  void add_file(const std::filesystem::path& path);
  void add_shards(const std::filesystem::path& index);
  [[nodiscard]] const Place& place_of(std::string_view name) const;

  std::vector<std::shared_ptr<const SafetensorsFile>> files_;
  std::map<std::string, Place, std::less<>> place_;
};

/// A model on disk that is whole: its configuration, and weights that are exactly the tensors which
/// the configuration asks for. Either a checkpoint directory, or a plan: a file that names layers
/// of a directory to leave out.
struct ModelDirectory {
  std::filesystem::path path;    ///< the directory or the plan file, as it was named
  std::filesystem::path folder;  ///< where config.json, tokenizer and the other side files lie
  Qwen3VLConfig config;
  Weights weights;
  std::vector<std::int64_t> folder_layers;  ///< of each layer, its number in `folder`
  std::optional<Plan> plan;                 ///< how it was pruned, where it was
  bool is_plan_file = false;
};

/// Layers of a model by the numbers that they have in its folder: others where a plan shows it.
std::vector<std::int64_t> numbers_in_folder(const ModelDirectory& model,
                                            std::span<const std::int64_t> layers);

/// How a model is opened.
struct OpenOptions {
  /// Where a plan's base lies now; empty: where the plan says.
  std::filesystem::path base;
};

/// Opens a checkpoint directory or a plan file. Touches no weight, except to compare a separate
/// head that stands beside tied embeddings and, of a plan's base, what its fingerprint is taken of.
///
/// \throws InputError  for a missing, surplus, misshapen or mixed-type tensor, for a separate head
///                     beside tied embeddings that differs from them, for a missing head; for a
///                     plan whose base is missing or another model; for an espalier.json that is
///                     not of its directory
ModelDirectory open_model_directory(const std::filesystem::path& model,
                                    const OpenOptions& options = {});

/// What is wrong with a checkpoint directory, or with a plan file and its base: every problem that
/// can be seen without running it (configuration, weights, tokenizer files, side files), worded as
/// the errors are.
std::vector<std::string> find_problems(const std::filesystem::path& model,
                                       const OpenOptions& options = {});

/// What a model is, in 64 hexadecimal digits: SHA-256 over the canonical configuration and, for
/// each tensor in name order, its name, dtype, shape and first and last 4 KiB.
std::string fingerprint(const ModelDirectory& model);

}  // namespace espalier
