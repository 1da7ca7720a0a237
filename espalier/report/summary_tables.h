// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "espalier/records/ranking.h"
#include "espalier/report/run.h"
#include "espalier/report/table.h"

namespace espalier {

/// One row a subtask: domain, subtask, samples, prompt.
Table sample_table(const ProbeRecord& record);

/// One row for each file that was left out, with the reason.
Table skipped_table(const ProbeRecord& record);

/// One row a selection: budget, criterion, rule, K, layers, stability, price, stages.
Table selection_table(const Ranking& ranking);

/// One row a rank, one column a criterion: the layer, with its rank interval where there is one.
Table order_table(const Ranking& ranking);

/// One row for each set of layers that some alpha removes.
///
/// \param number  of the pair of domains, from 0: part of the table's name
Table alpha_table(const std::vector<AlphaDiagram>& diagrams, std::size_t number);

/// One row a plan: what was removed and what that saves. Plans of another base than `model` say so.
///
/// \param model  fingerprint of the model that was probed or ranked; empty where there is none
Table plan_table(const std::vector<NamedPlan>& plans, const std::string& model);

/// One row a domain of each control: the unpruned model before and after the recipe that heals,
/// with the difference's interval of 95 % (Newcombe's, of two Wilson intervals). A control is an
/// evaluation of an unpruned model with a trained adapter; without the same model's own evaluation
/// over the same questions it has no row.
Table control_table(const std::vector<NamedScoreboard>& scoreboards);

/// One row a scoreboard: layers removed, how it was trained, and each domain's accuracy in percent
/// with its interval.
Table score_table(const std::vector<NamedScoreboard>& scoreboards);

/// One row for each group of each scoreboard, in numbers.
Table score_group_table(const std::vector<NamedScoreboard>& scoreboards);

/// One row an option: a record's options, flattened.
///
/// \param options  a JSON object
Table option_table(const std::string& name, const std::string& options);

}  // namespace espalier
