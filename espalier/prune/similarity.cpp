// SPDX-License-Identifier: Apache-2.0
#include "espalier/prune/similarity.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "espalier/prune/order.h"

namespace espalier {

namespace {

constexpr double kEpsilon = 1e-8;  // of Eq. 8

const std::vector<float>& column_of(const ProbeSamples& samples, Tokens tokens) {
  if (tokens == Tokens::Visual) return samples.similarity_visual;
  return tokens == Tokens::Text ? samples.similarity_text : samples.similarity;
}

/// [G] the group of each subtask.
std::vector<std::int32_t> groups_of_subtasks(const ProbeRecord& record, Averaging averaging,
                                             std::vector<std::int64_t>& domain_of_group) {
  const std::vector<std::int64_t> domains = domain_of_subtasks(record);
  std::vector<std::int32_t> groups(domains.begin(), domains.end());
  if (averaging == Averaging::Subtasks) {
    std::iota(groups.begin(), groups.end(), 0);
    domain_of_group = domains;
  } else {
    domain_of_group.resize(record.domains.size());
    std::iota(domain_of_group.begin(), domain_of_group.end(), 0);
  }
  return groups;
}

/// Drops all but one column of counts, where every layer that has any has the same.
void shrink_counts(SimilarityTable& table) {
  const auto layers = static_cast<std::size_t>(table.num_layers);
  const std::size_t rows = table.group.size();
  std::vector<double> common(rows);
  for (std::size_t row = 0; row < rows; ++row) {
    const auto counts = std::span(table.count).subspan(row * layers, layers);
    common[row] = *std::ranges::max_element(counts);
    for (std::size_t l = 0; l < layers; ++l) {
      if (table.measured[l] && counts[l] != common[row]) return;
    }
  }
  table.count = std::move(common);
  table.count_columns = 1;
}

/// to += weight * from
void add_row(std::span<double> to, std::span<const double> from, double weight) {
  for (std::size_t i = 0; i < to.size(); ++i) to[i] += weight * from[i];
}

std::optional<double> ratio(double sum, double count) {
  return count > 0.0 ? std::optional(sum / count) : std::nullopt;
}

}  // namespace

SimilarityTable tabulate(const ProbeRecord& record, Tokens tokens, Averaging averaging) {
  SimilarityTable table{.num_layers = record.model.num_layers};
  const auto layers = static_cast<std::size_t>(table.num_layers);
  const auto groups = groups_of_subtasks(record, averaging, table.domain_of_group);
  const ProbeSamples& samples = record.samples;
  const auto key_of = [&](std::size_t s) {
    return std::pair(groups[static_cast<std::size_t>(samples.subtask[s])], samples.image[s]);
  };
  std::map<std::pair<std::int32_t, std::int32_t>, std::size_t> rows;
  for (std::size_t s = 0; s < samples.size(); ++s) rows.emplace(key_of(s), 0);
  for (auto& [key, row] : rows) {
    row = table.group.size();
    table.group.push_back(key.first);
    table.picture.push_back(key.second);
  }
  table.sum.resize(rows.size() * layers);
  table.count.resize(rows.size() * layers);
  table.count_columns = layers;
  table.measured.resize(layers);
  const std::vector<float>& column = column_of(samples, tokens);
  for (std::size_t s = 0; s < samples.size(); ++s) {
    const std::size_t row = rows.at(key_of(s));
    for (std::size_t l = 0; l < layers; ++l) {
      const float similarity = column[s * layers + l];
      if (std::isnan(similarity)) continue;
      table.sum[row * layers + l] += static_cast<double>(similarity);
      table.count[row * layers + l] += 1.0;
      table.measured[l] = true;
    }
  }
  shrink_counts(table);
  return table;
}

std::vector<GroupSums> add_up(const SimilarityTable& table,
                              std::span<const std::vector<std::uint32_t>> weights) {
  const auto layers = static_cast<std::size_t>(table.num_layers);
  const std::size_t columns = table.count_columns;
  const std::size_t groups = table.domain_of_group.size();
  std::vector<GroupSums> sums(weights.size());
  for (GroupSums& of_set : sums) {
    of_set.sum.resize(groups * layers);
    of_set.count.resize(groups * columns);
  }
  for (std::size_t row = 0; row < table.group.size(); ++row) {
    const auto group = static_cast<std::size_t>(table.group[row]);
    const auto picture = static_cast<std::size_t>(table.picture[row]);
    const auto sum = std::span(table.sum).subspan(row * layers, layers);
    const auto count = std::span(table.count).subspan(row * columns, columns);
    for (std::size_t set = 0; set < sums.size(); ++set) {
      const auto weight = static_cast<double>(weights[set][picture]);
      if (weight == 0.0) continue;
      add_row(std::span(sums[set].sum).subspan(group * layers, layers), sum, weight);
      add_row(std::span(sums[set].count).subspan(group * columns, columns), count, weight);
    }
  }
  return sums;
}

SimilarityMeans take_means(const SimilarityTable& table, const GroupSums& sums,
                           std::size_t num_domains) {
  const auto layers = static_cast<std::size_t>(table.num_layers);
  SimilarityMeans means{.domain = std::vector(num_domains, LayerScores(layers)),
                        .all = LayerScores(layers)};
  // With one group a domain, a domain's mean is its group's; the mean over all is over samples.
  const bool by_subtask = table.domain_of_group.size() != num_domains;
  std::vector<double> total(num_domains + 1);
  std::vector<double> weight(num_domains + 1);
  for (std::size_t l = 0; l < layers; ++l) {
    if (!table.measured[l]) continue;
    std::ranges::fill(total, 0.0);
    std::ranges::fill(weight, 0.0);
    for (std::size_t g = 0; g < table.domain_of_group.size(); ++g) {
      const double sum = sums.sum[g * layers + l];
      const double count = sums.count[g * table.count_columns + (table.count_columns == 1 ? 0 : l)];
      if (count == 0.0) continue;
      for (const auto d : {static_cast<std::size_t>(table.domain_of_group[g]), num_domains}) {
        total[d] += by_subtask ? sum / count : sum;
        weight[d] += by_subtask ? 1.0 : count;
      }
    }
    for (std::size_t d = 0; d < num_domains; ++d) means.domain[d][l] = ratio(total[d], weight[d]);
    means.all[l] = ratio(total[num_domains], weight[num_domains]);
  }
  return means;
}

SimilarityMeans similarity_means(const ProbeRecord& record, Tokens tokens, Averaging averaging) {
  const SimilarityTable table = tabulate(record, tokens, averaging);
  const std::vector<std::vector<std::uint32_t>> once = {
      std::vector<std::uint32_t>(record.pictures.size(), 1)};
  return take_means(table, add_up(table, once).front(), record.domains.size());
}

LayerScores z_scores(const LayerScores& scores, std::span<const std::int64_t> layers) {
  std::vector<double> values;
  std::vector<std::size_t> places;
  for (const std::int64_t layer : layers) {
    const auto place = static_cast<std::size_t>(layer);
    if (!scores[place]) continue;
    values.push_back(*scores[place]);
    places.push_back(place);
  }
  values = settle_ties(std::move(values));
  LayerScores z(scores.size());
  if (values.empty()) return z;
  const auto n = static_cast<double>(values.size());
  const auto [low, high] = std::ranges::minmax(values);
  const double mean = low == high ? low : std::accumulate(values.begin(), values.end(), 0.0) / n;
  double variance = 0.0;
  for (const double value : values) variance += (value - mean) * (value - mean) / n;
  for (std::size_t i = 0; i < values.size(); ++i) {
    z[places[i]] = (values[i] - mean) / (std::sqrt(variance) + kEpsilon);
  }
  return z;
}

}  // namespace espalier
