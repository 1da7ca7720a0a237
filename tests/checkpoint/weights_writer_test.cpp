// SPDX-License-Identifier: Apache-2.0
#include "espalier/checkpoint/weights_writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "espalier/base/error.h"
#include "espalier/base/json.h"
#include "espalier/checkpoint/model_directory.h"
#include "tests/support.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;
using test::as_bytes;
using test::input_error;
using test::TemporaryDirectory;

std::vector<TensorSpec> four_tensors() {
  return {{.name = "d", .dtype = DType::U8, .shape = {4}},
          {.name = "c", .dtype = DType::U8, .shape = {3}},
          {.name = "b", .dtype = DType::U8, .shape = {9}},
          {.name = "a", .dtype = DType::U8, .shape = {2}}};
}

std::string text_of(const Weights& weights, const char* name) {
  const auto bytes = weights.bytes(name);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

void write_all(const fs::path& folder, std::uint64_t max_file_bytes, std::size_t piece_bytes) {
  WeightsWriter writer(folder, four_tensors(), {.max_file_bytes = max_file_bytes});
  const std::string_view data = "ddddcccbbbbbbbbbaa";
  for (std::size_t first = 0; first < data.size(); first += piece_bytes) {
    writer.write(as_bytes(data.substr(first, piece_bytes)));
  }
  writer.finish();
}

TEST(WeightsWriter, WritesOneFileWhereItFits) {
  const TemporaryDirectory folder;
  write_all(folder.path(), 18, 5);
  EXPECT_TRUE(fs::exists(folder / "model.safetensors"));
  EXPECT_FALSE(fs::exists(folder / "model.safetensors.index.json"));
  EXPECT_EQ(text_of(Weights(folder.path()), "b"), "bbbbbbbbb");
}

// At most 8 bytes a file: d and c make 7, b alone 9 (a tensor is never split), a 2.
TEST(WeightsWriter, CutsShardsBetweenTensorsWhereverThePiecesEnd) {
  for (const std::size_t piece_bytes : {1U, 4U, 5U, 18U}) {
    const TemporaryDirectory folder;
    write_all(folder.path(), 8, piece_bytes);
    const Weights weights(folder.path());
    EXPECT_EQ(weights.files().size(), 3U);
    EXPECT_EQ(text_of(weights, "a"), "aa");
    EXPECT_EQ(text_of(weights, "b"), "bbbbbbbbb");
    EXPECT_EQ(text_of(weights, "c"), "ccc");
    EXPECT_EQ(text_of(weights, "d"), "dddd");
    const nlohmann::json index = read_json(folder / "model.safetensors.index.json");
    EXPECT_EQ(index["metadata"]["total_size"], 18);
    EXPECT_EQ(index["metadata"]["total_parameters"], 18);
    EXPECT_EQ(index["weight_map"]["d"], "model-00001-of-00003.safetensors");
    EXPECT_EQ(index["weight_map"]["b"], "model-00002-of-00003.safetensors");
    EXPECT_EQ(index["weight_map"]["a"], "model-00003-of-00003.safetensors");
  }
}

TEST(WeightsWriter, HoldsToItsPromise) {
  const TemporaryDirectory folder;
  WeightsWriter writer(folder.path(), four_tensors(), {.max_file_bytes = 8});
  writer.write(as_bytes("ddddcccbbbb"));
  EXPECT_THROW(writer.finish(), std::logic_error);
  writer.write(as_bytes("bbbbbaa"));
  EXPECT_THROW(writer.write(as_bytes("x")), std::logic_error);
}

TEST(WeightsWriter, DoesNotReplaceOtherWeights) {
  const TemporaryDirectory folder;
  write_all(folder.path(), 100, 18);
  EXPECT_THAT(input_error([&] { write_all(folder.path(), 100, 18); }),
              ::testing::HasSubstr("exists already"));
}

}  // namespace
}  // namespace espalier
