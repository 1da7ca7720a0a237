// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "espalier/base/files.h"

namespace espalier {

/// What a kind of long job leaves in its folder.
struct JobKind {
  std::string name;                 ///< as messages call it: "probe"
  std::string head;                 ///< a JSON file with "complete" and "options": "probe.json"
  std::vector<std::string> others;  ///< the other files that the finished job has
};

/// Refuses to go on with what another command began.
///
/// \param kind         what messages call the job
/// \param wanted       the head of what is asked, with "options"
/// \param found        the head that stands in the folder
/// \throws InputError  naming the keys in which they differ
void check_same_head(const std::filesystem::path& folder, const std::string& kind,
                     const nlohmann::json& wanted, const nlohmann::json& found);

/// Refuses to replace what is finished.
[[noreturn]] void refuse_finished(const std::filesystem::path& folder, const std::string& kind);

/// The folder of a job that can be killed at any moment: the head says from the start what is
/// asked, `journal/` holds what was done so far and is gone when the job is finished.
class JobFolder {
 public:
  /// Takes the folder for a job, or takes a job up that was cut off.
  ///
  /// \param header       the head of the unfinished job, "complete" is false in it: a folder with
  ///                     the same text is the same job's
  /// \param force        give up what a former job left
  /// \throws InputError  if the folder holds a finished job, another job's beginning or something
  ///                     else, or if another program is at work in it
  JobFolder(std::filesystem::path folder, JobKind kind, const std::string& header, bool force);

  [[nodiscard]] const std::filesystem::path& path() const { return folder_; }
  [[nodiscard]] std::filesystem::path journal() const { return folder_ / "journal"; }
  /// SHA-256 of the header: names what is asked.
  [[nodiscard]] const std::string& job() const { return job_; }
  /// Removes the journal; call it when the finished head stands, whole.
  void remove_journal() const;

 private:
  void check_same_job(const std::string& header) const;
  void refuse_other_files() const;
  [[nodiscard]] bool is_leftover(const std::filesystem::path& file) const;
  void remove_leftovers() const;
  void tidy_finished() const;

  std::filesystem::path folder_;
  JobKind kind_;
  std::string job_;
  FolderLock lock_;
};

}  // namespace espalier
