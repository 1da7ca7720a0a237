// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "espalier/checkpoint/side_files.h"
#include "espalier/data/prefetch.h"
#include "espalier/data/training_set.h"
#include "espalier/train/batch.h"

namespace espalier {

/// The samples of a step or of a pack, counted.
struct SampleCounts {
  std::int64_t samples = 0;
  std::int64_t tokens = 0;
  std::int64_t visual_tokens = 0;
  std::int64_t label_tokens = 0;
  std::int64_t patches = 0;
};

/// \param samples  places in the set
SampleCounts count_samples(const TrainingSet& set, std::span<const std::size_t> samples);

/// Samples by packs (see pack_samples), in the order in which the packs run.
///
/// \param samples      places in the set
/// \param pack_tokens  tokens that run together
std::vector<std::vector<std::size_t>> packs_of(const TrainingSet& set,
                                               std::span<const std::size_t> samples,
                                               std::int64_t pack_tokens);

/// A pack's samples with their decoded pictures.
struct DecodedPack {
  std::vector<const TrainingSample*> samples;
  std::vector<std::vector<Image>> images;
};

/// What packs are made with; what is referred to must outlive their source.
struct PackSourceInputs {
  const TrainingSet& set;
  const Qwen3VLConfig& config;
  const PreprocessorConfig& preprocessor;
  LossNormalizer normalizer = LossNormalizer::Tokens;
  std::size_t threads = 2;  ///< that decode pictures; at least one does
};

/// The packs of one step after the other, or of a validation, with their pictures decoded ahead.
class PackSource {
 public:
  explicit PackSource(const PackSourceInputs& inputs);

  /// Asks for the pictures of packs that come later.
  void ask(const std::vector<std::vector<std::size_t>>& packs);

  /// The next pack that was asked for.
  ///
  /// \param samples      its places in the set
  /// \throws InputError  for a picture that cannot be used
  DecodedPack next(const std::vector<std::size_t>& samples);

  /// What the model reads of a pack; from any thread.
  ///
  /// \param counts  of the whole step
  [[nodiscard]] PackedSamples pack(DecodedPack decoded, const SampleCounts& counts) const;

  /// Seconds that somebody waited for pictures since the last call.
  double take_wait_seconds();

 private:
  PackSourceInputs inputs_;
  PicturePrefetcher prefetcher_;
  double wait_seconds_ = 0.0;
};

}  // namespace espalier
