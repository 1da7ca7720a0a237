// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "espalier/records/probe_record.h"
#include "espalier/records/ranking.h"

namespace espalier {

/// Over which tokens of a sample a similarity is the mean.
enum class Tokens { All, Visual, Text };
constexpr std::size_t kTokenSets = 3;

/// How samples become a domain's mean.
enum class Averaging {
  Samples,   ///< Eq. 7: each sample counts the same
  Subtasks,  ///< each subtask counts the same; equal to Eq. 7 where these are of one size
};

/// Eq. 6's similarities of a record, added up over the samples that have one picture and one group
/// in common. A group is a domain, or with Averaging::Subtasks a subtask: the smallest table from
/// which means can be taken again with other weights of the pictures.
struct SimilarityTable {
  std::int64_t num_layers = 0;
  std::vector<std::int64_t> domain_of_group;
  std::vector<std::int32_t> group;    ///< [rows], ascending
  std::vector<std::int32_t> picture;  ///< [rows]
  std::vector<double> sum;            ///< [rows, L]; NaN left out
  /// [rows, C], how many similarities were added: C is 1 where it is the same for every layer that
  /// has any, else L.
  std::vector<double> count;
  std::size_t count_columns = 1;
  std::vector<bool> measured;  ///< [L] layers that have any
};

SimilarityTable tabulate(const ProbeRecord& record, Tokens tokens, Averaging averaging);

/// Means over samples. A layer that has none has no score.
struct SimilarityMeans {
  std::vector<LayerScores> domain;  ///< [domains][L], Eq. 7
  LayerScores all;                  ///< [L], over the samples (or subtasks) of all domains
};

/// Sums over groups, from which means are taken.
struct GroupSums {
  std::vector<double> sum;    ///< [groups, L]
  std::vector<double> count;  ///< [groups, C]
};

/// Adds the rows of a table up, each as many times as its picture's weight says.
///
/// \param weights  several sets of [pictures] weights; the rows are read once for all of them
/// \return         one entry a set
std::vector<GroupSums> add_up(const SimilarityTable& table,
                              std::span<const std::vector<std::uint32_t>> weights);

SimilarityMeans take_means(const SimilarityTable& table, const GroupSums& sums,
                           std::size_t num_domains);

/// The record's own means: every picture once.
SimilarityMeans similarity_means(const ProbeRecord& record, Tokens tokens, Averaging averaging);

/// Eq. 8: (S - mean) / (deviation + 1e-8) over some layers alone; all 0 where the scores tie. Ties
/// are settled first, so that the order of these is the order of S to the bit.
///
/// \param layers  those that the statistics are taken over: the prunable ones
/// \return        [L]; a layer that is not among them, or has no score, has none
LayerScores z_scores(const LayerScores& scores, std::span<const std::int64_t> layers);

}  // namespace espalier
