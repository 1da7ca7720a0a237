// SPDX-License-Identifier: Apache-2.0
#include "espalier/base/files.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <functional>
#include <system_error>
#include <utility>
#include <vector>

#include "espalier/base/error.h"

namespace espalier {

namespace fs = std::filesystem;

namespace {

// The system is asked to start writing every so often, so that the sync at the end is short.
constexpr std::uint64_t kFlushBytes = 64ULL << 20;

// A folder of more files is synced with the whole file system instead of file by file.
constexpr std::size_t kManyFiles = 200;

std::string_view remedy_for(int error) {
  switch (error) {
    case ENOSPC:
    case EDQUOT:
      return "; free some space or choose another disk";
    case EROFS:
      return "; choose a folder on a writable disk";
    case EACCES:
    case EPERM:
      return "; check the permissions or choose another folder";
    case ENOENT:
      return "; check the name; its folder must exist";
    case ENAMETOOLONG:
      return "; choose a shorter name";
    case EBUSY:
      return "; choose a folder that nothing is mounted on";
    default:
      return "";
  }
}

[[noreturn]] void fail(const fs::path& path, std::string_view action, int error) {
  throw InputError(fmt::format("{}: {}: {}{}", path.string(), action,
                               std::generic_category().message(error), remedy_for(error)));
}

/// A file descriptor that is closed at the end of the scope.
class Descriptor {
 public:
  explicit Descriptor(int descriptor) : descriptor_(descriptor) {}
  ~Descriptor() {
    if (descriptor_ >= 0) close(descriptor_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  [[nodiscard]] int get() const { return descriptor_; }

 private:
  int descriptor_;
};

/// Opens a regular file for reading and says how long it is. Does not wait for a pipe's writer.
int open_regular(const fs::path& path, std::uint64_t& size) {
  const int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0) fail(path, "cannot open for reading", errno);
  struct stat status {};
  const bool known = fstat(descriptor, &status) == 0;
  if (!known || !S_ISREG(status.st_mode)) {
    close(descriptor);
    throw InputError(fmt::format("{}: wanted a regular file, found {}", path.string(),
                                 S_ISDIR(status.st_mode) ? "a folder" : "something else"));
  }
  size = static_cast<std::uint64_t>(status.st_size);
  return descriptor;
}

/// Tries hidden names beside `path` until `create` makes one (it returns an errno, 0 for success).
fs::path create_beside(const fs::path& path, const std::function<int(const fs::path&)>& create) {
  // Names may have 255 bytes; 64 say well enough what the temporary was for.
  const std::string stem = path.filename().string().substr(0, 64);
  for (int attempt = 0;; ++attempt) {
    fs::path candidate =
        path.parent_path() / fmt::format(".{}.{}-{}.partial", stem, getpid(), attempt);
    const int error = create(candidate);
    if (error == 0) return candidate;
    if (error != EEXIST || attempt == 10000) fail(path, "cannot write there", error);
  }
}

/// The absolute path with symbolic links followed where it exists, without a trailing slash: what
/// is renamed must be the thing itself.
fs::path settle(const fs::path& path) {
  require(!path.empty(), "an empty path cannot be written to");
  std::error_code error;
  fs::path absolute = fs::canonical(path, error);
  if (error) absolute = fs::absolute(path).lexically_normal();
  return absolute.has_filename() ? absolute : absolute.parent_path();
}

void sync_path(const fs::path& path, const fs::path& shown) {
  const Descriptor descriptor(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (descriptor.get() < 0) fail(shown, "cannot write to the disk", errno);
  // Some file systems cannot sync a folder (EINVAL); the rename is then as safe as it gets.
  if (fsync(descriptor.get()) != 0 && errno != EINVAL && errno != EROFS)
    fail(shown, "cannot write to the disk", errno);
}

/// Puts a folder with all that is in it on the disk: file by file, or, where there are many, the
/// whole file system at once, since each sync alone may wait for the disk.
void sync_folder(const fs::path& folder, const fs::path& shown) {
  std::vector<fs::path> paths;
  std::error_code error;
  for (fs::recursive_directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    const fs::file_status status = entry->symlink_status(error);
    if (fs::is_regular_file(status) || fs::is_directory(status)) paths.push_back(entry->path());
  }
  if (error) fail(shown, "cannot put the folder in its place", error.value());
  if (paths.size() > kManyFiles) {
    const Descriptor descriptor(open(folder.c_str(), O_RDONLY | O_CLOEXEC));
    if (descriptor.get() < 0 || syncfs(descriptor.get()) != 0) {
      fail(shown, "cannot write to the disk", errno);
    }
    return;
  }
  for (const fs::path& path : paths) sync_path(path, shown);
  sync_path(folder, shown);
}

/// Renames with one of renameat2's flags. 0 or an errno; EINVAL where the file system cannot.
int rename_with(const fs::path& from, const fs::path& to, unsigned flags) {
  if (renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), flags) == 0) return 0;
  return errno == ENOSYS ? EINVAL : errno;
}

int rename_plain(const fs::path& from, const fs::path& to) {
  return std::rename(from.c_str(), to.c_str()) == 0 ? 0 : errno;
}

void write_all(int descriptor, std::span<const std::byte> bytes, const fs::path& shown) {
  while (!bytes.empty()) {
    const ssize_t count = write(descriptor, bytes.data(), bytes.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail(shown, "cannot write", errno);
    bytes = bytes.subspan(static_cast<std::size_t>(count));
  }
}

[[noreturn]] void refuse_existing(const fs::path& path) {
  throw InputError(fmt::format(
      "{}: exists already; choose another name, or replace it with --force", path.string()));
}

bool is_inside(const fs::path& inner, const fs::path& outer) {
  return std::mismatch(outer.begin(), outer.end(), inner.begin(), inner.end()).first == outer.end();
}

}  // namespace

bool path_exists(const fs::path& path) {
  std::error_code error;
  const bool found = fs::exists(path, error);
  if (error) fail(path, "cannot look there", error.value());
  return found;
}

std::string read_file(const fs::path& path, std::uint64_t max_bytes) {
  std::uint64_t size = 0;
  const Descriptor file(open_regular(path, size));
  require(size <= max_bytes, "{}: wanted at most {} bytes, found {}", path.string(), max_bytes,
          size);
  std::string text(size, '\0');
  std::size_t done = 0;
  while (done < text.size()) {
    const ssize_t count = read(file.get(), text.data() + done, text.size() - done);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail(path, "cannot read", errno);
    require(count > 0, "{}: wanted {} bytes, found {}: it was cut while it was read", path.string(),
            size, done);
    done += static_cast<std::size_t>(count);
  }
  return text;
}

MappedFile::MappedFile(const fs::path& path) : path_(path) {
  std::uint64_t size = 0;
  const Descriptor file(open_regular(path, size));
  if (size == 0) return;  // nothing can be mapped
  void* const address = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.get(), 0);
  if (address == MAP_FAILED) fail(path, "cannot map into memory", errno);
  data_ = static_cast<const std::byte*>(address);
  size_ = size;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) munmap(const_cast<std::byte*>(data_), size_);
}

void MappedFile::release_pages() const {
  if (data_ != nullptr) madvise(const_cast<std::byte*>(data_), size_, MADV_DONTNEED);
}

void release_mapped_pages(std::span<const std::byte> part) {
  const auto page = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
  const auto before = (page - reinterpret_cast<std::uintptr_t>(part.data()) % page) % page;
  if (before >= part.size()) return;
  const auto whole = part.subspan(before, (part.size() - before) / page * page);
  if (!whole.empty()) madvise(const_cast<std::byte*>(whole.data()), whole.size(), MADV_DONTNEED);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)),
      data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

OutputFile::OutputFile(const fs::path& path, bool force) : path_(settle(path)), force_(force) {
  if (path_exists(path_)) {
    require(!fs::is_directory(path_), "{}: wanted a file to write, found a folder", path_.string());
    require(fs::is_regular_file(path_), "{}: wanted a file to write, found a device or pipe",
            path_.string());
    if (!force) refuse_existing(path_);
  }
  temporary_ = create_beside(path_, [this](const fs::path& candidate) {
    descriptor_ = open(candidate.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    return descriptor_ >= 0 ? 0 : errno;
  });
}

OutputFile::~OutputFile() {
  if (descriptor_ >= 0) close(descriptor_);
  if (!temporary_.empty()) unlink(temporary_.c_str());
}

void OutputFile::write(std::span<const std::byte> bytes) {
  assume(descriptor_ >= 0, "nothing is written after commit");
  write_all(descriptor_, bytes, path_);
  position_ += bytes.size();
  if (position_ - flushed_ >= kFlushBytes) {
    // Only a hint: where it fails, the sync at the end does the work and reports.
    sync_file_range(descriptor_, static_cast<off64_t>(flushed_),
                    static_cast<off64_t>(position_ - flushed_), SYNC_FILE_RANGE_WRITE);
    flushed_ = position_;
  }
}

void OutputFile::write(std::string_view text) {
  write(std::as_bytes(std::span(text.data(), text.size())));
}

void OutputFile::commit() {
  assume(descriptor_ >= 0, "commit is called once");
  if (fsync(descriptor_) != 0) fail(path_, "cannot write to the disk", errno);
  if (close(std::exchange(descriptor_, -1)) != 0) fail(path_, "cannot write to the disk", errno);
  int error = EINVAL;
  if (!force_) error = rename_with(temporary_, path_, RENAME_NOREPLACE);
  if (error == EINVAL) {
    if (!force_ && path_exists(path_)) refuse_existing(path_);
    error = rename_plain(temporary_, path_);
  }
  if (error == EEXIST) refuse_existing(path_);
  if (error != 0) fail(path_, "cannot put the file in its place", error);
  temporary_.clear();
  sync_path(path_.parent_path(), path_);
}

FolderLock::~FolderLock() {
  if (descriptor_ >= 0) close(descriptor_);
}

bool FolderLock::take(const std::filesystem::path& folder) {
  assume(descriptor_ < 0, "a lock is taken once");
  descriptor_ = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  return descriptor_ >= 0 && flock(descriptor_, LOCK_EX | LOCK_NB) == 0;
}

void write_file(const fs::path& path, std::string_view text, bool force) {
  OutputFile file(path, force);
  file.write(text);
  file.commit();
}

AppendFile::AppendFile(const fs::path& path, std::uint64_t keep_bytes)
    : path_(path), size_(keep_bytes) {
  // As open_regular: a pipe without a reader is refused, not waited for.
  descriptor_ = open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK, 0666);
  if (descriptor_ < 0) fail(path, "cannot write there", errno);
  try {
    struct stat status {};
    const bool known = fstat(descriptor_, &status) == 0;
    require(known && S_ISREG(status.st_mode), "{}: wanted a file to write, found something else",
            path.string());
    require(std::cmp_greater_equal(status.st_size, keep_bytes),
            "{}: wanted at least {} bytes to go on behind, found {}", path.string(), keep_bytes,
            status.st_size);
    if (ftruncate(descriptor_, static_cast<off_t>(keep_bytes)) != 0) {
      fail(path, "cannot write", errno);
    }
  } catch (...) {
    close(descriptor_);
    throw;
  }
}

AppendFile::~AppendFile() { close(descriptor_); }

void AppendFile::append(std::string_view piece) {
  std::string_view rest = piece;
  while (!rest.empty()) {
    const ssize_t count = ::write(descriptor_, rest.data(), rest.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) {
      const int error = errno;
      // What is there of the piece goes away again; to shorten a file needs no room.
      if (ftruncate(descriptor_, static_cast<off_t>(size_)) != 0)
        fail(path_, "cannot write", errno);
      fail(path_, "cannot write", error);
    }
    rest.remove_prefix(static_cast<std::size_t>(count));
  }
  size_ += piece.size();
}

void AppendFile::sync() {
  if (fsync(descriptor_) != 0) fail(path_, "cannot write to the disk", errno);
  sync_path(fs::absolute(path_).parent_path(), path_);
}

OutputDirectory::OutputDirectory(const fs::path& path, bool force)
    : path_(settle(path)), force_(force) {
  if (path_exists(path_)) {
    require(fs::is_directory(path_), "{}: wanted a folder to write, found a file", path_.string());
    std::error_code error;
    const bool empty = fs::is_empty(path_, error);
    if (error) fail(path_, "cannot look into the folder", error.value());
    if (!empty && !force) refuse_existing(path_);
    // Replacing it would pull the floor from under the caller.
    require(empty || !is_inside(fs::current_path(error), path_),
            "{}: is the working folder or around it and cannot be replaced; choose another",
            path_.string());
  }
  temporary_ = create_beside(path_, [](const fs::path& candidate) {
    return mkdir(candidate.c_str(), 0777) == 0 ? 0 : errno;
  });
}

OutputDirectory::~OutputDirectory() {
  std::error_code ignored;
  if (!temporary_.empty()) fs::remove_all(temporary_, ignored);
}

void OutputDirectory::write(const fs::path& name, std::span<const std::byte> bytes) const {
  const fs::path file = temporary_ / name;
  const Descriptor descriptor(open(file.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
  if (descriptor.get() < 0) fail(path_ / name, "cannot write there", errno);
  write_all(descriptor.get(), bytes, path_ / name);
}

void OutputDirectory::commit() {
  assume(!temporary_.empty(), "commit is called once");
  sync_folder(temporary_, path_);

  // Renaming onto a folder works only while that is empty, which is just what we promise.
  int failure = rename_plain(temporary_, path_);
  fs::path old;
  if ((failure == ENOTEMPTY || failure == EEXIST) && force_) {
    failure = rename_with(temporary_, path_, RENAME_EXCHANGE);
    old = temporary_;
    if (failure == EINVAL) {  // this file system cannot exchange: two steps, the first undone
      old = create_beside(path_, [this](const fs::path& candidate) {
        return path_exists(candidate) ? EEXIST : rename_plain(path_, candidate);
      });
      failure = rename_plain(temporary_, path_);
      if (failure != 0) rename_plain(old, path_);
    }
  }
  if (failure == ENOTEMPTY || failure == EEXIST) refuse_existing(path_);
  if (failure != 0) fail(path_, "cannot put the folder in its place", failure);
  temporary_.clear();
  std::error_code ignored;
  fs::remove_all(old, ignored);  // the new folder stands; what cannot be deleted does no harm
  sync_path(path_.parent_path(), path_);
}

}  // namespace espalier
