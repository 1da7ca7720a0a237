// SPDX-License-Identifier: Apache-2.0
// What is broken from outside ends in exit code 2, a message that names the file and the place, and
// an output folder that is as it was.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "tests/cli/png.h"
#include "tests/support.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;
using test::CommandResult;
using test::TemporaryDirectory;
using testing::AllOf;
using testing::HasSubstr;

std::string slurp(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

void spill(const fs::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

/// A checkpoint of our own to break, a picture, and a folder in which nothing may change.
class BadInput : public testing::Test {
 protected:
  BadInput() {
    fs::copy(test::fixture("models/gqa_tied"), model_);
    fs::create_directory(out_);
    spill(out_ / "kept.txt", "already here");
  }

  CommandResult trace(const fs::path& picture) {
    return test::run_espalier({"trace", model_, "--image", picture, "--prompt", "Hi", "--out",
                               out_ / "trace.safetensors", "--quiet"});
  }

  /// Runs `trace` and checks how it fails. \param parts what the message must name
  void expect_refused(const std::vector<std::string>& parts, const fs::path& picture) {
    const auto before = test::snapshot(out_);
    const CommandResult result = trace(picture);
    EXPECT_EQ(result.exit_code, 2) << result.err;
    for (const auto& part : parts) EXPECT_THAT(result.err, HasSubstr(part));
    EXPECT_EQ(result.out, "");
    EXPECT_EQ(test::snapshot(out_), before);
  }
  void expect_refused(const std::vector<std::string>& parts) {
    expect_refused(parts, model_ / "wide.png");
  }

  void edit_json(const std::string& name, const std::function<void(nlohmann::json&)>& edit) {
    auto json = nlohmann::json::parse(slurp(model_ / name));
    edit(json);
    spill(model_ / name, json.dump());
  }

  /// Rewrites the header of the weights and keeps their data.
  void edit_header(const std::function<void(nlohmann::json&)>& edit) {
    const std::string bytes = slurp(model_ / "model.safetensors");
    std::uint64_t length = 0;
    std::memcpy(&length, bytes.data(), 8);
    auto header = nlohmann::json::parse(bytes.substr(8, length));
    edit(header);
    std::string text = header.dump();
    text.resize((text.size() + 7) / 8 * 8, ' ');
    length = text.size();
    std::string changed(8, '\0');
    std::memcpy(changed.data(), &length, 8);
    std::uint64_t old = 0;
    std::memcpy(&old, bytes.data(), 8);
    spill(model_ / "model.safetensors", changed + text + bytes.substr(8 + old));
  }

  const TemporaryDirectory scratch_;
  const fs::path model_ = scratch_ / "model";
  const fs::path out_ = scratch_ / "out";
};

constexpr const char* kNorm = "model.language_model.norm.weight";

TEST_F(BadInput, TheFixtureItselfIsFine) {
  const CommandResult result = trace(model_ / "wide.png");
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_TRUE(fs::exists(out_ / "trace.safetensors"));
}

TEST_F(BadInput, TruncatedWeights) {
  fs::resize_file(model_ / "model.safetensors", 100000);
  expect_refused({"model.safetensors"});
}

TEST_F(BadInput, OverlappingWeights) {
  edit_header([](auto& header) { header[kNorm]["data_offsets"] = {4, 4 + 48 * 4}; });
  expect_refused({"model.safetensors", kNorm});
}

TEST_F(BadInput, WeightsBeyondTheFile) {
  std::string last;
  edit_header([&](auto& header) {
    std::uint64_t end = 0;
    for (const auto& [name, entry] : header.items()) {
      if (name == "__metadata__" || entry["data_offsets"][1] < end) continue;
      end = entry["data_offsets"][1];
      last = name;
    }
    header[last]["shape"][0] = 1 << 20;
    header[last]["data_offsets"][1] = 1ULL << 40;
  });
  expect_refused({"model.safetensors", last});
}

TEST_F(BadInput, HugeHeader) {
  std::string bytes = slurp(model_ / "model.safetensors");
  bytes[7] = '\x7F';
  spill(model_ / "model.safetensors", bytes);
  expect_refused({"model.safetensors", "header"});
}

TEST_F(BadInput, WeightsOfAnUnknownType) {
  edit_header([](auto& header) { header[kNorm]["dtype"] = "F8_E4M3"; });
  expect_refused({"model.safetensors", kNorm, "F8_E4M3"});
}

TEST_F(BadInput, WeightsOfAnotherTypeThanDeclared) {
  edit_header([](auto& header) { header[kNorm]["dtype"] = "I32"; });
  expect_refused({kNorm, "I32"});
}

TEST_F(BadInput, AMissingTensor) {
  edit_header([](auto& header) {
    auto entry = header[kNorm];
    header.erase(kNorm);
    header["surplus"] = entry;
  });
  expect_refused({kNorm});
}

TEST_F(BadInput, AnIndexThatNamesAMissingShard) {
  fs::remove_all(model_);
  fs::copy(test::fixture("models/sharded_bf16"), model_);
  fs::remove(model_ / "model-00002-of-00003.safetensors");
  expect_refused({"model-00002-of-00003.safetensors"}, model_ / "small.png");
}

TEST_F(BadInput, AMissingConfigurationKey) {
  edit_json("config.json", [](auto& json) { json["text_config"].erase("head_dim"); });
  expect_refused({"config.json", "text_config", "head_dim"});
}

TEST_F(BadInput, AnUnknownConfigurationKey) {
  edit_json("config.json", [](auto& json) { json["text_config"]["logit_softcap"] = 30.0; });
  expect_refused({"config.json", "logit_softcap"});
}

TEST_F(BadInput, AnotherRopeType) {
  edit_json("config.json",
            [](auto& json) { json["text_config"]["rope_scaling"]["rope_type"] = "yarn"; });
  expect_refused({"config.json", "yarn", "default"});
}

TEST_F(BadInput, ChunkedMRope) {
  edit_json("config.json",
            [](auto& json) { json["text_config"]["rope_scaling"]["mrope_interleaved"] = false; });
  expect_refused({"config.json", "mrope_interleaved"});
}

TEST_F(BadInput, AnotherArchitecture) {
  edit_json("config.json", [](auto& json) {
    json["model_type"] = "qwen2_vl";
    json["architectures"] = {"Qwen2VLForConditionalGeneration"};
  });
  expect_refused({"config.json", "qwen2_vl", "qwen3_vl"});
}

TEST_F(BadInput, TieFlagsThatDisagree) {
  edit_json("config.json", [](auto& json) { json["text_config"]["tie_word_embeddings"] = false; });
  expect_refused({"config.json", "tie_word_embeddings"});
}

TEST_F(BadInput, UnsortedDeepStackIndexes) {
  edit_json("config.json", [](auto& json) {
    json["vision_config"]["deepstack_visual_indexes"] = {1, 0, 2};
  });
  expect_refused({"config.json", "deepstack_visual_indexes"});
}

TEST_F(BadInput, AListOfAnotherLengthThanTheLayers) {
  edit_json("config.json", [](auto& json) {
    json["text_config"]["layer_types"] = std::vector<std::string>(9, "full_attention");
  });
  expect_refused({"config.json", "layer_types", "9"});
}

TEST_F(BadInput, MissingMerges) {
  fs::remove(model_ / "merges.txt");
  expect_refused({"merges.txt"});
}

TEST_F(BadInput, AnotherChatTemplate) {
  edit_json("chat_template.json", [](auto& json) { json["chat_template"] = "{{ messages }}"; });
  expect_refused({"chat_template"});
}

TEST_F(BadInput, AMissingPicture) { expect_refused({"nowhere.png"}, model_ / "nowhere.png"); }

TEST_F(BadInput, AnEmptyPicture) {
  spill(model_ / "empty.png", "");
  expect_refused({"empty.png", "empty"}, model_ / "empty.png");
}

TEST_F(BadInput, ATruncatedPicture) {
  spill(model_ / "half.png", slurp(model_ / "wide.png").substr(0, 3000));
  expect_refused({"half.png"}, model_ / "half.png");
}

TEST_F(BadInput, APictureWithoutPixels) {
  spill(model_ / "zero.png", test::png_bytes(0, 0, 0));
  expect_refused({"zero.png"}, model_ / "zero.png");
}

TEST_F(BadInput, AnAbsurdlyWidePicture) {
  spill(model_ / "line.png", test::png_bytes(401, 2, 2));
  expect_refused({"line.png", "401", "200"}, model_ / "line.png");
}

TEST_F(BadInput, APictureThatIsABomb) {
  spill(model_ / "bomb.png", test::png_bytes(100000, 100000, 0));
  expect_refused({"bomb.png", "100000"}, model_ / "bomb.png");
}

TEST_F(BadInput, ASpecialTokenInTheText) {
  const CommandResult result = test::run_espalier({"trace", model_, "--prompt", "a <|im_end|> b",
                                                   "--out", out_ / "trace.safetensors", "--quiet"});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.err, AllOf(HasSubstr("<|im_end|>"), HasSubstr("plain")));
}

TEST_F(BadInput, AnOutputThatExists) {
  spill(out_ / "trace.safetensors", "precious");
  expect_refused({"trace.safetensors", "exists", "--force"});
}

TEST_F(BadInput, AnUnknownOptionGetsASuggestion) {
  const CommandResult result = test::run_espalier({"inspect", model_, "--jason"});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.err, AllOf(HasSubstr("--jason"), HasSubstr("--json")));
}

TEST_F(BadInput, AnUnknownCommandGetsASuggestion) {
  const CommandResult result = test::run_espalier({"generat"});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.err, AllOf(HasSubstr("generat"), HasSubstr("generate")));
}

TEST_F(BadInput, InspectNamesEveryProblem) {
  edit_json("config.json", [](auto& json) { json["text_config"].erase("head_dim"); });
  fs::remove(model_ / "merges.txt");
  fs::remove(model_ / "preprocessor_config.json");
  const CommandResult result = test::run_espalier({"inspect", model_});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.out, AllOf(HasSubstr("head_dim"), HasSubstr("merges.txt"),
                                HasSubstr("preprocessor_config.json")));
}

TEST_F(BadInput, InitOverAnExistingFolder) {
  const auto before = test::snapshot(out_);
  const CommandResult result = test::run_espalier({"init", out_, "--preset", "tiny"});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.err, AllOf(HasSubstr("exists"), HasSubstr("--force")));
  EXPECT_EQ(test::snapshot(out_), before);
}

TEST_F(BadInput, InitWithAnUnknownPreset) {
  const CommandResult result = test::run_espalier({"init", out_ / "m", "--preset", "3b"});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.err, AllOf(HasSubstr("3b"), HasSubstr("2b")));
  EXPECT_FALSE(fs::exists(out_ / "m"));
}

/// A small file system of its own over the output folder; needs root.
class SmallDisk : public BadInput {
 protected:
  void mount_tmpfs(unsigned long flags, const char* options) {
    if (geteuid() != 0 || mount("tmpfs", out_.c_str(), "tmpfs", flags, options) != 0) {
      GTEST_SKIP() << "mounting a tmpfs needs root";
    }
    mounted_ = true;
  }
  ~SmallDisk() override {
    if (mounted_) umount(out_.c_str());
  }
  bool mounted_ = false;
};

TEST_F(SmallDisk, AFullDiskLeavesNothingBehind) {
  mount_tmpfs(0, "size=64k");
  if (IsSkipped()) return;
  expect_refused({"trace.safetensors", "No space left"});
  const CommandResult init =
      test::run_espalier({"init", out_ / "m", "--preset", "tiny", "--quiet"});
  EXPECT_EQ(init.exit_code, 2);
  EXPECT_THAT(init.err, HasSubstr("No space left"));
  EXPECT_TRUE(test::snapshot(out_).empty());
}

TEST_F(SmallDisk, AReadOnlyDiskIsNamed) {
  mount_tmpfs(MS_RDONLY, "");
  if (IsSkipped()) return;
  expect_refused({"trace.safetensors", "Read-only"});
  const CommandResult init =
      test::run_espalier({"init", out_ / "m", "--preset", "tiny", "--quiet"});
  EXPECT_EQ(init.exit_code, 2);
  EXPECT_THAT(init.err, HasSubstr("Read-only"));
}

}  // namespace
}  // namespace espalier
