// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <filesystem>

#include "espalier/base/job_folder.h"
#include "espalier/records/probe_record.h"

namespace espalier {

/// The folder of a probe that can be killed at any moment (base/job_folder.h): what was measured so
/// far lies under `journal/`.
class RunFolder {
 public:
  /// Takes the folder for a run, or takes a run up that was cut off.
  ///
  /// \param record       what is asked, and over which pictures; its samples are still empty
  /// \param force        give up what a former run left
  /// \throws InputError  as JobFolder does
  RunFolder(std::filesystem::path folder, const ProbeRecord& record, bool force);

  /// Where pooled vectors wait.
  [[nodiscard]] std::filesystem::path pooled_file() const;

  /// Takes up what a former run saved.
  ///
  /// \return  how many pictures are done
  std::size_t resume(ProbeRecord& record) const;

  /// Saves the record so far, whole or not at all.
  void save(const ProbeRecord& record, std::size_t pictures) const;

  /// Writes the record and removes the journal.
  void finish(const ProbeRecord& record) const;

 private:
  [[nodiscard]] std::filesystem::path snapshot() const;

  JobFolder job_;
};

}  // namespace espalier
