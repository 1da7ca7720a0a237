// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "espalier/base/files.h"
#include "espalier/train/optimizer.h"
#include "espalier/train/parameters.h"

namespace espalier {

/// The folder of a training run that can be killed at any moment: `training.json` says from the
/// start what is asked, `checkpoint.safetensors` holds the last saved state, whole or not at all.
class TrainingFolder {
 public:
  /// Takes the folder for a run, or takes a run up that was cut off.
  ///
  /// \param header       a JSON object: everything that decides the result
  /// \param force        give up what a former run left
  /// \throws InputError  if the folder holds a finished run, another run's beginning or something
  ///                     else, or if another program is at work in it
  TrainingFolder(std::filesystem::path folder, const std::string& header, bool force);

  [[nodiscard]] const std::filesystem::path& path() const { return folder_; }
  [[nodiscard]] std::filesystem::path steps_file() const { return folder_ / "steps.jsonl"; }
  [[nodiscard]] std::filesystem::path checkpoint() const {
    return folder_ / "checkpoint.safetensors";
  }

  /// Takes up what a former run saved.
  ///
  /// \return             how many steps are done, 0 if nothing was saved
  /// \throws InputError  for a checkpoint of other shapes
  std::int64_t resume(const Parameters& parameters, OptimizerState& state) const;

  /// Saves masters and optimizer. A full disk leaves the former checkpoint as it was.
  void save(const Parameters& parameters, const OptimizerState& state) const;

  /// Says in `training.json` that the run has ended.
  ///
  /// \param results  a JSON object, stands there as "results"
  void finish(const std::string& results) const;

 private:
  void check_same_run(const std::string& header) const;
  void refuse_other_files() const;
  void clear() const;

  std::filesystem::path folder_;
  std::string header_;
  FolderLock lock_;
};

}  // namespace espalier
