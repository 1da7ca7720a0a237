// SPDX-License-Identifier: Apache-2.0
#include "espalier/checkpoint/folder.h"

#include <algorithm>
#include <array>
#include <functional>
#include <span>
#include <sstream>
#include <string_view>

#include "espalier/base/error.h"
#include "espalier/base/files.h"
#include "espalier/base/hash.h"
#include "espalier/records/plan.h"

namespace espalier {

namespace fs = std::filesystem;

namespace {

// Bounds the memory of a pass over a file.
constexpr std::size_t kPieceBytes = std::size_t{8} << 20;

constexpr std::size_t kDigits = 64;

/// Folders of tools around a checkpoint, not of it.
constexpr std::array<std::string_view, 3> kForeignFolders = {".git", ".cache", ".huggingface"};

/// What a pruned directory has of its own.
constexpr std::array<std::string_view, 5> kOwnFiles = {"config.json", "README.md", kPlanName,
                                                       "mergekit.yaml", kChecksumsName};

constexpr std::array<std::string_view, 16> kWeightEndings = {
    ".safetensors", ".safetensors.index.json",
    ".bin",         ".bin.index.json",
    ".pt",          ".pth",
    ".ckpt",        ".gguf",
    ".h5",          ".msgpack",
    ".ot",          ".onnx",
    ".onnx_data",   ".tflite",
    ".npz",         ".mlmodel"};

bool is_one_of(std::string_view name, std::span<const std::string_view> names) {
  return std::ranges::find(names, name) != names.end();
}

bool looks_like_weights(std::string_view name) {
  return std::ranges::any_of(kWeightEndings,
                             [&](std::string_view ending) { return name.ends_with(ending); });
}

/// The weights that Weights reads: these are written anew.
bool is_own_weight(std::string_view name) {
  return name == "model.safetensors" || name == "model.safetensors.index.json" ||
         (name.starts_with("model-") && name.ends_with(".safetensors"));
}

/// Calls `visit(relative path)` for every file of a folder and its subfolders.
void for_each_file(const fs::path& folder, const std::function<void(const fs::path&)>& visit) {
  std::error_code error;
  fs::recursive_directory_iterator entry(folder, error);
  for (const fs::recursive_directory_iterator end; !error && entry != end; entry.increment(error)) {
    const fs::path& path = entry->path();
    if (entry->is_directory()) {
      if (is_one_of(path.filename().string(), kForeignFolders)) entry.disable_recursion_pending();
      require(!entry->is_symlink(), "{}: wanted a folder, found a link to one; put the files there",
              path.string());
      continue;
    }
    require(path_exists(path), "{}: wanted a file, found a link that leads nowhere", path.string());
    visit(path.lexically_relative(folder));
  }
  require(!error, "{}: cannot list the folder: {}", folder.string(), error.message());
}

/// Calls `use` on a file's bytes, piece by piece, and gives the memory back on the way.
void for_each_piece(const fs::path& path,
                    const std::function<void(std::span<const std::byte>)>& use) {
  const MappedFile file(path);
  for (auto rest = file.bytes(); !rest.empty();) {
    const auto piece = rest.first(std::min(rest.size(), kPieceBytes));
    use(piece);
    rest = rest.subspan(piece.size());
    file.release_pages();
  }
}

}  // namespace

SideFiles list_side_files(const fs::path& folder) {
  SideFiles found;
  for_each_file(folder, [&](const fs::path& path) {
    const std::string name = path.filename().string();
    const bool at_top = !path.has_parent_path();
    if (at_top && (is_one_of(name, kOwnFiles) || is_own_weight(name))) return;
    (looks_like_weights(name) ? found.other_weights : found.files).push_back(path);
  });
  std::ranges::sort(found.files);
  std::ranges::sort(found.other_weights);
  return found;
}

std::string sha256_of_file(const fs::path& path) {
  Sha256 hash;
  for_each_piece(path, [&](std::span<const std::byte> piece) { hash.update(piece); });
  return hash.finish();
}

std::string copy_with_checksum(const fs::path& from, const fs::path& to) {
  Sha256 hash;
  OutputFile out(to, /*force=*/false);
  for_each_piece(from, [&](std::span<const std::byte> piece) {
    hash.update(piece);
    out.write(piece);
  });
  out.commit();
  return hash.finish();
}

void write_checksums(const fs::path& folder, const Checksums& checksums, bool force) {
  std::string text;
  for (const auto& [name, digits] : checksums) text += fmt::format("{}  {}\n", digits, name);
  write_file(folder / kChecksumsName, text, force);
}

Checksums read_checksums(const fs::path& folder) {
  const fs::path path = folder / kChecksumsName;
  std::istringstream lines(read_file(path));
  Checksums checksums;
  std::size_t number = 0;
  for (std::string line; std::getline(lines, line);) {
    ++number;
    const std::string digits = line.substr(0, kDigits);
    const std::string name = line.size() > kDigits + 2 ? line.substr(kDigits + 2) : "";
    const fs::path relative = fs::path(name).lexically_normal();
    require(digits.size() == kDigits &&
                digits.find_first_not_of("0123456789abcdef") == std::string::npos &&
                line.substr(kDigits, 2) == "  " && !name.empty() && relative.is_relative() &&
                *relative.begin() != "..",
            "{}: line {}: wanted 64 hexadecimal digits, two spaces and a file's name",
            path.string(), number);
    require(checksums.emplace(name, digits).second, "{}: line {}: {} is there twice", path.string(),
            number, name);
  }
  return checksums;
}

std::vector<std::string> checksum_problems(const fs::path& folder) {
  std::vector<std::string> problems;
  const Checksums checksums = read_checksums(folder);
  for (const auto& [name, digits] : checksums) {
    if (!path_exists(folder / name)) {
      problems.push_back(fmt::format("{}: is missing", name));
    } else if (const std::string found = sha256_of_file(folder / name); found != digits) {
      problems.push_back(fmt::format("{}: wanted SHA-256 {}, found {}", name, digits, found));
    }
  }
  for_each_file(folder, [&](const fs::path& path) {
    if (path != kChecksumsName && !checksums.contains(path.string())) {
      problems.push_back(fmt::format("{}: is not in {}", path.string(), kChecksumsName));
    }
  });
  return problems;
}

}  // namespace espalier
