// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "espalier/checkpoint/model_directory.h"
#include "espalier/records/plan.h"

namespace espalier {

/// The layers that are never removed: the first and the last, as in the paper (section 3.1), and
/// what the user adds.
///
/// \return             ascending, each once
/// \throws InputError  for a layer that the model does not have
std::vector<std::int64_t> protected_layers(std::int64_t num_layers,
                                           std::span<const std::int64_t> added);

/// Completes a plan by what follows from the base: its fingerprint, the layers that stay, both in
/// the numbers of the model that was never pruned, sizes before and after, whether a DeepStack
/// feature now comes deeper, and the lineage where the base was pruned itself.
///
/// \param choice       base_name, removed (any order), protected_layers, criterion, rule, budget,
///                     relaxations, ranking_fingerprint and options are taken from it
/// \throws InputError  for a layer that the model does not have, that is named twice or protected,
///                     or if no layer is removed
Plan complete_plan(const ModelDirectory& base, Plan choice);

}  // namespace espalier
