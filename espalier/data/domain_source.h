// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace espalier {

/// One row of a domain: pictures, and what to ask about them where the row says so.
struct SourceRow {
  std::vector<std::string> images;    ///< relative to the source's folder (or absolute)
  std::optional<std::string> prompt;  ///< none: the domain's own prompts
  std::string subtask;                ///< of a row with a prompt; "own" where it names none
  std::string place;                  ///< for errors: file:line, or the picture's path
  bool operator==(const SourceRow&) const = default;
};

/// A domain's pictures as the user named them.
struct DomainSource {
  std::string name;
  std::string source;            ///< as named: a folder or a JSONL file
  std::filesystem::path folder;  ///< what the rows' paths are relative to
  std::vector<SourceRow> rows;
  std::int64_t ignored_files = 0;  ///< files of the folder that are no pictures
};

/// Reads `NAME=SOURCE`: a folder, searched recursively for `.jpg .jpeg .png .webp` in any case, in
/// byte order of the relative path; or a JSONL file with rows `{"image": PATH}` or
/// `{"images": [PATH, ...]}`, which may have "prompt" and "subtask". Other keys are ignored, so
/// that a benchmark's own question file works as it is. Pictures are not opened.
///
/// \throws InputError  for another form of the argument, a missing source, a folder without
///                     pictures, a file without rows, a bad line (file:line), a missing picture
DomainSource read_domain(std::string_view name_and_source);

/// The pictures that a JSONL row names, as it names them: "image": PATH or "images": [PATH, ...].
///
/// \param folder       what the paths are relative to
/// \param place        for errors: file:line
/// \throws InputError  for neither, both, something else, or a picture that does not exist
std::vector<std::string> pictures_of_row(const nlohmann::json& row,
                                         const std::filesystem::path& folder,
                                         const std::string& place);

}  // namespace espalier
