// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "espalier/records/budget.h"

namespace espalier {

/// The plan's name in a pruned directory.
inline constexpr const char* kPlanName = "espalier.json";

/// A quantity of the base and of the pruned model.
struct BeforeAfter {
  std::int64_t before = 0;
  std::int64_t after = 0;
  bool operator==(const BeforeAfter&) const = default;
};

/// Which layers of which model go, and why: `espalier.json` of a pruned directory, or a file of its
/// own that every command takes as MODEL.
struct Plan {
  std::string base_name;         ///< the base directory's name, or `--base-name`
  std::string base_path;         ///< where the base lies, as seen from the plan's own folder; only
                                 ///< in a plan without weights
  std::string base_fingerprint;  ///< checkpoint/model_directory.h
  std::int64_t num_layers = 0;   ///< of the base
  std::vector<std::int64_t> protected_layers;
  std::vector<std::int64_t> removed;           ///< ascending, the base's numbers
  std::vector<std::int64_t> kept;              ///< ascending, the base's numbers
  std::vector<std::int64_t> removed_original;  ///< numbers of the model that was never pruned
  std::vector<std::int64_t> kept_original;
  std::string criterion;  ///< empty where the user named the layers
  std::string rule;       ///< empty where the user named the layers
  Budget budget;
  std::int64_t k = 0;
  std::vector<std::string> relaxations;  ///< Selection::stages where the rule had to give way
  bool deepstack_shift = false;          ///< a layer that a DeepStack feature followed has gone
  BeforeAfter parameters;
  BeforeAfter bytes;                ///< of weights
  std::string ranking_fingerprint;  ///< empty where the user named the layers
  std::vector<Plan> lineage;   ///< earlier plans, oldest first, where the base was pruned itself
  std::string options = "{}";  ///< a JSON object: what was asked or defaulted
  bool operator==(const Plan&) const = default;
};

/// Reads a plan of its own or that of a pruned directory.
///
/// \throws InputError for a missing, broken or contradictory file (e.g. kept and removed that do
///                    not make up the layers), or another schema
Plan read_plan(const std::filesystem::path& file);

/// The plan as it stands in its file.
std::string to_json_text(const Plan& plan);

}  // namespace espalier
