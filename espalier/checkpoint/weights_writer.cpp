// SPDX-License-Identifier: Apache-2.0
#include "espalier/checkpoint/weights_writer.h"

#include <algorithm>
#include <future>
#include <nlohmann/json.hpp>
#include <utility>

#include "espalier/base/error.h"

namespace espalier {

namespace fs = std::filesystem;

WeightsWriter::WeightsWriter(fs::path folder, std::vector<TensorSpec> tensors,
                             const WeightsWriterOptions& options)
    : folder_(std::move(folder)),
      tensors_(std::move(tensors)),
      shards_(1),
      with_checksums_(options.checksums) {
  for (const TensorSpec& tensor : tensors_) {
    const std::uint64_t bytes = size_in_bytes(tensor);
    const std::size_t next = shards_.back().last;
    if (shards_.back().bytes > 0 && shards_.back().bytes + bytes > options.max_file_bytes) {
      shards_.push_back({.first = next, .last = next});
    }
    shards_.back().last = next + 1;
    shards_.back().bytes += bytes;
  }
  next_shard();
}

fs::path WeightsWriter::name_of_shard(std::size_t shard) const {
  if (shards_.size() == 1) return "model.safetensors";
  return fmt::format("model-{:05}-of-{:05}.safetensors", shard + 1, shards_.size());
}

void WeightsWriter::next_shard() {
  if (file_) finish_shard();
  const Shard& shard = shards_[opened_];
  const auto begin = tensors_.begin();
  file_ = std::make_unique<SafetensorsWriter>(
      folder_ / name_of_shard(opened_),
      std::vector<TensorSpec>(begin + static_cast<std::ptrdiff_t>(shard.first),
                              begin + static_cast<std::ptrdiff_t>(shard.last)));
  left_in_shard_ = shard.bytes;
  ++opened_;
  if (!with_checksums_) return;
  hash_ = std::make_unique<Sha256>();
  hash_->update(file_->header());
}

void WeightsWriter::finish_shard() {
  file_->finish();
  if (hash_) checksums_[name_of_shard(opened_ - 1).string()] = hash_->finish();
}

void WeightsWriter::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    if (left_in_shard_ == 0) {
      assume(opened_ < shards_.size(), "no more bytes are written than the tensors have");
      next_shard();
    }
    const std::size_t count = std::min<std::size_t>(bytes.size(), left_in_shard_);
    const auto piece = bytes.first(count);
    std::future<void> hashed;  // takes as long as writing does: the two run side by side
    if (hash_) hashed = std::async(std::launch::async, [&] { hash_->update(piece); });
    file_->write(piece);
    if (hashed.valid()) hashed.get();
    left_in_shard_ -= count;
    bytes = bytes.subspan(count);
  }
}

void WeightsWriter::finish() {
  assume(opened_ == shards_.size() && left_in_shard_ == 0, "all tensors are written");
  finish_shard();
  if (shards_.size() > 1) write_index();
}

void WeightsWriter::write_index() {
  std::uint64_t bytes = 0;
  std::uint64_t parameters = 0;
  auto weight_map = nlohmann::json::object();
  for (std::size_t shard = 0; shard < shards_.size(); ++shard) {
    for (std::size_t i = shards_[shard].first; i < shards_[shard].last; ++i) {
      weight_map[tensors_[i].name] = name_of_shard(shard).string();
      parameters += size_in_bytes(tensors_[i]) / size_in_bytes(tensors_[i].dtype);
    }
    bytes += shards_[shard].bytes;
  }
  const nlohmann::json index = {
      {"metadata", {{"total_parameters", parameters}, {"total_size", bytes}}},
      {"weight_map", weight_map}};
  constexpr const char* kName = "model.safetensors.index.json";
  const std::string text = index.dump(2) + "\n";
  write_file(folder_ / kName, text, false);
  if (!with_checksums_) return;
  Sha256 hash;
  hash.update(text);
  checksums_[kName] = hash.finish();
}

}  // namespace espalier
