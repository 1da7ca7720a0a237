// SPDX-License-Identifier: Apache-2.0
#include "espalier/base/job_folder.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <system_error>
#include <utility>

#include "espalier/base/error.h"
#include "espalier/base/files.h"
#include "espalier/base/hash.h"
#include "espalier/base/json.h"

namespace espalier {

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

}  // namespace

void check_same_head(const fs::path& folder, const std::string& kind, const json& wanted,
                     const json& found) {
  const std::string keys = differing_keys(wanted, found);
  const std::string options =
      differing_keys(wanted.at("options"), found.value("options", json::object()));
  require(keys.empty(),
          "{} holds the beginning of another {}: it differs in {}{}; repeat that command to go on "
          "with it, or replace it with --force",
          folder.string(), kind, keys, options.empty() ? "" : fmt::format(" ({})", options));
}

void refuse_finished(const fs::path& folder, const std::string& kind) {
  throw InputError(
      fmt::format("{} holds a finished {}; take another --out, or replace it with --force",
                  folder.string(), kind));
}

JobFolder::JobFolder(fs::path folder, JobKind kind, const std::string& header, bool force)
    : folder_(std::move(folder)), kind_(std::move(kind)) {
  Sha256 hash;
  hash.update(header);
  job_ = hash.finish();
  const bool known = path_exists(folder_ / kind_.head);
  if (known && !force) check_same_job(header);
  if (!known && path_exists(folder_)) refuse_other_files();
  std::error_code error;
  fs::create_directories(journal(), error);
  require(!error, "{}: cannot be made: {}", journal().string(), error.message());
  require(lock_.take(journal()), "{}: another {} is at work in this folder", folder_.string(),
          kind_.name);
  remove_leftovers();
  if (!known || force) {
    // From here on a former job's journal belongs to nobody: it names another job, or none.
    write_file(folder_ / kind_.head, header, /*force=*/true);
    for (const std::string& other : kind_.others) fs::remove(folder_ / other);
    if (force) {
      for (const auto& entry : fs::directory_iterator(journal())) fs::remove_all(entry.path());
    }
  }
}

void JobFolder::remove_journal() const { fs::remove_all(journal()); }

void JobFolder::check_same_job(const std::string& header) const {
  const fs::path file = folder_ / kind_.head;
  const json found = read_json(file);
  require(found.is_object() && found.contains("complete"), "{}: this is no {} record",
          file.string(), kind_.name);
  if (found["complete"] != false) {
    tidy_finished();
    refuse_finished(folder_, kind_.name);
  }
  check_same_head(folder_, kind_.name, json::parse(header), found);
}

/// A folder named by mistake keeps what is in it.
void JobFolder::refuse_other_files() const {
  require(fs::is_directory(folder_), "{} is no folder; take another --out", folder_.string());
  for (const auto& entry : fs::directory_iterator(folder_)) {
    require(entry.path() == journal() || is_leftover(entry.path()),
            "{} exists and holds no {}; take another --out", folder_.string(), kind_.name);
  }
}

/// A file that a writer left behind when it was killed.
bool JobFolder::is_leftover(const fs::path& file) const {
  const std::string name = file.filename().string();
  const auto begins_as = [&](const std::string& written) {
    return name.starts_with("." + written + ".");
  };
  return name.ends_with(".partial") &&
         (begins_as(kind_.head) || std::ranges::any_of(kind_.others, begins_as));
}

void JobFolder::remove_leftovers() const {
  for (const auto& entry : fs::directory_iterator(folder_)) {
    if (is_leftover(entry.path())) fs::remove(entry.path());
  }
}

void JobFolder::tidy_finished() const {
  // A job was killed in its last steps, or in the first ones of replacing this record; where one is
  // still at work, the journal is its own.
  if (!path_exists(journal())) return;
  FolderLock lock;
  if (!lock.take(journal())) return;
  remove_leftovers();
  remove_journal();
}

}  // namespace espalier
