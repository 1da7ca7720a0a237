// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "espalier/base/files.h"

namespace espalier {

/// A part of a step's loss: the label tokens of one source.
struct SourceLoss {
  std::string name;
  double loss;  ///< mean cross entropy over the source's label tokens, in nats
  std::int64_t label_tokens;
  bool operator==(const SourceLoss&) const = default;
};

/// How many of some questions were answered exactly.
struct ExactMatch {
  double value;        ///< the share, 0 to 1
  std::int64_t count;  ///< questions
  bool operator==(const ExactMatch&) const = default;
};

/// What happened in one optimizer step. A number that is not finite is written as null, and is read
/// as NaN.
struct TrainingStep {
  std::int64_t step = 0;  ///< from 1: how many steps were done with this one
  double epoch = 0.0;     ///< how many epochs were seen with this step, e.g. 1.25
  double loss = 0.0;      ///< mean cross entropy over all label tokens of the step, in nats
  std::vector<SourceLoss> losses;  ///< the same by source, of those sources that the step has
  /// Mean over the step's samples of each sample's own mean; another definition of "the loss".
  std::optional<double> sample_mean_loss;
  /// Mean over all label tokens of the divergence from the teacher, in nats; none without a
  /// teacher.
  std::optional<double> divergence;
  /// Mean over all tokens of the hidden states' relative squared distance from the teacher's,
  /// summed over gaps; none where it is not learned.
  std::optional<double> hidden_loss;
  double learning_rate = 0.0;
  double gradient_norm = 0.0;     ///< before clipping
  double clip_coefficient = 1.0;  ///< what the gradient was multiplied by; 1: not clipped
  std::int64_t samples = 0;
  std::int64_t tokens = 0;  ///< visual and label tokens included; no padding
  std::int64_t visual_tokens = 0;
  std::int64_t label_tokens = 0;
  double seconds = 0.0;
  double data_wait_seconds = 0.0;  ///< of these, waiting for pictures
  double tokens_per_second = 0.0;
  double flops_per_second = 0.0;
  std::int64_t peak_memory_bytes = 0;
  std::optional<double> validation_loss;  ///< mean cross entropy over held-out label tokens
  std::optional<ExactMatch> exact_match;
  bool operator==(const TrainingStep&) const = default;
};

/// One JSON object on one line, without the line end.
std::string to_line(const TrainingStep& step);

/// The steps of a file of lines, in order. A last line without its line end was being written when
/// the program was killed, and is left out.
///
/// \throws InputError  naming file and line: broken JSON, a missing or surplus key, steps that do
///                     not ascend
std::vector<TrainingStep> read_training_steps(const std::filesystem::path& file);

/// A file of lines, one a step, that grows while a model is trained. It can be read at any moment.
class TrainingLog {
 public:
  /// Opens the file for appending. What is in it stays up to step `last_step`; later steps, and a
  /// line that was not finished, are cut off. A missing file is made.
  ///
  /// \param last_step    0: begin anew
  /// \throws InputError  as read_training_steps does, or if the file cannot be written
  TrainingLog(const std::filesystem::path& file, std::int64_t last_step);

  /// Adds a line.
  ///
  /// \throws InputError        on a full or failing disk; the file is then as it was
  /// \throws std::logic_error  unless the step is later than the last
  void append(const TrainingStep& step);

  /// Waits until all lines are on the disk; to be called before a state that needs them is saved.
  void sync() { file_.sync(); }

 private:
  std::int64_t last_step_;
  AppendFile file_;
};

}  // namespace espalier
