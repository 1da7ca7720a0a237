// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "espalier/checkpoint/side_files.h"
#include "espalier/data/training_set.h"
#include "espalier/train/stepped.h"

namespace espalier {

/// What a step's losses are divided by; the paper leaves it open.
enum class LossNormalizer {
  Tokens,   ///< the label tokens of all the step's samples: each token counts alike
  Samples,  ///< first within a sample, then over samples: each sample counts alike
};

/// What a row counts in a step.
struct RowWeights {
  LossNormalizer normalizer;
  std::int64_t samples;       ///< of the whole step
  std::int64_t label_tokens;  ///< of the whole step
  std::int64_t tokens;        ///< of the whole step
};

/// A pack, and to which of its samples each label row belongs.
struct PackedSamples {
  Pack pack;
  std::vector<std::int64_t> rows_of_sample;  ///< how many label rows each sample has, in order
};

/// Packs samples one after another.
///
/// \param samples  with their pictures, in order
/// \param images   one list a sample, as read_pictures gives them
PackedSamples pack_together(std::span<const TrainingSample* const> samples,
                            std::vector<std::vector<Image>> images, const RowWeights& weights,
                            const Qwen3VLConfig& config, const PreprocessorConfig& preprocessor);

}  // namespace espalier
