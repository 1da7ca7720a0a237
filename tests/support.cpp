// SPDX-License-Identifier: Apache-2.0
#include "tests/support.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <stdexcept>
#include <thread>
#include <utility>

#include "espalier/base/error.h"
#include "espalier/base/files.h"

namespace espalier::test {

namespace fs = std::filesystem;

TemporaryDirectory::TemporaryDirectory() {
  std::string pattern = (fs::temp_directory_path() / "espalier-test-XXXXXX").string();
  if (mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("mkdtemp failed: " + pattern);
  path_ = pattern;
}

TemporaryDirectory::~TemporaryDirectory() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

SmallDisk::SmallDisk(fs::path place, const char* options) : place_(std::move(place)) {
  fs::create_directory(place_);
  mounted_ = mount("tmpfs", place_.c_str(), "tmpfs", 0, options) == 0;
}

SmallDisk::~SmallDisk() {
  if (mounted_) umount2(place_.c_str(), MNT_DETACH);
}

bool SmallDisk::make_read_only() const {
  return mount("tmpfs", place_.c_str(), "tmpfs", MS_REMOUNT | MS_RDONLY, nullptr) == 0;
}

void write_quickly(const fs::path& path, std::string_view bytes) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  if (!out.flush()) throw std::runtime_error("cannot write " + path.string());
}

std::span<const std::byte> as_bytes(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

fs::path fixture(const std::string& name) { return fs::path(ESPALIER_FIXTURES) / name; }

fs::path example(const std::string& name) { return fs::path(ESPALIER_EXAMPLES) / name; }

std::optional<fs::path> test_data() {
  const char* folder = std::getenv("ESPALIER_TEST_DATA");
  if (folder == nullptr || *folder == '\0') return std::nullopt;
  return fs::path(folder);
}

std::string input_error(const std::function<void()>& action) {
  try {
    action();
  } catch (const InputError& error) {
    return error.what();
  }
  ADD_FAILURE() << "wanted an InputError, none was thrown";
  return {};
}

CommandResult run_command(const std::vector<std::string>& arguments) {
  const TemporaryDirectory scratch;
  const fs::path out = scratch / "out";
  const fs::path err = scratch / "err";
  const pid_t child = fork();
  if (child == 0) {
    const int out_file = open(out.c_str(), O_WRONLY | O_CREAT, 0600);
    const int err_file = open(err.c_str(), O_WRONLY | O_CREAT, 0600);
    dup2(out_file, STDOUT_FILENO);
    dup2(err_file, STDERR_FILENO);
    std::vector<char*> argv;
    for (const std::string& argument : arguments)
      argv.push_back(const_cast<char*>(argument.c_str()));
    argv.push_back(nullptr);
    execvp(argv[0], argv.data());
    _exit(127);
  }
  int status = 0;
  waitpid(child, &status, 0);
  const int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return {.exit_code = code, .out = read_file(out), .err = read_file(err)};
}

CommandResult run_espalier(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), std::string(ESPALIER_BIN) + "/espalier");
  return run_command(arguments);
}

bool run_and_kill(std::vector<std::string> arguments, std::chrono::milliseconds after) {
  arguments.insert(arguments.begin(), std::filesystem::path(ESPALIER_BIN) / "espalier");
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
  pid_t child = 0;
  EXPECT_EQ(posix_spawn(&child, argv[0], &actions, nullptr, argv.data(), environ), 0);
  posix_spawn_file_actions_destroy(&actions);
  std::this_thread::sleep_for(after);
  kill(child, SIGKILL);
  int status = 0;
  waitpid(child, &status, 0);
  return WIFSIGNALED(status);
}

std::vector<std::pair<std::string, std::string>> snapshot(const fs::path& folder) {
  std::vector<std::pair<std::string, std::string>> files;
  if (!fs::exists(folder)) return files;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    const std::string name = fs::relative(entry.path(), folder).string();
    files.emplace_back(name, entry.is_regular_file() ? read_file(entry.path()) : "");
  }
  std::ranges::sort(files);
  return files;
}

}  // namespace espalier::test
