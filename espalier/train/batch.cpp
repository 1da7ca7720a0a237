// SPDX-License-Identifier: Apache-2.0
#include "espalier/train/batch.h"

#include <ATen/ATen.h>

#include <utility>

namespace espalier {

namespace {

template <typename Number>
at::Tensor to_tensor(const std::vector<Number>& numbers) {
  return at::tensor(at::ArrayRef<Number>(numbers));
}

}  // namespace

PackedSamples pack_together(std::span<const TrainingSample* const> samples,
                            std::vector<std::vector<Image>> images, const RowWeights& weights,
                            const Qwen3VLConfig& config, const PreprocessorConfig& preprocessor) {
  std::vector<EncodedExample> examples;
  std::vector<std::int64_t> rows;
  std::vector<std::int64_t> targets;
  std::vector<float> row_weights;
  PackedSamples packed;
  std::int64_t first_row = 0;
  for (std::size_t i = 0; i < samples.size(); ++i) {
    const TrainingSample& sample = *samples[i];
    const double weight = weights.normalizer == LossNormalizer::Tokens
                              ? 1.0 / static_cast<double>(weights.label_tokens)
                              : 1.0 / static_cast<double>(weights.samples * sample.label_tokens);
    for (const LabelSpan& span : sample.labels) {
      for (std::int64_t token = span.begin; token < span.end; ++token) {
        rows.push_back(first_row + token - 1);
        targets.push_back(sample.ids[static_cast<std::size_t>(token)]);
        row_weights.push_back(static_cast<float>(weight));
      }
    }
    packed.rows_of_sample.push_back(sample.label_tokens);
    first_row += std::ssize(sample.ids);
    examples.push_back({.ids = sample.ids,
                        .images = std::move(images[i]),
                        .target_sizes = sample.placed.target_sizes,
                        .grids = sample.placed.grids});
  }
  packed.pack = {.input = to_input(examples, config, preprocessor),
                 .label_rows = to_tensor(rows),
                 .targets = to_tensor(targets),
                 .weights = to_tensor(row_weights),
                 .row_weight = 1.0 / static_cast<double>(weights.tokens)};
  return packed;
}

}  // namespace espalier
