// SPDX-License-Identifier: Apache-2.0
#include "espalier/base/safetensors.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "espalier/base/error.h"
#include "espalier/base/json.h"

namespace espalier {

using nlohmann::json;

static_assert(std::endian::native == std::endian::little, "safetensors is little-endian");

namespace {

constexpr std::uint64_t kLengthBytes = 8;
constexpr std::uint64_t kMaxHeaderBytes = 100'000'000;  // the limit of the reference library
constexpr std::uint64_t kAlignment = 8;

struct DTypeRow {
  DType dtype;
  std::string_view name;
  std::size_t bytes;
};

constexpr std::array<DTypeRow, 10> kDTypes{{{DType::Bool, "BOOL", 1},
                                            {DType::U8, "U8", 1},
                                            {DType::I8, "I8", 1},
                                            {DType::I16, "I16", 2},
                                            {DType::I32, "I32", 4},
                                            {DType::I64, "I64", 8},
                                            {DType::F16, "F16", 2},
                                            {DType::BF16, "BF16", 2},
                                            {DType::F32, "F32", 4},
                                            {DType::F64, "F64", 8}}};

const DTypeRow& row_of(DType dtype) {
  const auto* const row = std::ranges::find(kDTypes, dtype, &DTypeRow::dtype);
  assume(row != kDTypes.end(), "every dtype is in the table");
  return *row;
}

/// Bytes of a tensor; false where they do not fit into 62 bits or a side is negative.
bool count_bytes(const std::vector<std::int64_t>& shape, DType dtype, std::uint64_t& bytes) {
  if (std::ranges::any_of(shape, [](std::int64_t side) { return side < 0; })) return false;
  bytes = 0;
  if (std::ranges::find(shape, 0) != shape.end()) return true;
  bytes = size_in_bytes(dtype);
  for (const std::int64_t side : shape) {
    if (__builtin_mul_overflow(bytes, static_cast<std::uint64_t>(side), &bytes)) return false;
  }
  return bytes <= (std::uint64_t{1} << 62);
}

TensorInfo read_tensor_info(const JsonObject& entry) {
  TensorInfo info{.dtype = dtype_of(entry.string("dtype"), entry.place()),
                  .shape = entry.integers("shape")};
  const std::vector<std::int64_t> offsets = entry.integers("data_offsets");
  entry.refuse_unread();
  require(offsets.size() == 2 && offsets[0] >= 0 && offsets[1] >= offsets[0],
          "{}: data_offsets: wanted [begin, end] with 0 <= begin <= end, found {}", entry.place(),
          json(offsets).dump());
  info.begin = static_cast<std::uint64_t>(offsets[0]);
  info.end = static_cast<std::uint64_t>(offsets[1]);
  std::uint64_t wanted = 0;
  require(count_bytes(info.shape, info.dtype, wanted),
          "{}: shape: wanted sides from 0 whose product fits into memory, found {}", entry.place(),
          json(info.shape).dump());
  require(info.end - info.begin == wanted,
          "{}: data_offsets: wanted {} bytes for shape {} of {}, found {}", entry.place(), wanted,
          json(info.shape).dump(), name_of(info.dtype), info.end - info.begin);
  return info;
}

/// The tensors must cover the data block exactly, each byte once.
void check_cover(const std::map<std::string, TensorInfo, std::less<>>& tensors,
                 std::uint64_t data_bytes, const std::string& file) {
  std::vector<const std::pair<const std::string, TensorInfo>*> order;
  order.reserve(tensors.size());
  for (const auto& tensor : tensors) order.push_back(&tensor);
  std::ranges::sort(order, {}, [](const auto* tensor) {
    return std::pair(tensor->second.begin, tensor->second.end);
  });
  std::uint64_t covered = 0;
  for (const auto* tensor : order) {
    const auto& [name, info] = *tensor;
    require(info.end <= data_bytes,
            "{}: {}: wanted its bytes within the data block of {} bytes, found [{}, {}); the file "
            "is cut or broken, fetch it again",
            file, name, data_bytes, info.begin, info.end);
    require(info.begin >= covered, "{}: {}: overlaps another tensor: begins at {}, wanted {}", file,
            name, info.begin, covered);
    require(info.begin == covered, "{}: {}: a hole before it: begins at {}, wanted {}", file, name,
            info.begin, covered);
    covered = info.end;
  }
  require(covered == data_bytes, "{}: wanted {} bytes after the header, found {}", file, covered,
          data_bytes);
}

std::string header_of(const std::vector<TensorSpec>& tensors,
                      const std::map<std::string, std::string>& metadata,
                      std::uint64_t& data_bytes) {
  std::string header = "{";
  if (!metadata.empty()) header += fmt::format("\"__metadata__\":{}", json(metadata).dump());
  data_bytes = 0;
  std::set<std::string_view> names;
  for (const TensorSpec& tensor : tensors) {
    assume(tensor.name != "__metadata__" && names.insert(tensor.name).second,
           "tensor names are unique");
    const std::uint64_t bytes = size_in_bytes(tensor);
    header +=
        fmt::format("{}{}:{{\"dtype\":\"{}\",\"shape\":{},\"data_offsets\":[{},{}]}}",
                    header.size() > 1 ? "," : "", json(tensor.name).dump(), name_of(tensor.dtype),
                    json(tensor.shape).dump(), data_bytes, data_bytes + bytes);
    data_bytes += bytes;
  }
  header += "}";
  // Spaces up to a multiple of 8, so that a mapped tensor is aligned.
  header.resize((header.size() + kAlignment - 1) / kAlignment * kAlignment, ' ');
  return header;
}

}  // namespace

std::string_view name_of(DType dtype) { return row_of(dtype).name; }

std::size_t size_in_bytes(DType dtype) { return row_of(dtype).bytes; }

DType dtype_of(std::string_view name, std::string_view place) {
  const auto* const row = std::ranges::find(kDTypes, name, &DTypeRow::name);
  require(row != kDTypes.end(),
          "{}: dtype: wanted one of BOOL, U8, I8, I16, I32, I64, F16, BF16, F32, F64, found \"{}\"",
          place, name);
  return row->dtype;
}

std::uint64_t size_in_bytes(const TensorSpec& tensor) {
  std::uint64_t bytes = 0;
  assume(count_bytes(tensor.shape, tensor.dtype, bytes), "tensor shapes are possible");
  return bytes;
}

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path) : file_(path) {
  const std::string place = path.string();
  const std::span<const std::byte> bytes = file_.bytes();
  require(bytes.size() >= kLengthBytes, "{}: wanted a header length of 8 bytes, found {} bytes",
          place, bytes.size());
  std::uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, bytes.data(), kLengthBytes);
  require(header_bytes <= kMaxHeaderBytes, "{}: wanted a header of at most {} bytes, found {}",
          place, kMaxHeaderBytes, header_bytes);
  require(header_bytes <= bytes.size() - kLengthBytes,
          "{}: wanted a header of {} bytes, found {} bytes after its length; the file is cut",
          place, header_bytes, bytes.size() - kLengthBytes);
  data_begin_ = kLengthBytes + header_bytes;

  const std::string header_place = place + ": header";
  const json header = parse_json({reinterpret_cast<const char*>(bytes.data()) + kLengthBytes,
                                  static_cast<std::size_t>(header_bytes)},
                                 header_place);
  const JsonObject entries(header, header_place);
  for (const auto& [name, value] : header.items()) {
    if (name == "__metadata__") {
      const JsonObject metadata = entries.object(name);
      for (const auto& item : value.items()) metadata_[item.key()] = metadata.string(item.key());
    } else {
      tensors_.emplace_hint(tensors_.end(), name,
                            read_tensor_info({value, fmt::format("{}: {}", place, name)}));
    }
  }
  check_cover(tensors_, bytes.size() - data_begin_, place);
}

std::span<const std::byte> SafetensorsFile::bytes(std::string_view name) const {
  const auto tensor = tensors_.find(name);
  require(tensor != tensors_.end(), "{}: there is no tensor \"{}\"", path().string(), name);
  const TensorInfo& info = tensor->second;
  return file_.bytes().subspan(data_begin_ + info.begin, info.end - info.begin);
}

SafetensorsWriter::SafetensorsWriter(const std::filesystem::path& path,
                                     const std::vector<TensorSpec>& tensors, bool force,
                                     const std::map<std::string, std::string>& metadata)
    : file_(path, force) {
  const std::string text = header_of(tensors, metadata, data_bytes_);
  const std::uint64_t text_bytes = text.size();
  assume(text_bytes <= kMaxHeaderBytes, "the header is within what readers accept");
  header_.append(reinterpret_cast<const char*>(&text_bytes), kLengthBytes);
  header_ += text;
  file_.write(header_);
  data_begin_ = file_.position();
}

void SafetensorsWriter::write(std::span<const std::byte> bytes) {
  assume(bytes.size() <= data_begin_ + data_bytes_ - file_.position(),
         "no more bytes are written than the header promises");
  file_.write(bytes);
}

void SafetensorsWriter::finish() {
  assume(file_.position() == data_begin_ + data_bytes_,
         "all the bytes that the header promises are written");
  file_.commit();
}

}  // namespace espalier
