// SPDX-License-Identifier: Apache-2.0
#include "espalier/probe/measure.h"

#include <ATen/ATen.h>

#include <cmath>
#include <limits>
#include <numbers>

#include "espalier/base/error.h"

namespace espalier {

namespace {

constexpr float kNotMeasured = std::numeric_limits<float>::quiet_NaN();

/// The sums of a sample's two parts in one place.
struct Both {
  const LayerSums* prefix;
  const LayerSums& own;

  template <typename T>
  [[nodiscard]] T total(T LayerSums::*field) const {
    return own.*field + (prefix == nullptr ? T{} : prefix->*field);
  }
  [[nodiscard]] double at(std::vector<double> LayerSums::*field, std::size_t i) const {
    return (own.*field)[i] + (prefix == nullptr ? 0.0 : (prefix->*field)[i]);
  }
  [[nodiscard]] const LayerSums& first() const { return prefix == nullptr ? own : *prefix; }
};

float mean(double sum, std::int64_t rows) {
  return rows == 0 ? kNotMeasured : static_cast<float>(sum / static_cast<double>(rows));
}

/// Adds a sample's mean-pooled vectors of one side of a layer to the record.
///
/// \param sums    the record's [3, G, L, H] at [0, g, l, 0]; `step` leads to the next pooling
/// \param pooled  [H] the plain mean
void add_pooled(const Both& of, std::vector<double> LayerSums::*vector,
                std::vector<double> LayerSums::*unit, std::vector<double> LayerSums::*first,
                double* sums, std::size_t step, float* pooled) {
  const std::size_t size = (of.own.*vector).size();
  const auto rows = static_cast<double>(of.total(&LayerSums::rows));
  const double others = rows - (of.first().first_counts ? 1.0 : 0.0);
  if (rows == 0.0) return;
  for (std::size_t i = 0; i < size; ++i) {
    const double sum = of.at(vector, i);
    const double plain = sum / rows;
    sums[i] += plain;
    if (others > 0.0) sums[step + i] += (sum - (of.first().*first)[i]) / others;
    sums[2 * step + i] += of.at(unit, i) / rows;
    pooled[i] = static_cast<float>(plain);
  }
}

double angle(double cosine) { return std::acos(cosine) / std::numbers::pi; }

}  // namespace

Measurement::Measurement(ProbeRecord& record, const TreeInput& input,
                         const std::vector<SampleName>& names, const at::Tensor& visual)
    : record_(record),
      input_(input.input),
      names_(names),
      visual_(visual),
      first_(record.samples.size()) {
  assume(names.size() == input.samples.size(), "every sample has a name");
  const auto layers = static_cast<std::size_t>(record.model.num_layers);
  const auto hidden = static_cast<std::size_t>(record.model.hidden_size);
  pooled_.resize(names.size() * layers * 2 * hidden);
  const bool* is_visual = visual.const_data_ptr<bool>();
  ProbeSamples& samples = record.samples;
  for (std::size_t s = 0; s < names.size(); ++s) {
    const std::size_t own = input.samples[s];
    const Segment& segment = input_.segments[own];
    Parts parts{.prefix = std::nullopt, .own = own};
    // A tree's prefix stands right before its samples.
    for (std::size_t i = own; segment.prefix_end > segment.prefix_begin && !parts.prefix; --i) {
      if (input_.segments[i].begin == segment.prefix_begin) parts.prefix = i;
    }
    parts_.push_back(parts);
    std::int64_t visual_tokens = 0;
    for (std::int64_t row = segment.begin; row < segment.end; ++row)
      visual_tokens += is_visual[row];
    for (std::int64_t row = segment.prefix_begin; row < segment.prefix_end; ++row) {
      visual_tokens += is_visual[row];
    }
    const std::int64_t tokens =
        segment.end - segment.begin + segment.prefix_end - segment.prefix_begin;
    samples.subtask.push_back(names[s].subtask);
    samples.image.push_back(names[s].image);
    samples.tokens.push_back(static_cast<std::int32_t>(tokens));
    samples.visual_tokens.push_back(static_cast<std::int32_t>(visual_tokens));
    samples.id.push_back(names[s].id);
  }
  const std::size_t size = samples.size() * layers;
  samples.similarity.resize(size, kNotMeasured);
  samples.similarity_visual.resize(size, kNotMeasured);
  samples.similarity_text.resize(size, kNotMeasured);
}

void Measurement::add_layer(std::int64_t layer, const LayerTaps& taps) {
  const auto sums = layer_sums(taps, input_.segments, visual_);
  for (std::size_t s = 0; s < names_.size(); ++s) add_sample_layer(s, layer, sums);
  inputs_.push_back(taps.input);
}

void Measurement::add_sample_layer(std::size_t sample, std::int64_t layer,
                                   const std::vector<LayerSums>& all) {
  const Parts& parts = parts_[sample];
  const Both of{.prefix = parts.prefix ? &all[*parts.prefix] : nullptr, .own = all[parts.own]};
  const std::int64_t rows = of.total(&LayerSums::rows);
  const std::int64_t visual_rows = of.total(&LayerSums::visual_rows);
  const double cosine = of.total(&LayerSums::cosine);
  const double cosine_visual = of.total(&LayerSums::cosine_visual);

  const auto layers = static_cast<std::size_t>(record_.model.num_layers);
  const auto hidden = static_cast<std::size_t>(record_.model.hidden_size);
  const auto l = static_cast<std::size_t>(layer);
  const auto g = static_cast<std::size_t>(names_[sample].subtask);
  ProbeSamples& samples = record_.samples;
  const std::size_t column = (first_ + sample) * layers + l;
  samples.similarity[column] = mean(cosine, rows);
  samples.similarity_visual[column] = mean(cosine_visual, visual_rows);
  samples.similarity_text[column] = mean(cosine - cosine_visual, rows - visual_rows);

  ProbeSums& sums = record_.sums;
  const std::size_t place = g * layers + l;
  sums.zero_rows[place] += of.total(&LayerSums::zero_rows);
  if (rows == 0) return;
  const auto count = static_cast<double>(rows);
  sums.window_cosine[place * layers + l] += cosine / count;
  if (!std::isnan(of.own.last_cosine)) {
    sums.last_angle[place * layers + l] += angle(of.own.last_cosine);
  }
  sums.attention_cosine[place] += of.total(&LayerSums::attention_cosine) / count;
  sums.mlp_cosine[place] += of.total(&LayerSums::mlp_cosine) / count;
  sums.norm_ratio[place] += of.total(&LayerSums::norm_ratio) / count;
  sums.l2[place] += of.total(&LayerSums::l2) / count;
  const std::size_t step = sums.count.size() * layers * hidden;
  float* pooled = &pooled_[(sample * layers + l) * 2 * hidden];
  add_pooled(of, &LayerSums::input, &LayerSums::input_unit, &LayerSums::first_input,
             &sums.pooled_input[place * hidden], step, pooled);
  add_pooled(of, &LayerSums::output, &LayerSums::output_unit, &LayerSums::first_output,
             &sums.pooled_output[place * hidden], step, pooled + hidden);
}

void Measurement::add_windows(std::size_t sample, const std::vector<WindowSums>& all) {
  const Parts& parts = parts_[sample];
  const WindowSums& own = all[parts.own];
  const WindowSums* prefix = parts.prefix ? &all[*parts.prefix] : nullptr;
  const auto layers = static_cast<std::size_t>(record_.model.num_layers);
  const std::size_t block = static_cast<std::size_t>(names_[sample].subtask) * layers * layers;
  for (std::size_t i = 0; i < layers; ++i) {
    for (std::size_t j = i + 1; j < layers; ++j) {
      const std::size_t at = i * layers + j;
      const std::int64_t rows = own.rows[at] + (prefix == nullptr ? 0 : prefix->rows[at]);
      if (rows == 0) continue;
      const double cosine = own.cosine[at] + (prefix == nullptr ? 0.0 : prefix->cosine[at]);
      record_.sums.window_cosine[block + at] += cosine / static_cast<double>(rows);
      if (!std::isnan(own.last_cosine[at])) {
        record_.sums.last_angle[block + at] += angle(own.last_cosine[at]);
      }
    }
  }
}

void Measurement::finish(const std::optional<at::Tensor>& last_input, HsicBlocks& hsic) {
  if (last_input) inputs_.push_back(*last_input);
  const auto windows = window_sums(inputs_, input_.segments);
  inputs_.clear();
  const std::size_t size = pooled_.size() / names_.size();
  for (std::size_t s = 0; s < names_.size(); ++s) {
    add_windows(s, windows);
    const std::int64_t subtask = names_[s].subtask;
    std::int64_t& count = record_.sums.count[static_cast<std::size_t>(subtask)];
    hsic.add(subtask, count, std::span(pooled_).subspan(s * size, size), record_.sums);
    ++count;
  }
}

}  // namespace espalier
