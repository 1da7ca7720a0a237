// SPDX-License-Identifier: Apache-2.0
#include "espalier/probe/run_folder.h"

#include <charconv>
#include <utility>

#include "espalier/base/error.h"
#include "espalier/base/files.h"

namespace espalier {

namespace fs = std::filesystem;

RunFolder::RunFolder(fs::path folder, const ProbeRecord& record, bool force)
    : job_(std::move(folder),
           {.name = "probe", .head = "probe.json", .others = {"probe.safetensors"}},
           unfinished_header(record), force) {}

fs::path RunFolder::pooled_file() const { return job_.journal() / "pooled.bin"; }

fs::path RunFolder::snapshot() const { return job_.journal() / "state.safetensors"; }

std::size_t RunFolder::resume(ProbeRecord& record) const {
  if (!path_exists(snapshot())) return 0;
  ProbeRecord former = record;
  const auto notes = read_probe_arrays(snapshot(), former);
  const auto note = [&](const char* key) { return notes.contains(key) ? notes.at(key) : ""; };
  if (note("run") != job_.job()) return 0;
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
  write_probe_arrays(snapshot(), record,
                     {{"run", job_.job()}, {"pictures", std::to_string(pictures)}},
                     /*force=*/true);
}

void RunFolder::finish(const ProbeRecord& record) const {
  write_probe_record(job_.path(), record, /*force=*/true);
  job_.remove_journal();
}

}  // namespace espalier
