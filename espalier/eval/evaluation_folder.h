// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <memory>
#include <span>
#include <vector>

#include "espalier/base/files.h"
#include "espalier/base/job_folder.h"
#include "espalier/data/questions.h"
#include "espalier/records/scoreboard.h"

namespace espalier {

/// The folder of an evaluation that can be killed at any moment (base/job_folder.h): answers so far
/// lie in `journal/predictions.jsonl`, a line each.
class EvaluationFolder {
 public:
  /// \param scoreboard   what is asked, and of whom; its groups are still empty
  /// \param force        give up what a former run left
  /// \throws InputError  as JobFolder does
  EvaluationFolder(std::filesystem::path folder, const Scoreboard& scoreboard, bool force);

  /// What a former run answered: to as many of the first questions as the journal has answers, up
  /// to a line that was cut short.
  [[nodiscard]] std::vector<Prediction> former_answers(
      const std::vector<Question>& questions) const;

  /// Makes the journal hold these answers and no others; call it before `append`.
  void begin(std::span<const Prediction> predictions);

  /// Appends answers to the journal.
  ///
  /// \throws InputError on a full or failing disk
  void append(std::span<const Prediction> predictions);

  /// Writes predictions and scoreboard, and removes the journal.
  void finish(const Scoreboard& scoreboard, const std::vector<Prediction>& predictions) const;

 private:
  [[nodiscard]] std::filesystem::path journal_file() const;

  JobFolder job_;
  std::unique_ptr<AppendFile> answers_;
};

}  // namespace espalier
