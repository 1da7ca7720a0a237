// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "espalier/records/plan.h"
#include "espalier/records/probe_record.h"
#include "espalier/records/ranking.h"
#include "espalier/records/scoreboard.h"

namespace espalier::test {

/// What a made-up record is of.
struct SampleShape {
  std::int64_t layers = 28;
  std::vector<ProbeDomain> domains = {};  ///< samples of each subtask included; empty: the paper's
  std::vector<Budget> budgets = {{10, 100}, {25, 100}, {40, 100}};
  std::int64_t criteria = 6;  ///< of the ranking
};

/// The paper's two domains and nine subtasks, 12 samples each.
std::vector<ProbeDomain> paper_domains();

/// A record with similarities that look like a real model's: low at both ends, high in the middle,
/// another middle for each domain. Layer L - 1 is not measured.
ProbeRecord sample_probe(const SampleShape& shape);

/// A ranking that fits the record: the domains' criteria, mixed, and others, with made-up bootstrap
/// results; the alpha diagram of the first two domains.
Ranking sample_ranking(const ProbeRecord& record, const SampleShape& shape);

/// A scoreboard over two domains, math and scenes: so many of 8 questions each are right.
Scoreboard sample_scoreboard(std::int64_t math, std::int64_t scenes);

/// The plan that removes a selection's layers from a model of 2 billion parameters.
Plan sample_plan(const Ranking& ranking, const Selection& selection);

}  // namespace espalier::test
