// SPDX-License-Identifier: Apache-2.0
#include "espalier/data/domain_source.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <nlohmann/json.hpp>
#include <system_error>

#include "espalier/base/error.h"
#include "espalier/base/files.h"
#include "espalier/base/json.h"
#include "espalier/base/lines.h"
#include "espalier/data/prompts.h"

namespace espalier {

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

bool is_picture(const fs::path& file) {
  constexpr std::array<std::string_view, 4> kEndings = {".jpg", ".jpeg", ".png", ".webp"};
  std::string ending = file.extension().string();
  std::ranges::transform(ending, ending.begin(), [](unsigned char letter) {
    return static_cast<char>(std::tolower(letter));
  });
  return std::ranges::find(kEndings, ending) != kEndings.end();
}

void read_folder(DomainSource& domain) {
  domain.folder = domain.source;
  std::error_code error;
  fs::recursive_directory_iterator file(domain.folder, error);
  for (; !error && file != fs::recursive_directory_iterator(); file.increment(error)) {
    if (!file->is_regular_file()) continue;
    if (!is_picture(file->path())) {
      ++domain.ignored_files;
      continue;
    }
    domain.rows.push_back({.images = {file->path().lexically_relative(domain.folder).string()},
                           .prompt = std::nullopt,
                           .subtask = {},
                           .place = file->path().string()});
  }
  require(!error, "domain {}: {}: {}", domain.name, domain.source, error.message());
  require(!domain.rows.empty(),
          "domain {}: {}: no picture here or below; wanted .jpg, .jpeg, .png or .webp, found {} "
          "other files",
          domain.name, domain.source, domain.ignored_files);
  std::ranges::sort(domain.rows, {}, &SourceRow::images);
}

std::string text_at(const json& row, const char* key, const std::string& place) {
  const json& value = row.at(key);
  require(value.is_string() && !value.get_ref<const std::string&>().empty(),
          "{}: {}: wanted a text, not empty, found {}", place, key, value.dump());
  return value.get<std::string>();
}

SourceRow parse_row(const json& row, const fs::path& folder, const std::string& place) {
  require(row.is_object(), "{}: wanted a JSON object, found {}", place, row.type_name());
  SourceRow result{
      .images = pictures_of_row(row, folder, place), .prompt = {}, .subtask = {}, .place = place};
  if (row.contains("prompt") && !row["prompt"].is_null()) {
    result.prompt = text_at(row, "prompt", place);
    result.subtask = row.contains("subtask") ? text_at(row, "subtask", place) : "own";
    check_name(result.subtask, place + ": subtask");
  }
  return result;
}

void read_rows(DomainSource& domain) {
  domain.folder = fs::path(domain.source).parent_path();
  for_each_line(domain.source, [&](std::string_view line, const std::string& place) {
    domain.rows.push_back(parse_row(parse_json(line, place), domain.folder, place));
  });
  require(!domain.rows.empty(), "domain {}: {}: no row in it", domain.name, domain.source);
}

}  // namespace

std::vector<std::string> pictures_of_row(const json& row, const fs::path& folder,
                                         const std::string& place) {
  require(row.contains("image") != row.contains("images"),
          "{}: wanted \"image\": PATH or \"images\": [PATH, ...]", place);
  std::vector<std::string> images;
  if (row.contains("image")) {
    images = {text_at(row, "image", place)};
  } else {
    const json& list = row["images"];
    const bool texts = list.is_array() && !list.empty() &&
                       std::ranges::all_of(list, [](const json& path) { return path.is_string(); });
    require(texts, "{}: images: wanted a list of paths, not empty, found {}", place, list.dump());
    images = list.get<std::vector<std::string>>();
  }
  for (const std::string& image : images) {
    require(path_exists(folder / image), "{}: the picture {} does not exist", place,
            (folder / image).string());
  }
  return images;
}

DomainSource read_domain(std::string_view name_and_source) {
  const std::size_t equals = name_and_source.find('=');
  require(equals != std::string_view::npos && equals + 1 < name_and_source.size(),
          "--domain: wanted NAME=FOLDER or NAME=FILE.jsonl, found {}", name_and_source);
  DomainSource domain{.name = std::string(name_and_source.substr(0, equals)),
                      .source = std::string(name_and_source.substr(equals + 1)),
                      .folder = {},
                      .rows = {}};
  check_name(domain.name, "--domain");
  require(path_exists(domain.source), "domain {}: {} does not exist", domain.name, domain.source);
  if (fs::is_directory(domain.source)) {
    read_folder(domain);
  } else {
    read_rows(domain);
  }
  return domain;
}

}  // namespace espalier
