// SPDX-License-Identifier: Apache-2.0
// Answers of several samples made together.
#include "espalier/model/generate.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>

#include <set>

#include "tests/model/fixture.h"
#include "tests/support.h"

namespace espalier {
namespace {

using Answers = std::vector<std::vector<std::int64_t>>;

/// Samples packed one after another.
ModelInput pack(const std::vector<ModelInput>& samples) {
  ModelInput packed;
  std::vector<at::Tensor> ids;
  std::vector<at::Tensor> positions;
  std::vector<at::Tensor> pixels;
  std::int64_t begin = 0;
  for (const ModelInput& sample : samples) {
    ids.push_back(sample.input_ids);
    positions.push_back(sample.position_ids);
    if (sample.pixel_values.defined()) pixels.push_back(sample.pixel_values);
    packed.grids.insert(packed.grids.end(), sample.grids.begin(), sample.grids.end());
    packed.segments.push_back({.begin = begin, .end = begin + sample.input_ids.size(0)});
    packed.rope_delta.push_back(sample.rope_delta.front());
    begin = packed.segments.back().end;
  }
  packed.input_ids = at::cat(ids);
  packed.position_ids = at::cat(positions, 1);
  if (!pixels.empty()) packed.pixel_values = at::cat(pixels);
  return packed;
}

/// The small checkpoints in float32, each with samples of several lengths: with pictures, with one
/// and with none.
class GenerateBatch : public testing::TestWithParam<std::string> {
 protected:
  GenerateBatch() : fixture_(test::open_fixture(GetParam(), "float32")) {
    const auto picture = test::fixture("models/sharded_bf16") / "small.png";
    const auto add = [&](const PromptArguments& prompt) {
      samples_.push_back(encode_prompt(fixture_.session, prompt));
    };
    add({.prompt = "Hi"});
    samples_.push_back(fixture_.input);
    add({.prompt = "What is two and two, and what is it without the other two?"});
    add({.images = {picture}, .prompt = "Name it."});
    add({.prompt = "Again."});
  }

  [[nodiscard]] Answers one_by_one(const GenerateOptions& options) const {
    Answers answers;
    for (const ModelInput& sample : samples_) answers.push_back(generate(model(), sample, options));
    return answers;
  }
  [[nodiscard]] Answers together(const GenerateOptions& options) const {
    return generate_batch(model(), pack(samples_), options);
  }
  [[nodiscard]] const Qwen3VL& model() const { return fixture_.session.model; }

  const c10::InferenceMode inference_;
  test::ModelFixture fixture_;
  std::vector<ModelInput> samples_;
};

TEST_P(GenerateBatch, AnswersEachSampleAsIfItWereAlone) {
  const GenerateOptions options{.max_new_tokens = 12};
  const Answers alone = one_by_one(options);
  EXPECT_EQ(together(options), alone);
  EXPECT_GT(std::set(alone.begin(), alone.end()).size(), 1U);  // there is something to mix up
}

TEST_P(GenerateBatch, LetsEachSampleEndAtItsOwnTime) {
  const Answers whole = one_by_one({.max_new_tokens = 12});
  const GenerateOptions options{.max_new_tokens = 12, .eos_token_ids = {whole[0][3], whole[2][1]}};
  const Answers alone = one_by_one(options);
  std::set<std::size_t> lengths;
  for (const auto& answer : alone) lengths.insert(answer.size());
  ASSERT_GT(lengths.size(), 1U);
  EXPECT_EQ(together(options), alone);
}

TEST_P(GenerateBatch, DrawsForEachSampleAsIfItWereAlone) {
  const GenerateOptions options{
      .max_new_tokens = 8,
      .sampling = {.do_sample = true, .top_k = 20, .repetition_penalty = 1.2},
      .seed = 5};
  EXPECT_EQ(together(options), one_by_one(options));
}

TEST_P(GenerateBatch, OfNoNewTokenIsEmpty) {
  EXPECT_EQ(together({.max_new_tokens = 0}), Answers(samples_.size()));
}

TEST_P(GenerateBatch, RefusesASampleThatIsTooLong) {
  const std::int64_t most = model().config.text.max_position_embeddings;
  const std::int64_t longest = samples_[1].input_ids.size(0);
  EXPECT_THAT(test::input_error([&] { (void)together({.max_new_tokens = most - longest + 1}); }),
              testing::HasSubstr(std::to_string(longest) + " prompt tokens"));
}

INSTANTIATE_TEST_SUITE_P(Models, GenerateBatch, testing::ValuesIn(test::kModels),
                         [](const auto& instance) { return instance.param; });

}  // namespace
}  // namespace espalier
