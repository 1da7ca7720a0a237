// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "espalier/checkpoint/folder.h"
#include "espalier/checkpoint/model_directory.h"

/// What the commands that write a checkpoint out of another one share.
namespace espalier {

/// The most bytes of tensors that a file of the weights has; no limit where there is but one file.
std::uint64_t shard_bytes_of(const Weights& weights);

/// How weights are copied.
struct CopyWeightsOptions {
  std::uint64_t max_file_bytes;  ///< of tensors in one file
  /// What stands in place of a tensor's bytes, as many; nothing where they stay.
  std::function<std::optional<std::span<const std::byte>>(const std::string& name)> replace;
};

/// Writes the tensors that a configuration asks for, in the order in which they are stored, so that
/// the disk reads straight on. Streamed: memory does not grow with the model.
///
/// \return  the files' checksums
Checksums copy_weights(const Weights& weights, const Qwen3VLConfig& config,
                       const std::filesystem::path& folder, const CopyWeightsOptions& options);

/// Copies a checkpoint's side files.
///
/// \return  their checksums
Checksums copy_side_files(const std::filesystem::path& from,
                          const std::vector<std::filesystem::path>& files,
                          const std::filesystem::path& to);

/// Writes a small file and notes its checksum.
void write_text(const std::filesystem::path& folder, const std::string& name,
                const std::string& text, Checksums& checksums);

/// A base that is replaced by a model made of it, or copied into itself, is lost.
///
/// \throws InputError  if one folder is the other, or in it
void check_apart(const std::filesystem::path& base, const std::filesystem::path& out);

/// The last part of a folder's path, a trailing slash or "." notwithstanding.
std::string name_of_folder(const std::filesystem::path& folder);

/// A model made of another by other numbers in some of its tensors.
struct ChangedCheckpoint {
  std::function<std::optional<std::span<const std::byte>>(const std::string& name)> replace;
  std::string card;  ///< Markdown that is added to the model card
  bool force = false;
};

/// Writes a checkpoint directory with some tensors changed, whole or not at all: configuration,
/// side files, plan and card as the base has them, and SHA256SUMS. Of a plan file, the pruned
/// model.
///
/// \throws InputError as check_apart and the writers do
void write_changed_checkpoint(const ModelDirectory& base, const std::filesystem::path& out,
                              const ChangedCheckpoint& changed);

}  // namespace espalier
