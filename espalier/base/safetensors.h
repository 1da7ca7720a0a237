// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "espalier/base/files.h"

namespace espalier {

/// The element types of a safetensors file that we read and write.
enum class DType { Bool, U8, I8, I16, I32, I64, F16, BF16, F32, F64 };

[[nodiscard]] std::string_view name_of(DType dtype);   ///< as in the file: "BF16"
[[nodiscard]] std::size_t size_in_bytes(DType dtype);  ///< of one element
/// \throws InputError naming `place` if the name is not one of ours
[[nodiscard]] DType dtype_of(std::string_view name, std::string_view place);

/// What a file says of one tensor.
struct TensorInfo {
  DType dtype;
  std::vector<std::int64_t> shape;
  std::uint64_t begin = 0;  ///< first byte, from the start of the data block
  std::uint64_t end = 0;    ///< one past the last byte
  bool operator==(const TensorInfo&) const = default;
};

/// A safetensors file, memory-mapped: opening it reads the header and touches no weight.
///
/// The header is trusted in nothing: its length (at most 100 MB), every dtype, shape, offset and
/// overlap is checked, and the data block must be covered without a hole.
class SafetensorsFile {
 public:
  /// \throws InputError naming the file, the tensor, what was wanted and what was found
  explicit SafetensorsFile(const std::filesystem::path& path);

  [[nodiscard]] const std::map<std::string, TensorInfo, std::less<>>& tensors() const {
    return tensors_;
  }
  [[nodiscard]] const std::map<std::string, std::string>& metadata() const { return metadata_; }
  /// The tensor's bytes inside the mapping, row-major and little-endian; valid as long as this
  /// object. Aligned to its element only where the file's writer saw to that, as ours does.
  /// \throws InputError if there is no such tensor
  [[nodiscard]] std::span<const std::byte> bytes(std::string_view name) const;
  [[nodiscard]] const std::filesystem::path& path() const { return file_.path(); }
  /// See MappedFile::release_pages.
  void release_pages() const { file_.release_pages(); }

 private:
  MappedFile file_;
  std::map<std::string, TensorInfo, std::less<>> tensors_;
  std::map<std::string, std::string> metadata_;
  std::size_t data_begin_ = 0;
};

/// A tensor to be written: what it is called, its type and shape.
struct TensorSpec {
  std::string name;
  DType dtype;
  std::vector<std::int64_t> shape;
  bool operator==(const TensorSpec&) const = default;
};

/// Bytes of a tensor's data.
[[nodiscard]] std::uint64_t size_in_bytes(const TensorSpec& tensor);

/// Writes a safetensors file as a stream: the header from the list, then the tensors' bytes, in
/// the order of the list. Nothing appears at the path before `finish`.
class SafetensorsWriter {
 public:
  /// \param force        replace an existing file
  /// \throws InputError  if the path exists (without force), or cannot be written
  SafetensorsWriter(const std::filesystem::path& path, const std::vector<TensorSpec>& tensors,
                    bool force = false,
                    const std::map<std::string, std::string>& metadata = {{"format", "pt"}});

  /// The file's bytes before the data block.
  [[nodiscard]] std::string_view header() const { return header_; }
  /// The next bytes of the data block; a tensor may come in several pieces.
  void write(std::span<const std::byte> bytes);
  /// \throws std::logic_error unless exactly the promised bytes were written
  void finish();

 private:
  OutputFile file_;
  std::string header_;
  std::uint64_t data_begin_ = 0;
  std::uint64_t data_bytes_ = 0;
};

}  // namespace espalier
