// SPDX-License-Identifier: Apache-2.0
#include "espalier/synth/faces.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <string>
#include <system_error>

#include "espalier/base/error.h"

namespace espalier {

namespace fs = std::filesystem;

namespace {

/// Every file below a folder that a face may want, by name; of several the first path.
void collect(const fs::path& folder, std::map<std::string, fs::path>& found) {
  std::vector<fs::path> files;
  std::error_code error;
  const auto options = fs::directory_options::skip_permission_denied;
  for (fs::recursive_directory_iterator entry(folder, options, error), end; !error && entry != end;
       entry.increment(error)) {
    if (entry->is_regular_file(error)) files.push_back(entry->path());
  }
  std::ranges::sort(files);
  for (const fs::path& file : files) found.try_emplace(file.filename().string(), file);
}

}  // namespace

std::vector<fs::path> find_faces(const std::vector<fs::path>& folders) {
  std::map<std::string, fs::path> found;
  std::vector<std::string> names;
  for (const fs::path& folder : folders) {
    collect(folder, found);
    names.push_back(folder.string());
  }
  std::vector<fs::path> files;
  for (const Face& face : kFaces) {
    const auto file = found.find(face.file);
    require(file != found.end(),
            "the typeface {}: found no {} below {}; install it: apt-get install {}", face.family,
            face.file, fmt::join(names, ", "), face.package);
    files.push_back(file->second);
  }
  return files;
}

}  // namespace espalier
