// SPDX-License-Identifier: Apache-2.0
#include "espalier/probe/run_folder.h"

#include <fmt/format.h>

#include <charconv>
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

/// A file that a writer left behind when it was killed.
bool is_leftover(const fs::path& file) {
  const std::string name = file.filename().string();
  return name.starts_with(".probe.") && name.ends_with(".partial");
}

}  // namespace

RunFolder::RunFolder(fs::path folder, const ProbeRecord& record, bool force)
    : folder_(std::move(folder)) {
  const std::string header = unfinished_header(record);
  Sha256 hash;
  hash.update(header);
  run_ = hash.finish();
  const bool known = path_exists(folder_ / "probe.json");
  if (known && !force) check_same_run(header);
  if (!known && path_exists(folder_)) refuse_other_files();
  std::error_code error;
  fs::create_directories(journal(), error);
  require(!error, "{}: cannot be made: {}", journal().string(), error.message());
  require(lock_.take(journal()), "{}: another probe is at work in this folder", folder_.string());
  remove_leftovers();
  if (!known || force) {
    // From here on a former run's journal belongs to nobody: it names another run, or none.
    write_file(folder_ / "probe.json", header, /*force=*/true);
    fs::remove(folder_ / "probe.safetensors");
    if (force) fs::remove(snapshot());
  }
}

fs::path RunFolder::pooled_file() const { return journal() / "pooled.bin"; }

fs::path RunFolder::snapshot() const { return journal() / "state.safetensors"; }

std::size_t RunFolder::resume(ProbeRecord& record) const {
  if (!path_exists(snapshot())) return 0;
  ProbeRecord former = record;
  const auto notes = read_probe_arrays(snapshot(), former);
  const auto note = [&](const char* key) { return notes.contains(key) ? notes.at(key) : ""; };
  if (note("run") != run_) return 0;
  const std::string text = note("pictures");
  std::size_t pictures = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), pictures);
  require(error == std::errc() && pictures <= record.pictures.size(),
          "{}: wanted a number of pictures, found \"{}\"; start anew with --force",
          snapshot().string(), text);
  record = std::move(former);
  return pictures;
}

void RunFolder::save(const ProbeRecord& record, std::size_t pictures) const {
  write_probe_arrays(snapshot(), record, {{"run", run_}, {"pictures", std::to_string(pictures)}},
                     /*force=*/true);
}

void RunFolder::finish(const ProbeRecord& record) const {
  write_probe_record(folder_, record, /*force=*/true);
  fs::remove_all(journal());
}

void RunFolder::check_same_run(const std::string& header) {
  const fs::path file = folder_ / "probe.json";
  const json found = read_json(file);
  require(found.is_object() && found.contains("complete"), "{}: this is no probe record",
          file.string());
  if (found["complete"] != false) {
    tidy_finished();
    throw InputError(
        fmt::format("{} holds a finished probe; take another --out, or replace it with --force",
                    folder_.string()));
  }
  const json wanted = json::parse(header);
  const std::string keys = differing_keys(wanted, found);
  const std::string options =
      differing_keys(wanted["options"], found.value("options", json::object()));
  require(keys.empty(),
          "{} holds the beginning of another probe: it differs in {}{}; repeat that command to go "
          "on with it, or replace it with --force",
          folder_.string(), keys, options.empty() ? "" : fmt::format(" ({})", options));
}

/// A folder named by mistake keeps what is in it.
void RunFolder::refuse_other_files() const {
  require(fs::is_directory(folder_), "{} is no folder; take another --out", folder_.string());
  for (const auto& entry : fs::directory_iterator(folder_)) {
    require(entry.path() == journal() || is_leftover(entry.path()),
            "{} exists and holds no probe; take another --out", folder_.string());
  }
}

void RunFolder::remove_leftovers() const {
  for (const auto& entry : fs::directory_iterator(folder_)) {
    if (is_leftover(entry.path())) fs::remove(entry.path());
  }
}

void RunFolder::tidy_finished() {
  // A run was killed in its last steps, or in the first ones of replacing this record; where one is
  // still at work, the journal is its own.
  if (!path_exists(journal())) return;
  FolderLock lock;
  if (!lock.take(journal())) return;
  remove_leftovers();
  fs::remove_all(journal());
}

}  // namespace espalier
