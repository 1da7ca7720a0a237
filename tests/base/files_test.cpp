// SPDX-License-Identifier: Apache-2.0
#include "espalier/base/files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <thread>

#include "espalier/base/error.h"
#include "tests/support.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;
using test::input_error;
using test::SmallDisk;
using test::snapshot;
using test::TemporaryDirectory;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

/// What lies in a folder, hidden names too.
std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) {
    names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

/// Gives up root's power to write anywhere, for a scope.
class AsNobody {
 public:
  AsNobody() : was_root_(geteuid() == 0) {
    if (was_root_ && seteuid(65534) != 0) throw std::runtime_error("seteuid");
  }
  ~AsNobody() {
    if (was_root_ && seteuid(0) != 0) std::abort();
  }
  AsNobody(const AsNobody&) = delete;
  AsNobody& operator=(const AsNobody&) = delete;

 private:
  bool was_root_;
};

TEST(ReadFile, ReturnsEveryByte) {
  const TemporaryDirectory folder;
  const std::string text("a\0b\n\xff", 5);
  write_file(folder / "f", text, false);
  EXPECT_EQ(read_file(folder / "f"), text);
}

TEST(ReadFile, RefusesWhatIsNotAReadableRegularFile) {
  const TemporaryDirectory folder;
  EXPECT_THAT(input_error([&] { read_file(folder / "none"); }),
              AllOf(HasSubstr((folder / "none").string()), HasSubstr("No such file")));
  EXPECT_THAT(input_error([&] { read_file(folder.path()); }),
              HasSubstr("wanted a regular file, found a folder"));
  ASSERT_EQ(mkfifo((folder / "pipe").c_str(), 0600), 0);
  EXPECT_THAT(input_error([&] { read_file(folder / "pipe"); }), HasSubstr("wanted a regular file"));
}

TEST(ReadFile, RefusesAFileAboveTheLimitAndTakesOneAtIt) {
  const TemporaryDirectory folder;
  write_file(folder / "f", "12345", false);
  EXPECT_EQ(read_file(folder / "f", 5), "12345");
  EXPECT_THAT(input_error([&] { read_file(folder / "f", 4); }),
              HasSubstr("wanted at most 4 bytes, found 5"));
}

TEST(MappedFile, ShowsTheBytesAndMovesThem) {
  const TemporaryDirectory folder;
  write_file(folder / "f", "abc", false);
  write_file(folder / "empty", "", false);
  MappedFile first(folder / "f");
  const MappedFile second(std::move(first));
  ASSERT_EQ(second.bytes().size(), 3U);
  EXPECT_EQ(static_cast<char>(second.bytes()[2]), 'c');
  EXPECT_EQ(second.path(), folder / "f");
  EXPECT_TRUE(MappedFile(folder / "empty").bytes().empty());
  EXPECT_THAT(input_error([&] { MappedFile(folder / "none"); }), HasSubstr("No such file"));
}

TEST(OutputFile, AppearsOnlyWithCommit) {
  const TemporaryDirectory folder;
  {
    OutputFile file(folder / "f", false);
    file.write("ab");
    file.write("c");
    EXPECT_EQ(file.position(), 3U);
    EXPECT_FALSE(fs::exists(folder / "f"));
    file.commit();
  }
  EXPECT_EQ(read_file(folder / "f"), "abc");
  EXPECT_EQ(names_in(folder.path()), std::vector<std::string>{"f"});
}

TEST(OutputFile, LeavesNothingWithoutCommitAndKeepsTheOldFile) {
  const TemporaryDirectory folder;
  write_file(folder / "f", "old", false);
  { OutputFile(folder / "f", true).write("new"); }
  { OutputFile(folder / "g", false).write("new"); }
  EXPECT_EQ(names_in(folder.path()), std::vector<std::string>{"f"});
  EXPECT_EQ(read_file(folder / "f"), "old");
}

TEST(OutputFile, ReplacesOnlyWithForce) {
  const TemporaryDirectory folder;
  write_file(folder / "f", "old", false);
  EXPECT_THAT(
      input_error([&] { write_file(folder / "f", "new", false); }),
      AllOf(HasSubstr((folder / "f").string()), HasSubstr("exists already"), HasSubstr("--force")));
  EXPECT_EQ(read_file(folder / "f"), "old");
  write_file(folder / "f", "new", true);
  EXPECT_EQ(read_file(folder / "f"), "new");
}

TEST(OutputFile, RefusesAPathThatAppearsWhileItIsWritten) {
  const TemporaryDirectory folder;
  {
    OutputFile file(folder / "f", false);
    file.write("mine");
    write_file(folder / "f", "theirs", false);
    EXPECT_THAT(input_error([&] { file.commit(); }), HasSubstr("exists already"));
  }
  EXPECT_EQ(read_file(folder / "f"), "theirs");
  EXPECT_EQ(names_in(folder.path()), std::vector<std::string>{"f"});
}

TEST(OutputFile, WritesThroughASymbolicLink) {
  const TemporaryDirectory folder;
  write_file(folder / "target", "old", false);
  fs::create_symlink("target", folder / "link");
  write_file(folder / "link", "new", true);
  EXPECT_TRUE(fs::is_symlink(folder / "link"));
  EXPECT_EQ(read_file(folder / "target"), "new");
}

TEST(OutputFile, RefusesPlacesWhereNoFileCanBe) {
  const TemporaryDirectory folder;
  EXPECT_THAT(input_error([&] { write_file(folder / "no/f", "", false); }),
              AllOf(HasSubstr((folder / "no/f").string()), HasSubstr("No such file"),
                    HasSubstr("its folder must exist")));
  EXPECT_THAT(input_error([&] { write_file(folder.path(), "", true); }), HasSubstr("a folder"));
  EXPECT_THAT(input_error([&] { write_file("/dev/null", "", true); }), HasSubstr("a device"));
  EXPECT_THAT(input_error([&] { write_file(folder / std::string(300, 'x'), "", false); }),
              AllOf(HasSubstr("File name too long"), HasSubstr("choose a shorter name")));
  EXPECT_THAT(input_error([] { write_file("", "", false); }), HasSubstr("empty path"));
}

TEST(OutputFile, TakesTheLongestNameThereIs) {
  const TemporaryDirectory folder;
  const std::string name(255, 'x');
  write_file(folder / name, "ok", false);
  EXPECT_EQ(read_file(folder / name), "ok");
}

TEST(OutputFile, SaysThatTheDiskIsFullAndLeavesNothing) {
  const TemporaryDirectory folder;
  const SmallDisk disk(folder / "disk", "size=64k");
  if (!disk.mounted()) GTEST_SKIP() << "needs the right to mount a small disk";
  write_file(disk.path() / "old", "old", false);
  const std::string large(200'000, 'x');
  EXPECT_THAT(input_error([&] { write_file(disk.path() / "old", large, true); }),
              AllOf(HasSubstr((disk.path() / "old").string()), HasSubstr("No space left on device"),
                    HasSubstr("free some space")));
  EXPECT_EQ(read_file(disk.path() / "old"), "old");
  EXPECT_EQ(names_in(disk.path()), std::vector<std::string>{"old"});
}

TEST(OutputFile, SaysThatTheDiskIsReadOnly) {
  const TemporaryDirectory folder;
  const SmallDisk disk(folder / "disk", "size=64k");
  if (!disk.mounted() || !disk.make_read_only()) {
    GTEST_SKIP() << "needs the right to mount a small disk";
  }
  EXPECT_THAT(input_error([&] { write_file(disk.path() / "f", "", false); }),
              AllOf(HasSubstr("Read-only file system"), HasSubstr("writable disk")));
  EXPECT_THAT(input_error([&] { OutputDirectory(disk.path() / "d", false); }),
              HasSubstr("Read-only file system"));
}

TEST(OutputFile, SaysThatThePermissionIsMissing) {
  const TemporaryDirectory folder;
  const fs::path locked = folder / "locked";
  fs::create_directory(locked);
  fs::permissions(locked, fs::perms(0555));
  fs::permissions(folder.path(), fs::perms(0755));
  {
    const AsNobody nobody;
    EXPECT_THAT(input_error([&] { write_file(locked / "f", "", false); }),
                AllOf(HasSubstr((locked / "f").string()), HasSubstr("Permission denied"),
                      HasSubstr("check the permissions")));
    EXPECT_THAT(input_error([&] { OutputDirectory(locked / "d", false); }),
                HasSubstr("Permission denied"));
  }
  EXPECT_THAT(names_in(locked), IsEmpty());
}

TEST(AppendFile, GrowsPieceByPieceBehindWhatIsKept) {
  const TemporaryDirectory folder;
  {
    AppendFile file(folder / "log", 0);
    file.append("one ");
    EXPECT_EQ(read_file(folder / "log"), "one ");
    file.append("two ");
    file.sync();
  }
  AppendFile file(folder / "log", 4);
  EXPECT_EQ(read_file(folder / "log"), "one ");
  file.append("three");
  EXPECT_EQ(read_file(folder / "log"), "one three");
}

TEST(AppendFile, RefusesWhatItCannotGoOnBehind) {
  const TemporaryDirectory folder;
  test::write_quickly(folder / "log", "12345");
  EXPECT_THAT(input_error([&] { AppendFile(folder / "log", 6); }),
              AllOf(HasSubstr("at least 6 bytes"), HasSubstr("found 5")));
  EXPECT_EQ(read_file(folder / "log"), "12345");
  EXPECT_THAT(input_error([&] { AppendFile(folder.path(), 0); }), HasSubstr("cannot write"));
  EXPECT_THAT(input_error([&] { AppendFile(folder / "gone" / "log", 0); }),
              HasSubstr("its folder must exist"));
  ASSERT_EQ(mkfifo((folder / "pipe").c_str(), 0600), 0);
  EXPECT_THAT(input_error([&] { AppendFile(folder / "pipe", 0); }), HasSubstr("pipe"));
}

TEST(AppendFile, HoldsNothingOfAPieceThatTheDiskHasNoRoomFor) {
  const TemporaryDirectory folder;
  const SmallDisk disk(folder / "disk", "size=64k");
  if (!disk.mounted()) GTEST_SKIP() << "needs the right to mount";
  AppendFile file(disk.path() / "log", 0);
  file.append("first");
  EXPECT_THAT(input_error([&] { file.append(std::string(100'000, 'x')); }), HasSubstr("log"));
  EXPECT_EQ(read_file(disk.path() / "log"), "first");
  file.append(", second");
  EXPECT_EQ(read_file(disk.path() / "log"), "first, second");
}

TEST(OutputDirectory, AppearsWholeWithCommit) {
  const TemporaryDirectory folder;
  {
    OutputDirectory directory(folder / "d", false);
    write_file(directory.path() / "f", "1", false);
    fs::create_directory(directory.path() / "sub");
    write_file(directory.path() / "sub/g", "2", false);
    EXPECT_FALSE(fs::exists(folder / "d"));
    directory.commit();
  }
  EXPECT_EQ(read_file(folder / "d/sub/g"), "2");
  EXPECT_EQ(names_in(folder.path()), std::vector<std::string>{"d"});
}

TEST(OutputDirectory, WritesManySmallFilesFromManyThreads) {
  const TemporaryDirectory folder;
  OutputDirectory directory(folder / "d", false);
  fs::create_directory(directory.path() / "sub");
  const auto write = [&](int begin) {
    for (int i = begin; i < 300; i += 2) {
      directory.write(fmt::format("sub/{}", i), test::as_bytes(std::to_string(i)));
    }
  };
  std::thread other(write, 1);
  write(0);
  other.join();
  EXPECT_THAT(input_error([&] { directory.write("sub/7", {}); }),
              AllOf(HasSubstr("d/sub/7"), HasSubstr("File exists"), Not(HasSubstr(".partial"))));
  EXPECT_THAT(input_error([&] { directory.write("none/7", {}); }), HasSubstr("d/none/7"));
  directory.commit();
  EXPECT_THAT(names_in(folder / "d/sub"), SizeIs(300));
  EXPECT_EQ(read_file(folder / "d/sub/299"), "299");
}

TEST(OutputDirectory, LeavesNothingWithoutCommit) {
  const TemporaryDirectory folder;
  {
    const OutputDirectory directory(folder / "d", false);
    write_file(directory.path() / "f", "1", false);
  }
  EXPECT_THAT(names_in(folder.path()), IsEmpty());
}

TEST(OutputDirectory, TakesATrailingSlashAndAnEmptyFolder) {
  const TemporaryDirectory folder;
  fs::create_directory(folder / "d");
  OutputDirectory directory(folder / "d/", false);
  write_file(directory.path() / "f", "1", false);
  directory.commit();
  EXPECT_EQ(read_file(folder / "d/f"), "1");
  EXPECT_EQ(names_in(folder.path()), std::vector<std::string>{"d"});
}

TEST(OutputDirectory, ReplacesAFilledFolderOnlyWithForce) {
  const TemporaryDirectory folder;
  fs::create_directory(folder / "d");
  write_file(folder / "d/old", "old", false);
  EXPECT_THAT(input_error([&] { OutputDirectory(folder / "d", false); }),
              AllOf(HasSubstr("exists already"), HasSubstr("--force")));
  OutputDirectory directory(folder / "d", true);
  write_file(directory.path() / "new", "new", false);
  EXPECT_EQ(names_in(folder / "d"), std::vector<std::string>{"old"});
  directory.commit();
  EXPECT_EQ(names_in(folder / "d"), std::vector<std::string>{"new"});
  EXPECT_EQ(names_in(folder.path()), std::vector<std::string>{"d"});
}

TEST(OutputDirectory, KeepsTheOldFolderWhenTheCommitFails) {
  const TemporaryDirectory folder;
  fs::create_directory(folder / "d");
  write_file(folder / "d/old", "old", false);
  {
    OutputDirectory directory(folder / "d", true);
    fs::remove_all(directory.path());
    EXPECT_THAT(input_error([&] { directory.commit(); }), HasSubstr((folder / "d").string()));
  }
  EXPECT_EQ(snapshot(folder.path()),
            (std::vector<std::pair<std::string, std::string>>{{"d", ""}, {"d/old", "old"}}));
}

TEST(OutputDirectory, RefusesAPathThatIsFilledWhileItIsWritten) {
  const TemporaryDirectory folder;
  {
    OutputDirectory directory(folder / "d", false);
    write_file(directory.path() / "mine", "1", false);
    fs::create_directory(folder / "d");
    write_file(folder / "d/theirs", "2", false);
    EXPECT_THAT(input_error([&] { directory.commit(); }), HasSubstr("exists already"));
  }
  EXPECT_EQ(names_in(folder / "d"), std::vector<std::string>{"theirs"});
  EXPECT_EQ(names_in(folder.path()), std::vector<std::string>{"d"});
}

TEST(OutputDirectory, ReplacesTheTargetOfASymbolicLink) {
  const TemporaryDirectory folder;
  fs::create_directory(folder / "target");
  write_file(folder / "target/old", "1", false);
  fs::create_directory_symlink("target", folder / "link");
  OutputDirectory directory(folder / "link", true);
  write_file(directory.path() / "new", "2", false);
  directory.commit();
  EXPECT_TRUE(fs::is_symlink(folder / "link"));
  EXPECT_EQ(names_in(folder / "target"), std::vector<std::string>{"new"});
}

TEST(OutputDirectory, RefusesToReplaceAFileOrTheWorkingFolder) {
  const TemporaryDirectory folder;
  write_file(folder / "f", "1", false);
  EXPECT_THAT(input_error([&] { OutputDirectory(folder / "f", true); }),
              HasSubstr("wanted a folder to write, found a file"));
  EXPECT_THAT(input_error([] { OutputDirectory(fs::current_path() / "..", true); }),
              HasSubstr("working folder"));
  EXPECT_THAT(input_error([] { OutputDirectory("/", true); }), HasSubstr("working folder"));
}

TEST(OutputDirectory, SaysThatTheDiskIsFullAndKeepsTheOldFolder) {
  const TemporaryDirectory folder;
  const SmallDisk disk(folder / "disk", "size=64k");
  if (!disk.mounted()) GTEST_SKIP() << "needs the right to mount a small disk";
  fs::create_directory(disk.path() / "d");
  write_file(disk.path() / "d/old", "old", false);
  EXPECT_THAT(input_error([&] {
                OutputDirectory directory(disk.path() / "d", true);
                write_file(directory.path() / "f", std::string(200'000, 'x'), false);
                directory.commit();
              }),
              HasSubstr("No space left on device"));
  EXPECT_EQ(snapshot(disk.path()),
            (std::vector<std::pair<std::string, std::string>>{{"d", ""}, {"d/old", "old"}}));
}

TEST(PathExists, SaysWhetherAndRefusesToGuess) {
  const TemporaryDirectory folder;
  EXPECT_TRUE(path_exists(folder.path()));
  EXPECT_FALSE(path_exists(folder / "none"));
  EXPECT_THAT(input_error([&] { path_exists(folder / std::string(300, 'x')); }),
              HasSubstr("File name too long"));
}

}  // namespace
}  // namespace espalier
