// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "espalier/records/plan.h"
#include "espalier/records/probe_record.h"
#include "espalier/records/ranking.h"
#include "espalier/records/scoreboard.h"

namespace espalier {

/// A plan, and what it is called in its run: the pruned directory or the file.
struct NamedPlan {
  std::string name;
  Plan plan;
  bool operator==(const NamedPlan&) const = default;
};

/// A scoreboard, and what it is called in its run: its folder.
struct NamedScoreboard {
  std::string name;
  Scoreboard scoreboard;
  bool operator==(const NamedScoreboard&) const = default;
};

/// The records of one run: of a probe, what was ranked from it, what was pruned by that, and how
/// well models answered.
struct RunRecords {
  std::string name;  ///< of the run's folder
  std::optional<ProbeRecord> probe;
  std::optional<Ranking> ranking;
  std::vector<NamedPlan> plans;              ///< in byte order of their names
  std::vector<NamedScoreboard> scoreboards;  ///< likewise
  bool operator==(const RunRecords&) const = default;
};

/// Reads what a run's folder holds: `probe/` (or the folder itself as a probe record),
/// `ranking.json`, the plans: `DIR/espalier.json` and `NAME.plan.json`, and the scoreboards:
/// `DIR/scoreboard.json` and `eval/DIR/scoreboard.json`.
///
/// \throws InputError  if `folder` is no folder or holds none of these, if one of them is broken,
///                     or if the ranking was made from another probe record than this
RunRecords read_run(const std::filesystem::path& folder);

}  // namespace espalier
