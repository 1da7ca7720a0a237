// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "espalier/base/safetensors.h"
#include "espalier/checkpoint/config.h"

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
  [[nodiscard]] const std::vector<std::shared_ptr<const SafetensorsFile>>& files() const {
    return files_;
  }

 private:
  void add_file(const std::filesystem::path& path);
  void add_shards(const std::filesystem::path& index);
  [[nodiscard]] const SafetensorsFile& file_of(std::string_view name) const;

  std::vector<std::shared_ptr<const SafetensorsFile>> files_;
  std::map<std::string, std::size_t, std::less<>> place_;  ///< name -> index into files_
};

/// A checkpoint directory that is whole: its configuration, and weights that are exactly the
/// tensors which the configuration asks for.
struct ModelDirectory {
  std::filesystem::path path;
  Qwen3VLConfig config;
  Weights weights;
};

/// Opens a checkpoint directory. Touches no weight, except to compare a separate head that stands
/// beside tied embeddings.
///
/// \throws InputError  for a missing, surplus, misshapen or mixed-type tensor, for a separate head
///                     beside tied embeddings that differs from them, for a missing head
ModelDirectory open_model_directory(const std::filesystem::path& folder);

/// What is wrong with a checkpoint directory: every problem that can be seen without running it
/// (configuration, weights, tokenizer files, side files), worded as the errors are.
std::vector<std::string> find_problems(const std::filesystem::path& folder);

/// What a model is, in 64 hexadecimal digits: SHA-256 over the canonical configuration and, for
/// each tensor in name order, its name, dtype, shape and first and last 4 KiB.
std::string fingerprint(const ModelDirectory& model);

}  // namespace espalier
