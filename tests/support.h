// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace espalier::test {

/// A folder that is gone after the test.
class TemporaryDirectory {
 public:
  TemporaryDirectory();
  ~TemporaryDirectory();
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

/// A small file system of its own over a folder, made where there is none; only where the system
/// lets us mount one (root), so ask `mounted` and skip the test.
class SmallDisk {
 public:
  /// \param options  tmpfs's, e.g. "size=64k"
  SmallDisk(std::filesystem::path place, const char* options);
  ~SmallDisk();
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;
  [[nodiscard]] bool mounted() const { return mounted_; }
  [[nodiscard]] bool make_read_only() const;
  [[nodiscard]] const std::filesystem::path& path() const { return place_; }

 private:
  std::filesystem::path place_;
  bool mounted_ = false;
};

/// Writes a file, replacing another, without the syncs that make espalier's own writer slow.
void write_quickly(const std::filesystem::path& path, std::string_view bytes);

/// A text as the bytes that writers take; it must outlive them.
std::span<const std::byte> as_bytes(std::string_view text);

/// The committed fixture of that name, e.g. "models/gqa".
std::filesystem::path fixture(const std::string& name);

/// Something in the project's examples/.
std::filesystem::path example(const std::string& name);

/// Real pictures, questions and Qwen's vocabulary: the folder that ESPALIER_TEST_DATA names, if
/// it is set. A test that needs it says so with GTEST_SKIP and goes.
std::optional<std::filesystem::path> test_data();

/// The message of the InputError that `action` must throw; fails the test when it throws none.
std::string input_error(const std::function<void()>& action);

/// What a command did.
struct CommandResult {
  int exit_code;
  std::string out;
  std::string err;
};

/// Runs a program with arguments and waits; no shell.
CommandResult run_command(const std::vector<std::string>& arguments);

/// Runs `espalier` as built, with these arguments.
CommandResult run_espalier(std::vector<std::string> arguments);

/// Starts `espalier` and kills it (SIGKILL) after some time; says whether it was still running.
bool run_and_kill(std::vector<std::string> arguments, std::chrono::milliseconds after);

/// Every file below a folder, by relative path, with its bytes: to prove that a folder did not
/// change.
std::vector<std::pair<std::string, std::string>> snapshot(const std::filesystem::path& folder);

}  // namespace espalier::test
