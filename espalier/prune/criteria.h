// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "espalier/prune/similarity.h"
#include "espalier/records/probe_record.h"
#include "espalier/records/ranking.h"

namespace espalier {

/// What criteria can be asked for.
struct CriterionOptions {
  /// Eq. 9's alpha, the weight of the second of two domains; none: 0.7, as in the paper.
  std::optional<double> alpha;
  /// The weight of each domain in `mixed`, instead of alpha; any number of domains, by name.
  std::vector<std::pair<std::string, double>> weights;
  Averaging averaging = Averaging::Samples;
  std::uint64_t seed = 0;  ///< of `random`
};

constexpr double kDefaultAlpha = 0.7;

/// What a criterion looks at beside the record itself.
struct Evidence {
  std::vector<std::int64_t> prunable;             ///< ascending
  std::array<SimilarityMeans, kTokenSets> means;  ///< by Tokens; filled where it is asked for
};

/// How redundant a criterion holds each layer, [L], and where it has them, windows of layers: see
/// Candidates in selection.h.
struct CriterionScores {
  LayerScores scores;
  LayerScores pair_scores;
  LayerScores triplet_scores;
  std::vector<double> window_scores;
};

/// A way to rank the layers of one record.
struct Criterion {
  std::string name;
  std::string about;
  std::string rule = "topk";      ///< the rule that goes with it unless another is asked for
  bool rule_is_fixed = false;     ///< the criterion's name means this rule
  std::string parameters = "{}";  ///< a JSON object
  std::optional<Tokens> tokens;   ///< set where it is a function of means over samples alone
  std::string obstacle;           ///< why this record does not support it; empty if it does
  std::function<CriterionScores(const Evidence&)> score;
};

/// Every criterion by name, for one record: its domains (Eq. 6-7; NAME, NAME:visual, NAME:text),
/// mixed (Eq. 8-9), CKA in all its readings, the scores of Interlace, and those of the field.
/// They refer to the record, which must outlive them.
///
/// \throws InputError  for weights or an alpha that do not fit the record's domains
std::vector<Criterion> list_criteria(const ProbeRecord& record, const CriterionOptions& options);

/// The names that the paper compares: each domain, mixed, cka, interlace-paper, random.
std::vector<std::string> paper_criteria(const ProbeRecord& record);

/// \throws InputError  for an unknown name (with the nearest ones), or one that the record does not
///                     support (with the reason and the remedy)
const Criterion& find_criterion(const std::vector<Criterion>& criteria, const std::string& name);

/// The two domains that alpha mixes, [first, second], alpha = 1 meaning the second: math and
/// nonmath where they are called so, else in the record's order. None where there are not two.
std::optional<std::array<std::size_t, 2>> alpha_domains(const ProbeRecord& record);

/// Eq. 9's weight of each domain, in the record's order, with a sum of 1; empty where there are not
/// two domains and no weights are given.
///
/// \throws InputError  for weights or an alpha that do not fit the record's domains
std::vector<double> mixing_weights(const ProbeRecord& record, const CriterionOptions& options);

}  // namespace espalier
