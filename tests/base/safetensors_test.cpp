// SPDX-License-Identifier: Apache-2.0
#include "espalier/base/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <nlohmann/json.hpp>

#include "espalier/base/error.h"
#include "tests/support.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using test::as_bytes;
using test::input_error;
using test::TemporaryDirectory;
using test::write_quickly;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

/// A file's bytes: any header length, header and data, however wrong.
std::string raw_file(std::uint64_t header_bytes, std::string_view header, std::string_view data) {
  std::string text(8, '\0');
  std::memcpy(text.data(), &header_bytes, 8);
  return text.append(header).append(data);
}

std::string raw_file(std::string_view header, std::size_t data_bytes) {
  return raw_file(header.size(), header, std::string(data_bytes, 'd'));
}

std::string error_for(const std::string& file) {
  const TemporaryDirectory folder;
  const fs::path path = folder / "w.safetensors";
  write_quickly(path, file);
  const std::string message = input_error([&] { SafetensorsFile opened(path); });
  EXPECT_THAT(message, StartsWith(path.string()));
  return message;
}

std::string entry(std::string_view name, std::string_view dtype, std::string_view shape,
                  std::string_view offsets) {
  return fmt::format(R"("{}":{{"dtype":"{}","shape":{},"data_offsets":{}}})", name, dtype, shape,
                     offsets);
}

TEST(Safetensors, ReadsWhatItWrote) {
  const TemporaryDirectory folder;
  const fs::path path = folder / "w.safetensors";
  SafetensorsWriter writer(path,
                           {{.name = "b\"é", .dtype = DType::F32, .shape = {2, 3}},
                            {.name = "a", .dtype = DType::BF16, .shape = {2}},
                            {.name = "scalar", .dtype = DType::I64, .shape = {}},
                            {.name = "empty", .dtype = DType::U8, .shape = {0, 5}}},
                           false, {{"format", "pt"}, {"k", "v"}});
  const std::string data =
      "0123456789abcdefghijklmn"
      "OPQR"
      "stuvwxyz";
  writer.write(as_bytes(data).first(5));
  writer.write(as_bytes(data).subspan(5));
  EXPECT_FALSE(fs::exists(path));
  writer.finish();

  const SafetensorsFile file(path);
  EXPECT_EQ(file.tensors().size(), 4U);
  EXPECT_EQ(file.tensors().at("b\"é"),
            (TensorInfo{.dtype = DType::F32, .shape = {2, 3}, .begin = 0, .end = 24}));
  EXPECT_EQ(file.tensors().at("a"),
            (TensorInfo{.dtype = DType::BF16, .shape = {2}, .begin = 24, .end = 28}));
  EXPECT_EQ(file.tensors().at("scalar").end, 36U);
  EXPECT_TRUE(file.bytes("empty").empty());
  EXPECT_TRUE(std::ranges::equal(file.bytes("a"), as_bytes("OPQR")));
  EXPECT_EQ(file.metadata(), (std::map<std::string, std::string>{{"format", "pt"}, {"k", "v"}}));
  EXPECT_THAT(input_error([&] { static_cast<void>(file.bytes("c")); }),
              HasSubstr("there is no tensor \"c\""));
}

TEST(Safetensors, AlignsTheDataToEightBytes) {
  for (std::size_t length = 1; length <= 8; ++length) {
    const TemporaryDirectory folder;
    SafetensorsWriter writer(
        folder / "w", {{.name = std::string(length, 'n'), .dtype = DType::U8, .shape = {1}}});
    writer.write(as_bytes("x"));
    writer.finish();
    const SafetensorsFile file(folder / "w");
    const auto address =
        reinterpret_cast<std::uintptr_t>(file.bytes(std::string(length, 'n')).data());
    EXPECT_EQ(address % 8, 0U);
  }
}

TEST(Safetensors, ReadsAFileWithoutTensorsAndOneWithPaddingAndNoMetadata) {
  const TemporaryDirectory folder;
  write_quickly(folder / "none", raw_file("{}", 0));
  EXPECT_TRUE(SafetensorsFile(folder / "none").tensors().empty());
  write_quickly(folder / "one", raw_file("{" + entry("a", "U8", "[3]", "[0,3]") + "}   ", 3));
  const SafetensorsFile file(folder / "one");
  EXPECT_EQ(file.bytes("a").size(), 3U);
  EXPECT_TRUE(file.metadata().empty());
}

TEST(Safetensors, KnowsNamesAndSizesOfItsTypes) {
  const std::vector<std::pair<std::string, std::size_t>> types{
      {"BOOL", 1}, {"U8", 1},  {"I8", 1},   {"I16", 2}, {"I32", 4},
      {"I64", 8},  {"F16", 2}, {"BF16", 2}, {"F32", 4}, {"F64", 8}};
  for (const auto& [name, bytes] : types) {
    const DType dtype = dtype_of(name, "f");
    EXPECT_EQ(name_of(dtype), name);
    EXPECT_EQ(size_in_bytes(dtype), bytes);
  }
  EXPECT_EQ(size_in_bytes(TensorSpec{.name = "a", .dtype = DType::F32, .shape = {2, 3}}), 24U);
  for (const char* name : {"F8_E4M3", "F8_E5M2", "U16", "F4", "bf16", "C64", ""}) {
    EXPECT_THAT(input_error([&] { static_cast<void>(dtype_of(name, "the place")); }),
                AllOf(StartsWith("the place: dtype: wanted one of BOOL"),
                      HasSubstr(fmt::format("found \"{}\"", name))));
  }
}

TEST(Safetensors, RefusesABrokenHeaderLength) {
  EXPECT_THAT(error_for(""), HasSubstr("header length of 8 bytes, found 0"));
  EXPECT_THAT(error_for("1234567"), HasSubstr("header length of 8 bytes, found 7"));
  EXPECT_THAT(error_for(raw_file(10, "{}", "")),
              HasSubstr("wanted a header of 10 bytes, found 2 bytes"));
  EXPECT_THAT(error_for(raw_file(100'000'001, "{}", "")),
              HasSubstr("at most 100000000 bytes, found 100000001"));
  EXPECT_THAT(error_for(raw_file(~0ULL, "{}", "")), HasSubstr("at most 100000000 bytes"));
}

TEST(Safetensors, RefusesAHeaderThatIsNoJsonObject) {
  EXPECT_THAT(error_for(raw_file("{\"a\": ", 0)), HasSubstr("header: line 1, column"));
  EXPECT_THAT(error_for(raw_file("[]", 0)), HasSubstr("header: wanted an object, found []"));
  EXPECT_THAT(error_for(raw_file("", 0)), HasSubstr("header: line 1"));
  EXPECT_THAT(error_for(raw_file(R"({"a": 1})", 0)), HasSubstr("a: wanted an object, found 1"));
  EXPECT_THAT(error_for(raw_file(R"({"__metadata__": {"k": 1}})", 0)),
              HasSubstr("__metadata__: k: wanted a text, found 1"));
  EXPECT_THAT(error_for(raw_file(std::string(200, '['), 0)), HasSubstr("nested deeper"));
}

TEST(Safetensors, RefusesTheSameNameTwice) {
  const std::string tensor = entry("a", "U8", "[1]", "[0,1]");
  EXPECT_THAT(error_for(raw_file("{" + tensor + "," + tensor + "}", 1)),
              HasSubstr("\"a\" is there twice"));
}

struct BadEntry {
  const char* dtype;
  const char* shape;
  const char* offsets;
  const char* wanted_in_message;
};

TEST(Safetensors, RefusesABrokenTensorAndNamesIt) {
  for (const BadEntry& bad : std::vector<BadEntry>{
           {"F8_E4M3", "[4]", "[0,4]", "found \"F8_E4M3\""},
           {"U8", "[-1]", "[0,4]", "shape: wanted sides from 0"},
           {"U8", "[-2,-2]", "[0,4]", "shape: wanted sides from 0"},
           {"U8", "[0,-1]", "[0,0]", "shape: wanted sides from 0"},
           {"U8", "[4294967296,4294967296]", "[0,0]", "shape: wanted sides from 0 whose product"},
           {"F32", "[4611686018427387905]", "[0,4]", "shape: wanted sides from 0 whose product"},
           {"U8", "[9223372036854775808]", "[0,4]", "shape: wanted a list of integers"},
           {"U8", "[2.0,2]", "[0,4]", "shape: wanted a list of integers"},
           {"U8", "4", "[0,4]", "shape: wanted a list of integers"},
           {"U8", "[4]", "[4,0]", "wanted [begin, end] with 0 <= begin <= end, found [4,0]"},
           {"U8", "[4]", "[-4,0]", "wanted [begin, end]"},
           {"U8", "[4]", "[0]", "wanted [begin, end]"},
           {"U8", "[4]", "[0,4,8]", "wanted [begin, end]"},
           {"U8", "[4]", "[0,5]", "wanted 4 bytes for shape [4] of U8, found 5"},
           {"BF16", "[4]", "[0,4]", "wanted 8 bytes for shape [4] of BF16, found 4"},
           {"U8", "[8]", "[0,8]", "within the data block of 4 bytes, found [0, 8)"},
           {"U8", "[4]", "[1,5]", "within the data block of 4 bytes, found [1, 5)"},
           {"U8", "[3]", "[1,4]", "a hole before it: begins at 1, wanted 0"},
           {"U8", "[3]", "[0,3]", "wanted 3 bytes after the header, found 4"}}) {
    const std::string header =
        fmt::format("{{{}}}", entry("the.tensor", bad.dtype, bad.shape, bad.offsets));
    EXPECT_THAT(error_for(raw_file(header, 4)), HasSubstr(bad.wanted_in_message)) << header;
  }
  EXPECT_THAT(error_for(raw_file("{" + entry("the.tensor", "U8", "[3]", "[1,4]") + "}", 4)),
              HasSubstr("w.safetensors: the.tensor: "));
}

TEST(Safetensors, RefusesMissingAndUnknownKeysOfATensor) {
  EXPECT_THAT(error_for(raw_file(R"({"a":{"dtype":"U8","shape":[0]}})", 0)),
              HasSubstr("a: the key \"data_offsets\" is missing"));
  EXPECT_THAT(
      error_for(raw_file(R"({"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0],"x":1}})", 0)),
      HasSubstr("a: unknown keys"));
}

TEST(Safetensors, RefusesOverlapsAndHoles) {
  const auto two = [](std::string_view first, std::string_view second) {
    return "{" + entry("a", "U8", "[2]", first) + "," + entry("b", "U8", "[2]", second) + "}";
  };
  const TemporaryDirectory folder;
  write_quickly(folder / "good", raw_file(two("[2,4]", "[0,2]"), 4));
  EXPECT_EQ(SafetensorsFile(folder / "good").tensors().size(), 2U);
  EXPECT_THAT(error_for(raw_file(two("[0,2]", "[1,3]"), 3)),
              HasSubstr("b: overlaps another tensor: begins at 1, wanted 2"));
  EXPECT_THAT(error_for(raw_file(two("[0,2]", "[0,2]"), 2)), HasSubstr("overlaps another tensor"));
  EXPECT_THAT(error_for(raw_file(two("[0,2]", "[3,5]"), 5)), HasSubstr("b: a hole before it"));
}

TEST(Safetensors, EveryCutOfAFileIsRefused) {
  const TemporaryDirectory folder;
  SafetensorsWriter writer(folder / "w", {{.name = "a", .dtype = DType::F32, .shape = {3}},
                                          {.name = "b", .dtype = DType::U8, .shape = {5}}});
  writer.write(as_bytes("0123456789abcdefg"));
  writer.finish();
  const std::string whole = read_file(folder / "w");
  for (std::size_t length = 0; length < whole.size(); ++length) {
    error_for(whole.substr(0, length));
  }
  error_for(whole + "x");
}

TEST(SafetensorsWriter, HoldsToItsPromise) {
  const TemporaryDirectory folder;
  {
    SafetensorsWriter writer(folder / "w", {{.name = "a", .dtype = DType::U8, .shape = {3}}});
    writer.write(as_bytes("12"));
    EXPECT_THROW(writer.finish(), std::logic_error);
    EXPECT_THROW(writer.write(as_bytes("34")), std::logic_error);
  }
  EXPECT_TRUE(fs::is_empty(folder.path()));
  EXPECT_THROW(SafetensorsWriter(folder / "w", {{.name = "a", .dtype = DType::U8, .shape = {3}},
                                                {.name = "a", .dtype = DType::U8, .shape = {3}}}),
               std::logic_error);
  EXPECT_THROW(SafetensorsWriter(folder / "w", {{.name = "a", .dtype = DType::U8, .shape = {-1}}}),
               std::logic_error);
  EXPECT_TRUE(fs::is_empty(folder.path()));
}

TEST(SafetensorsWriter, ReplacesOnlyWithForce) {
  const TemporaryDirectory folder;
  write_quickly(folder / "w", "old");
  EXPECT_THAT(input_error([&] { SafetensorsWriter(folder / "w", {}); }),
              HasSubstr("exists already"));
  SafetensorsWriter writer(folder / "w", {}, true);
  writer.finish();
  EXPECT_TRUE(SafetensorsFile(folder / "w").tensors().empty());
}

}  // namespace
}  // namespace espalier
