// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>

#include "espalier/checkpoint/side_files.h"
#include "espalier/data/training_set.h"
#include "espalier/records/training_record.h"
#include "espalier/train/batch.h"
#include "espalier/train/memory_plan.h"
#include "espalier/train/optimizer.h"
#include "espalier/train/stepped.h"
#include "espalier/train/trained_model.h"
#include "espalier/train/vision_cache.h"

namespace espalier {

/// What a training is made of; all must outlive it.
struct TrainingInputs {
  TrainedModel& trained;
  const Teacher* teacher = nullptr;
  const PreprocessorConfig& preprocessor;
  const TrainingSet& set;
  const TrainingSet* validation = nullptr;
  VisionCache* vision_cache = nullptr;  ///< of a tower that is not trained
};

/// How a training went.
struct TrainingResult {
  std::int64_t steps = 0;
  double loss = 0.0;  ///< of the last step
  std::optional<double> validation_loss;
  std::optional<ExactMatch> exact_match;
  double seconds = 0.0;  ///< of this run
  std::int64_t tokens = 0;
  std::int64_t peak_memory_bytes = 0;
  MemoryPlan plan;
};

/// How a training runs. The paper states batch, rate, decay, schedule and the adapters; what it
/// leaves open is said in docs/commands/finetune.md.
struct TrainingOptions {
  OptimizerOptions optimizer;
  double learning_rate = 2e-5;  ///< at the peak
  double floor = 0.0;           ///< share of the peak at the schedule's end
  double warmup = 0.0;          ///< share of the steps
  bool constant = false;        ///< no cosine after the warm-up
  std::int64_t batch = 64;      ///< samples a step
  std::int64_t epochs = 1;
  std::optional<std::int64_t> steps;  ///< instead of whole epochs
  LossNormalizer normalizer = LossNormalizer::Tokens;
  Objective objective;
  std::uint64_t seed = 0;  ///< of the samples' order and of dropout
  std::int64_t pack_tokens = 4096;
  /// How many packs run at a time, each on one thread with a gradient of its own. More than one is
  /// faster where the products are small: threads then wait for one another once a step, not twice
  /// a product. 1: one pack on all threads.
  std::int64_t workers = 1;
  std::optional<std::uint64_t> memory_bytes;  ///< by default nine tenths of the machine's
  std::int64_t validate_every = 0;            ///< steps; 0: at the end alone
  double save_every_seconds = 60.0;           ///< how much work a kill may cost
  std::size_t threads = 2;                    ///< that decode pictures
  bool force = false;
  std::string header = "{}";  ///< a JSON object: everything that decides the result
  std::function<void(const TrainingStep&, std::int64_t steps, std::int64_t first_step)> progress;
  std::function<void(const MemoryPlan&)> plan;
  /// Called when all steps are done, before the run is called complete: if it fails, the same
  /// command again does the rest.
  std::function<void(const TrainingResult&)> finish;
  /// Exact match on held-out questions, at the cadence of the validation.
  std::function<ExactMatch(const Qwen3VL&)> exact_match;
};

/// Trains, and writes `steps.jsonl`, TensorBoard's events and the checkpoint into a folder. A run
/// that was cut off goes on where it saved last; on the CPU it ends with the same bits.
///
/// \param out          the folder; a partial run of the same header in it is continued
/// \throws InputError  for pictures that cannot be used, a folder that is another run's, a full
///                     disk
/// \throws std::runtime_error  if a loss or gradient is not finite, naming the step, its samples
///                     and the last good checkpoint
TrainingResult train(const TrainingInputs& inputs, const std::filesystem::path& out,
                     const TrainingOptions& options);

}  // namespace espalier
