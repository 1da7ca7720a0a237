// SPDX-License-Identifier: Apache-2.0
#include "espalier/data/sample_order.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "espalier/base/error.h"
#include "espalier/base/random.h"

namespace espalier {

namespace {

std::size_t steps_an_epoch(std::size_t count, std::size_t batch) {
  require(count > 0 && batch > 0,
          "{} samples in batches of {} make no step; wanted at least one of each", count, batch);
  return count / batch + (count % batch == 0 ? 0 : 1);
}

}  // namespace

std::vector<std::size_t> epoch_order(std::size_t count, std::uint64_t seed, std::int64_t epoch) {
  std::vector<std::size_t> order(count);
  std::iota(order.begin(), order.end(), 0);
  Random random(seed, static_cast<std::uint64_t>(epoch));
  for (std::size_t left = count; left > 1; --left) {
    std::swap(order[left - 1], order[random.below(left)]);
  }
  return order;
}

std::int64_t steps_of(std::size_t count, std::size_t batch, std::int64_t epochs) {
  require(epochs > 0, "{} epochs make no step; wanted at least one", epochs);
  return static_cast<std::int64_t>(steps_an_epoch(count, batch)) * epochs;
}

StepSamples samples_of_step(const SampleOrder& order, std::int64_t step) {
  require(step >= 0, "step {} does not exist; they are counted from 0", step);
  const auto steps = static_cast<std::int64_t>(steps_an_epoch(order.count, order.batch));
  StepSamples result{.epoch = step / steps, .begin = 0, .end = 0, .samples = {}};
  result.begin = static_cast<std::size_t>(step % steps) * order.batch;
  result.end = result.begin + std::min(order.batch, order.count - result.begin);
  const auto all = epoch_order(order.count, order.seed, result.epoch);
  result.samples.assign(all.begin() + static_cast<std::ptrdiff_t>(result.begin),
                        all.begin() + static_cast<std::ptrdiff_t>(result.end));
  return result;
}

}  // namespace espalier
