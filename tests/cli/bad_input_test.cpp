// SPDX-License-Identifier: Apache-2.0
// What is broken from outside ends in exit code 2, a message that names the file and the place, and
// an output folder that is as it was.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <nlohmann/json.hpp>

#include "espalier/base/files.h"
#include "tests/png.h"
#include "tests/support.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;
using test::CommandResult;
using test::SmallDisk;
using test::TemporaryDirectory;
using test::write_quickly;
using testing::AllOf;
using testing::HasSubstr;

/// A checkpoint of our own to break, a picture, and a folder in which nothing may change.
class BadInput : public testing::Test {
 protected:
  BadInput() {
    fs::copy(test::fixture("models/gqa_tied"), model_);
    fs::create_directory(out_);
    write_quickly(out_ / "kept.txt", "already here");
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
    auto json = nlohmann::json::parse(read_file(model_ / name));
    edit(json);
    write_quickly(model_ / name, json.dump());
  }

  /// Rewrites the header of the weights and keeps their data.
  void edit_header(const std::function<void(nlohmann::json&)>& edit) {
    const std::string bytes = read_file(model_ / "model.safetensors");
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
    write_quickly(model_ / "model.safetensors", changed + text + bytes.substr(8 + old));
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
  std::string bytes = read_file(model_ / "model.safetensors");
  bytes[7] = '\x7F';
  write_quickly(model_ / "model.safetensors", bytes);
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
  write_quickly(model_ / "empty.png", "");
  expect_refused({"empty.png", "empty"}, model_ / "empty.png");
}

TEST_F(BadInput, ATruncatedPicture) {
  write_quickly(model_ / "half.png", read_file(model_ / "wide.png").substr(0, 3000));
  expect_refused({"half.png"}, model_ / "half.png");
}

TEST_F(BadInput, APictureWithoutPixels) {
  write_quickly(model_ / "zero.png", test::png_bytes(0, 0, 0));
  expect_refused({"zero.png"}, model_ / "zero.png");
}

TEST_F(BadInput, AnAbsurdlyWidePicture) {
  write_quickly(model_ / "line.png", test::png_bytes(401, 2, 2));
  expect_refused({"line.png", "401", "200"}, model_ / "line.png");
}

TEST_F(BadInput, APictureThatIsABomb) {
  write_quickly(model_ / "bomb.png", test::png_bytes(100000, 100000, 0));
  expect_refused({"bomb.png", "100000"}, model_ / "bomb.png");
}

TEST_F(BadInput, ASpecialTokenInTheText) {
  const CommandResult result = test::run_espalier({"trace", model_, "--prompt", "a <|im_end|> b",
                                                   "--out", out_ / "trace.safetensors", "--quiet"});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.err, AllOf(HasSubstr("<|im_end|>"), HasSubstr("plain")));
}

TEST_F(BadInput, AnOutputThatExists) {
  write_quickly(out_ / "trace.safetensors", "precious");
  expect_refused({"trace.safetensors", "exists", "--force"});
}

/// A command line that is refused before anything is opened, and what the message must name.
struct BadCommandLine {
  std::vector<std::string> arguments;
  std::vector<std::string> parts;
};

TEST(BadCommandLines, EndInAMessageInOurWords) {
  const std::vector<BadCommandLine> lines = {
      {{},
       {"wanted a command",
        "inspect, init, generate, trace, probe, rank, prune, verify, finetune, merge, report, "
        "synth or eval",
        "espalier --help"}},
      {{"insp"}, {"unknown command insp (did you mean inspect?)", "espalier --help"}},
      {{"genrate"}, {"unknown command genrate (did you mean generate?)"}},
      {{"help"}, {"unknown command help; wanted inspect, init"}},
      {{"-v"}, {"unknown option -v (did you mean --version?)"}},
      {{"init"}, {"OUT is required", "espalier init --help"}},
      {{"inspect", "m", "--jason"}, {"--jason (did you mean --json?)", "espalier inspect --help"}},
      {{"generate", "m", "--temp=3"}, {"unknown option --temp (did you mean --temperature?)"}},
      {{"generate", "m", "--promt", "x"}, {"--promt (did you mean --prompt?)"}},
      {{"generate", "m", "--zzz", "x"}, {"unknown option --zzz; see espalier generate --help"}},
      {{"generate", "m", "--prompt", "What", "is", "it?"}, {"surplus argument is", "quotes"}},
      {{"generate", "m", "--prompt"}, {"--prompt: wanted a value, found none"}},
      {{"generate", "m", "--prompt", "x", "--prompt", "y"},
       {"--prompt: wanted once, found 2 times", "espalier generate --help"}},
      {{"inspect", "m", "--json=3"}, {"--json takes no value", "espalier inspect --help"}},
      {{"init", "m", "--preset", "tiny", "--seed", "-1"}, {"--seed: wanted a whole", "found -1"}},
      {{"trace", "m", "--prompt", "x", "--out", "o", "--max-new-tokens", "3.5"},
       {"--max-new-tokens: wanted a whole number from 0 to 1048576, found 3.5"}},
      {{"generate", "m", "--prompt", "x", "--temperature", "hot"},
       {"--temperature: wanted a number, found hot"}},
      {{"generate", "m", "--prompt", "x", "--dtype", "float16"},
       {"--dtype: wanted float32 or bfloat16, found float16"}},
      {{"generate", "m", "--prompt", "x", "--greedy", "--sample"},
       {"--greedy and --sample exclude each other"}},
      {{"generate", "m", "--prompt", "x", "--greedy", "--top-p", "0.5"},
       {"--greedy and --top-p exclude each other"}}};
  for (const auto& [arguments, parts] : lines) {
    const CommandResult result = test::run_espalier(arguments);
    EXPECT_EQ(result.exit_code, 2) << result.err;
    EXPECT_EQ(result.out, "");
    for (const auto& part : parts) EXPECT_THAT(result.err, HasSubstr(part));
  }
}

TEST_F(BadInput, AnOptionOfADrawWhereNothingIsDrawn) {
  edit_json("generation_config.json", [](auto& json) { json["do_sample"] = false; });
  const auto generate = [&](std::vector<std::string> options) {
    options.insert(options.begin(),
                   {"generate", model_, "--prompt", "Hi", "--max-new-tokens", "1"});
    return test::run_espalier(options);
  };
  for (const char* option : {"--temperature", "--top-k", "--top-p"}) {
    const CommandResult refused = generate({option, "1"});
    EXPECT_EQ(refused.exit_code, 2);
    EXPECT_EQ(refused.out, "");
    EXPECT_THAT(refused.err,
                AllOf(HasSubstr(option), HasSubstr("generation_config"), HasSubstr("--sample")));
    EXPECT_EQ(generate({option, "1", "--sample"}).exit_code, 0);
  }
  EXPECT_EQ(generate({"--seed", "3"}).exit_code, 0);
}

TEST_F(BadInput, AnOutputThatIsAFolder) {
  fs::create_directory(out_ / "trace.safetensors");
  expect_refused({"trace.safetensors", "wanted a file", "folder"});
}

TEST_F(BadInput, AStandardOutputThatIsFull) {
  for (const char* rest : {"inspect \"$1\"", "generate \"$1\" --prompt Hi --max-new-tokens 1"}) {
    const CommandResult result =
        test::run_command({"/bin/sh", "-c", std::string("exec \"$0\" ") + rest + " > /dev/full",
                           ESPALIER_BIN "/espalier", model_});
    EXPECT_EQ(result.exit_code, 2);
    EXPECT_THAT(result.err, AllOf(HasSubstr("stdout"), HasSubstr("full")));
  }
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

TEST_F(BadInput, AFullDiskLeavesNothingBehind) {
  const SmallDisk disk(out_, "size=64k");
  if (!disk.mounted()) GTEST_SKIP() << "needs the right to mount a small disk";
  expect_refused({"trace.safetensors", "No space left"});
  const CommandResult init =
      test::run_espalier({"init", out_ / "m", "--preset", "tiny", "--quiet"});
  EXPECT_EQ(init.exit_code, 2);
  EXPECT_THAT(init.err, HasSubstr("No space left"));
  EXPECT_TRUE(test::snapshot(out_).empty());
}

TEST_F(BadInput, AReadOnlyDiskIsNamed) {
  const SmallDisk disk(out_, "size=64k");
  if (!disk.mounted() || !disk.make_read_only()) {
    GTEST_SKIP() << "needs the right to mount a small disk";
  }
  expect_refused({"trace.safetensors", "Read-only"});
  const CommandResult init =
      test::run_espalier({"init", out_ / "m", "--preset", "tiny", "--quiet"});
  EXPECT_EQ(init.exit_code, 2);
  EXPECT_THAT(init.err, HasSubstr("Read-only"));
}

}  // namespace
}  // namespace espalier
