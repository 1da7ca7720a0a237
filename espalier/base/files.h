// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace espalier {

/// Whether a path leads to something; a link that leads nowhere does not.
///
/// \throws InputError  if the system does not say, e.g. for want of permission
bool path_exists(const std::filesystem::path& path);

/// The whole of a file.
///
/// \param max_bytes    a larger file is refused before anything is read
/// \throws InputError  if it is missing, not a regular file, unreadable or too large
std::string read_file(const std::filesystem::path& path, std::uint64_t max_bytes = 1ULL << 30);

/// A file mapped read-only into memory; nothing is read before it is touched.
class MappedFile {
 public:
  /// \throws InputError if the file is missing, not a regular file or cannot be mapped
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  [[nodiscard]] std::span<const std::byte> bytes() const { return {data_, size_}; }
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  /// Gives the memory of the pages touched so far back; they are mapped again when touched again.
  void release_pages() const;

 private:
  std::filesystem::path path_;
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

/// Gives the memory of a part of a mapped file back, whole pages only; what is touched again is
/// mapped again. Never call it on memory that is no MappedFile's: that would be lost.
void release_mapped_pages(std::span<const std::byte> part);

/// A file that appears whole or not at all: bytes go to a hidden temporary file beside it, which
/// `commit` syncs and renames. Without `commit` the destructor removes the temporary file.
class OutputFile {
 public:
  /// \param force        replace an existing file; without it an existing one is refused
  /// \throws InputError  if the path exists (without force) or its folder cannot be written
  OutputFile(const std::filesystem::path& path, bool force);
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  /// \throws InputError on a full or failing disk, naming the file and the system's reason
  void write(std::span<const std::byte> bytes);
  void write(std::string_view text);
  /// Where in the file the next byte goes.
  [[nodiscard]] std::uint64_t position() const { return position_; }
  /// Puts the file in its place; call once, last.
  /// \throws InputError on a full or failing disk, or (without force) if the path has appeared
  ///                    meanwhile
  void commit();

 private:
  std::filesystem::path path_;
  std::filesystem::path temporary_;
  bool force_;
  int descriptor_ = -1;
  std::uint64_t position_ = 0;
  std::uint64_t flushed_ = 0;  ///< bytes that the system was already asked to put on the disk
};

/// Keeps two programs from working in one folder: the system gives the lock back when the program
/// ends, however it ends.
class FolderLock {
 public:
  FolderLock() = default;
  ~FolderLock();
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

  /// Takes a folder that exists, once.
  ///
  /// \return  whether nobody else has it
  bool take(const std::filesystem::path& folder);

 private:
  int descriptor_ = -1;
};

/// Writes a text file whole or not at all.
void write_file(const std::filesystem::path& path, std::string_view text, bool force);

/// A file that grows piece by piece and can be read meanwhile. A piece is in it as a whole, unless
/// the machine dies.
class AppendFile {
 public:
  /// Opens the file, or makes it.
  ///
  /// \param keep_bytes   what stands behind these is cut off
  /// \throws InputError  if it is not a regular file, is shorter, or cannot be written
  AppendFile(const std::filesystem::path& path, std::uint64_t keep_bytes);
  ~AppendFile();
  AppendFile(const AppendFile&) = delete;
  AppendFile& operator=(const AppendFile&) = delete;

  /// \throws InputError on a full or failing disk; the piece is then not in the file
  void append(std::string_view piece);
  /// Waits until everything is on the disk. \throws InputError on a failing disk
  void sync();

 private:
  std::filesystem::path path_;
  int descriptor_ = -1;
  std::uint64_t size_;
};

/// A folder that appears whole or not at all: files are written into a hidden temporary folder
/// beside it, which `commit` renames into place. Without `commit` nothing is left behind.
class OutputDirectory {
 public:
  /// \param force        replace an existing folder; without it an existing path is refused
  ///                     (an empty folder is accepted)
  /// \throws InputError  if the path exists (without force) or its parent cannot be written
  OutputDirectory(const std::filesystem::path& path, bool force);
  ~OutputDirectory();
  OutputDirectory(const OutputDirectory&) = delete;
  OutputDirectory& operator=(const OutputDirectory&) = delete;

  /// Where to write: the temporary folder.
  [[nodiscard]] const std::filesystem::path& path() const { return temporary_; }
  /// Writes a new file of the folder without a sync, which `commit` does: for folders of many
  /// small files. Its own folder must exist. Threads may write at the same time.
  ///
  /// \param name         relative to the folder
  /// \throws InputError  if it is there already, or on a full or failing disk
  void write(const std::filesystem::path& name, std::span<const std::byte> bytes) const;
  /// Puts the folder in its place; call once, last. The old folder is deleted only after the new
  /// one stands.
  /// \throws InputError on a full or failing disk, or (without force) if the path has been filled
  ///                    meanwhile; what stood there is then as it was
  void commit();

 private:
  std::filesystem::path path_;
  std::filesystem::path temporary_;
  bool force_;
};

}  // namespace espalier
