// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>

#include "espalier/base/files.h"
#include "espalier/records/probe_record.h"

namespace espalier {

/// The folder of a run that can be killed at any moment: `probe.json` says from the start what is
/// asked, `journal/` holds what was measured so far and is gone when the record is whole.
class RunFolder {
 public:
  /// Takes the folder for a run, or takes a run up that was cut off.
  ///
  /// \param record       what is asked, and over which pictures; its samples are still empty
  /// \param force        give up what a former run left
  /// \throws InputError  if the folder holds a finished record, another run's beginning or
  /// something
  ///                     else, or if another program is at work in it
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
  [[nodiscard]] std::filesystem::path journal() const { return folder_ / "journal"; }
  [[nodiscard]] std::filesystem::path snapshot() const;
  void check_same_run(const std::string& header);
  void refuse_other_files() const;
  void remove_leftovers() const;
  void tidy_finished();

  std::filesystem::path folder_;
  std::string run_;  ///< names what is asked
  FolderLock lock_;
};

}  // namespace espalier
