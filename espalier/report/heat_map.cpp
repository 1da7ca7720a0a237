// SPDX-License-Identifier: Apache-2.0
#include "espalier/report/heat_map.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>

#include "espalier/report/layer_grid.h"

namespace espalier {

namespace {

const std::vector<float>& similarity_of(const ProbeRecord& record, TokenGroup tokens) {
  switch (tokens) {
    case TokenGroup::Visual:
      return record.samples.similarity_visual;
    case TokenGroup::Text:
      return record.samples.similarity_text;
    case TokenGroup::All:
      break;
  }
  return record.samples.similarity;
}

/// Means over the samples of each group; samples say by `group_of_subtask` where they belong.
std::vector<std::vector<double>> group_means(const ProbeRecord& record, TokenGroup tokens,
                                             std::span<const std::int64_t> group_of_subtask,
                                             std::size_t groups) {
  const auto layers = static_cast<std::size_t>(record.model.num_layers);
  const std::vector<float>& values = similarity_of(record, tokens);
  std::vector<std::vector<double>> sums(groups, std::vector<double>(layers));
  std::vector<std::vector<double>> counts = sums;
  for (std::size_t sample = 0; sample < record.samples.size(); ++sample) {
    const auto subtask = static_cast<std::size_t>(record.samples.subtask[sample]);
    const auto group = static_cast<std::size_t>(group_of_subtask[subtask]);
    for (std::size_t layer = 0; layer < layers; ++layer) {
      const double value = values[sample * layers + layer];
      if (std::isnan(value)) continue;
      sums[group][layer] += value;
      counts[group][layer] += 1.0;
    }
  }
  for (std::size_t group = 0; group < groups; ++group) {
    for (std::size_t layer = 0; layer < layers; ++layer) {
      sums[group][layer] /= counts[group][layer];  // 0 / 0 is the NaN that was promised
    }
  }
  return sums;
}

std::string_view words_of(TokenGroup tokens) {
  switch (tokens) {
    case TokenGroup::Visual:
      return "picture tokens";
    case TokenGroup::Text:
      return "text tokens";
    case TokenGroup::All:
      break;
  }
  return "all tokens";
}

std::string caption_of(TokenGroup tokens, const ColourRange& range) {
  std::string text = fmt::format(
      "Mean cosine similarity between a layer's input and its output over {} (Eq. 6), for each "
      "subtask. Bright: the layer turns its tokens little, so it is a candidate for removal. The "
      "colours go from {:.4g} to {:.4g}, the range of these values",
      words_of(tokens), range.low, range.high);
  if (range.below > 0) {
    text += fmt::format(", but for {} lower one{}, which {} the darkest colour", range.below,
                        range.below == 1 ? "" : "s", range.below == 1 ? "has" : "have");
  }
  return text + ". Crossed out: not measured.";
}

std::vector<GridPanel> panels_of(const ProbeRecord& record, TokenGroup tokens) {
  const auto by_subtask = subtask_similarity(record, tokens);
  const auto by_domain = domain_similarity(record, tokens);
  std::vector<GridPanel> panels;
  std::size_t subtask = 0;
  for (std::size_t d = 0; d < record.domains.size(); ++d) {
    const ProbeDomain& domain = record.domains[d];
    std::int64_t samples = 0;
    GridPanel panel{.heading = domain.name};
    for (const ProbeSubtask& one : domain.subtasks) {
      panel.rows.push_back({.label = one.name, .values = by_subtask[subtask++]});
      samples += one.samples;
    }
    panel.remark = fmt::format("{} samples", samples);
    if (panel.rows.empty()) continue;
    if (panel.rows.size() > 1) {
      panel.rows.push_back({.label = "domain mean", .values = by_domain[d], .summary = true});
    }
    panels.push_back(std::move(panel));
  }
  return panels;
}

}  // namespace

std::vector<std::vector<double>> subtask_similarity(const ProbeRecord& record, TokenGroup tokens) {
  std::vector<std::int64_t> itself;
  for (const auto& domain : record.domains) {
    for (std::size_t i = 0; i < domain.subtasks.size(); ++i) itself.push_back(std::ssize(itself));
  }
  return group_means(record, tokens, itself, itself.size());
}

std::vector<std::vector<double>> domain_similarity(const ProbeRecord& record, TokenGroup tokens) {
  return group_means(record, tokens, domain_of_subtasks(record), record.domains.size());
}

bool has_similarity(const ProbeRecord& record, TokenGroup tokens) {
  return std::ranges::any_of(similarity_of(record, tokens),
                             [](float value) { return !std::isnan(value); });
}

ColourRange choose_range(const std::vector<std::vector<double>>& values) {
  std::vector<double> sorted;
  for (const auto& row : values) {
    std::ranges::copy_if(row, std::back_inserter(sorted), [](double v) { return !std::isnan(v); });
  }
  if (sorted.empty()) return {};
  std::ranges::sort(sorted);
  double low = sorted.front();
  const double high = sorted.back();
  // The first of them that lies beyond half of the range from the lowest.
  const auto tenth = sorted.begin() + std::ssize(sorted) / 10 + 1;
  const auto rest =
      std::find_if(sorted.begin(), tenth, [&](double v) { return v - low > 0.5 * (high - low); });
  if (rest != tenth) low = *rest;
  const double step = tic_step(std::max(high - low, 1e-3), 5);
  // A hair of tolerance, so that a value on a multiple stays there.
  ColourRange range{.low = std::max(-1.0, std::floor(low / step + 1e-9) * step),
                    .high = std::min(1.0, std::ceil(high / step - 1e-9) * step)};
  if (range.high <= range.low) range.low = range.high - step;
  range.below = std::ranges::count_if(sorted, [&](double v) { return v < range.low - 1e-12; });
  return range;
}

Figure heat_map(const ProbeRecord& record, TokenGroup tokens,
                const std::vector<std::int64_t>& protected_layers) {
  const ColourRange range = choose_range(subtask_similarity(record, tokens));
  Figure figure{
      .name = tokens == TokenGroup::All      ? "heat_map"
              : tokens == TokenGroup::Visual ? "heat_map_visual"
                                             : "heat_map_text",
      .title = fmt::format("Similarity of each layer's input and output, {}", words_of(tokens)),
      .caption = caption_of(tokens, range)};
  draw_layer_grid(figure, {.layers = record.model.num_layers,
                           .protected_layers = protected_layers,
                           .panels = panels_of(record, tokens),
                           .colours = TileColours::Palette,
                           .low = range.low,
                           .clipped = range.below > 0,
                           .high = range.high,
                           .value_name = "cosine similarity"});
  return figure;
}

}  // namespace espalier
