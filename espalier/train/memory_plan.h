// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "espalier/train/trained_model.h"

namespace espalier {

/// What a training takes in memory, in bytes, estimated from shapes before the first step.
struct MemoryPlan {
  std::uint64_t weights = 0;     ///< mapped, the teacher's included where they are others
  std::uint64_t trained = 0;     ///< masters, gradients, the optimizer's, what passes read
  std::uint64_t layers = 0;      ///< what backward needs of the layers
  std::uint64_t head = 0;        ///< logits of a chunk, and their gradient
  std::uint64_t vision = 0;      ///< of the vision tower's pass
  std::uint64_t data = 0;        ///< the samples, without their pictures
  std::uint64_t program = 0;     ///< libraries, decoded pictures, the allocator
  std::int64_t kept_layers = 0;  ///< how many of the trained layers keep all; the rest runs again
  std::int64_t trained_layers = 0;

  [[nodiscard]] std::uint64_t total() const {
    return weights + trained + layers + head + vision + data + program;
  }
};

/// The largest pack of a training.
struct PackSize {
  std::int64_t tokens = 0;
  std::int64_t label_tokens = 0;
  std::int64_t patches = 0;
};

/// What else decides the memory of a training.
struct MemoryNeeds {
  std::uint64_t weight_bytes = 0;  ///< of the mapped weights, the teacher's too
  std::uint64_t data_bytes = 0;    ///< of the samples, those to validate on too
  std::int64_t workers = 1;        ///< packs that run at a time
  std::uint64_t budget = 0;        ///< of the whole process; layers run again as it asks
};

/// Plans the memory: layers keep what their backward needs as far as the budget goes, the others
/// keep their input and run again.
///
/// \param pack  the largest
///
/// \returns a plan that may be above the budget: with all layers run again it has no more to give
MemoryPlan plan_memory(const TrainedModel& trained, const PackSize& pack, const MemoryNeeds& needs);

/// The largest amount of memory that this process has had so far, in bytes.
std::int64_t peak_resident_bytes();

/// The memory of the machine, in bytes.
std::uint64_t machine_bytes();

}  // namespace espalier
