// SPDX-License-Identifier: Apache-2.0
#include "espalier/train/pack_source.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "espalier/data/packing.h"

namespace espalier {

SampleCounts count_samples(const TrainingSet& set, std::span<const std::size_t> samples) {
  SampleCounts counts{.samples = std::ssize(samples)};
  for (const std::size_t i : samples) {
    const TrainingSample& sample = set.samples[i];
    counts.tokens += std::ssize(sample.ids);
    counts.visual_tokens += sample.visual_tokens;
    counts.label_tokens += sample.label_tokens;
    for (const ImageGrid& grid : sample.placed.grids) counts.patches += grid.patches();
  }
  return counts;
}

std::vector<std::vector<std::size_t>> packs_of(const TrainingSet& set,
                                               std::span<const std::size_t> samples,
                                               std::int64_t pack_tokens) {
  std::vector<std::int64_t> lengths;
  for (const std::size_t i : samples) lengths.push_back(std::ssize(set.samples[i].ids));
  auto packs = pack_samples(lengths, pack_tokens);
  for (auto& pack : packs) {
    for (std::size_t& place : pack) place = samples[place];
  }
  return packs;
}

PackSource::PackSource(const PackSourceInputs& inputs)
    : inputs_(inputs),
      prefetcher_(inputs.set.samples, {.threads = std::max<std::size_t>(1, inputs.threads)}) {}

void PackSource::ask(const std::vector<std::vector<std::size_t>>& packs) {
  for (const auto& pack : packs) prefetcher_.ask(pack);
}

DecodedPack PackSource::next(const std::vector<std::size_t>& samples) {
  using Clock = std::chrono::steady_clock;
  const auto begin = Clock::now();
  DecodedPack decoded;
  for (const std::size_t i : samples) {
    decoded.samples.push_back(&inputs_.set.samples[i]);
    decoded.images.push_back(prefetcher_.next());
  }
  wait_seconds_ += std::chrono::duration<double>(Clock::now() - begin).count();
  return decoded;
}

PackedSamples PackSource::pack(DecodedPack decoded, const SampleCounts& counts) const {
  return pack_together(decoded.samples, std::move(decoded.images),
                       {.normalizer = inputs_.normalizer,
                        .samples = counts.samples,
                        .label_tokens = counts.label_tokens,
                        .tokens = counts.tokens},
                       inputs_.config, inputs_.preprocessor);
}

double PackSource::take_wait_seconds() { return std::exchange(wait_seconds_, 0.0); }

}  // namespace espalier
