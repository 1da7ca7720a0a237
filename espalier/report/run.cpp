// SPDX-License-Identifier: Apache-2.0
#include "espalier/report/run.h"

#include <algorithm>

#include "espalier/base/error.h"
#include "espalier/base/files.h"

namespace espalier {

namespace {

namespace fs = std::filesystem;

std::optional<ProbeRecord> read_probe_of(const fs::path& folder) {
  const fs::path place = probe_folder(folder);
  if (!path_exists(place / "probe.json")) return std::nullopt;
  return read_probe_record(place);
}

std::vector<NamedPlan> read_plans_of(const fs::path& folder) {
  std::vector<NamedPlan> plans;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    // A hidden folder is one that another command still writes.
    if (name.starts_with('.')) continue;
    if (name.ends_with(".plan.json")) {
      plans.push_back({.name = name, .plan = read_plan(entry.path())});
    } else if (entry.is_directory() && path_exists(entry.path() / "espalier.json")) {
      plans.push_back({.name = name, .plan = read_plan(entry.path() / "espalier.json")});
    }
  }
  require(!error, "{}: cannot be read ({})", folder.string(), error.message());
  std::ranges::sort(plans, {}, &NamedPlan::name);
  return plans;
}

std::vector<NamedScoreboard> read_scoreboards_of(const fs::path& folder) {
  std::vector<NamedScoreboard> scoreboards;
  for (const fs::path& place : {folder, folder / "eval"}) {
    if (!fs::is_directory(place)) continue;
    for (const auto& entry : fs::directory_iterator(place)) {
      const std::string name = entry.path().filename().string();
      const fs::path file = entry.path() / kScoreboardName;
      if (name.starts_with('.') || !entry.is_directory() || !path_exists(file)) continue;
      scoreboards.push_back({.name = name, .scoreboard = read_scoreboard(file)});
    }
  }
  std::ranges::sort(scoreboards, {}, &NamedScoreboard::name);
  return scoreboards;
}

}  // namespace

RunRecords read_run(const fs::path& folder) {
  require(fs::is_directory(folder), "{}: wanted the folder of a run, found {}", folder.string(),
          path_exists(folder) ? "a file" : "nothing");
  RunRecords run{.name = fs::weakly_canonical(folder).filename().string()};
  run.probe = read_probe_of(folder);
  const fs::path ranking = folder / "ranking.json";
  if (path_exists(ranking)) run.ranking = read_ranking(ranking);
  run.plans = read_plans_of(folder);
  run.scoreboards = read_scoreboards_of(folder);
  require(run.probe || run.ranking || !run.plans.empty() || !run.scoreboards.empty(),
          "{}: wanted at least one record of a run, found none of probe/probe.json (of espalier "
          "probe), ranking.json (of espalier rank), */espalier.json and *.plan.json (of espalier "
          "prune), */scoreboard.json (of espalier eval)",
          folder.string());
  if (run.probe && run.ranking) {
    const std::string found = fingerprint(*run.probe);
    require(
        found == run.ranking->probe_fingerprint,
        "{}: was made from the probe record {:.12}..., but the one beside it is {:.12}...; rank "
        "again: espalier rank {}",
        ranking.string(), run.ranking->probe_fingerprint, found, folder.string());
  }
  return run;
}

}  // namespace espalier
