// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace espalier {

/// The order of `count` samples in one epoch: a permutation of 0 to count - 1 that seed and epoch
/// decide alone (Fisher-Yates over PCG64, the epoch as its stream).
///
/// \param epoch  from 0
std::vector<std::size_t> epoch_order(std::size_t count, std::uint64_t seed, std::int64_t epoch);

/// What decides which samples a step has.
struct SampleOrder {
  std::size_t count;   ///< samples of the set
  std::size_t batch;   ///< samples a step
  std::uint64_t seed;  ///< of the order
};

/// The samples of one step. An epoch's last step has what is left of it, perhaps fewer than a
/// batch; no step spans two epochs.
struct StepSamples {
  std::int64_t epoch;                ///< from 0
  std::size_t begin;                 ///< the step's place in its epoch's order: [begin, end)
  std::size_t end;                   ///< as many as were seen of the epoch after the step
  std::vector<std::size_t> samples;  ///< their numbers in the set
  bool operator==(const StepSamples&) const = default;
};

/// Steps of so many epochs: ceil(count / batch) an epoch.
///
/// \throws InputError unless count, batch and epochs are above 0
std::int64_t steps_of(std::size_t count, std::size_t batch, std::int64_t epochs);

/// The samples of a step, by arithmetic alone: a run that is resumed at any step sees what it would
/// have seen, and replays nothing.
///
/// \param step         from 0; epoch `step / ceil(count / batch)`
/// \throws InputError  as steps_of does, or for a step below 0
StepSamples samples_of_step(const SampleOrder& order, std::int64_t step);

}  // namespace espalier
