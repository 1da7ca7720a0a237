// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "espalier/train/memory_plan.h"
#include "espalier/train/stepped.h"

namespace espalier {

/// Floating-point operations of the products of a training step: two a weight and token forward,
/// two more for each gradient by an input or a weight that is made. Attention's own products and a
/// layer that runs again are left out: the rate is of useful work (model FLOPs).
double step_flops(const TrainedModel& trained, const Teacher* teacher, const PackSize& size);

/// Bytes of a model's weights.
std::uint64_t model_bytes(const Qwen3VL& model);

}  // namespace espalier
