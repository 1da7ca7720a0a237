// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace espalier {

/// What lies in a checkpoint folder beside its weights, its configuration and what `espalier prune`
/// writes itself. Paths are relative to the folder, ascending.
struct SideFiles {
  /// Tokenizer, template, preprocessors, licence, pictures of the card: whatever belongs to any
  /// model made from this one.
  std::vector<std::filesystem::path> files;
  /// Weights in another format or of another tool, which are not this model's once it is changed.
  std::vector<std::filesystem::path> other_weights;
};

/// Lists a folder with its subfolders; version control and download caches are left out.
///
/// \throws InputError  for a link that leads nowhere, or a folder that cannot be read
SideFiles list_side_files(const std::filesystem::path& folder);

/// The name of the list of checksums in a folder.
inline constexpr const char* kChecksumsName = "SHA256SUMS";

/// SHA-256 of files, by their path relative to a folder.
using Checksums = std::map<std::string, std::string>;

/// SHA-256 of a whole file in 64 hexadecimal digits; the file is never in memory as a whole.
std::string sha256_of_file(const std::filesystem::path& path);

/// Copies a file whole or not at all, syncs it, and says its SHA-256.
///
/// \throws InputError  if one cannot be read or the other cannot be written
std::string copy_with_checksum(const std::filesystem::path& from, const std::filesystem::path& to);

/// Writes SHA256SUMS as `sha256sum --check` reads it.
///
/// \param force  replace the list that is there
void write_checksums(const std::filesystem::path& folder, const Checksums& checksums, bool force);

/// Reads SHA256SUMS.
///
/// \throws InputError  if it is missing, or a line is not a checksum and a name inside the folder
Checksums read_checksums(const std::filesystem::path& folder);

/// How a folder differs from its SHA256SUMS: changed, missing and surplus files, a message each.
///
/// \throws InputError  as read_checksums does
std::vector<std::string> checksum_problems(const std::filesystem::path& folder);

}  // namespace espalier
