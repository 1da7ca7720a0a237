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

// Draws notice a sample that reads another's cache; the most likely token of these models seldom
// does.
TEST_P(GenerateBatch, LetsEachSampleEndAtItsOwnTime) {
  GenerateOptions options{
      .max_new_tokens = 24, .sampling = {.do_sample = true, .temperature = 0.5}, .seed = 5};
  const Answers whole = one_by_one(options);
  options.eos_token_ids = {whole[0][3], whole[2][1], whole[3][9]};
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

TEST_P(GenerateBatch, AStepOverTheCachesOfSomeSamplesEqualsWholePasses) {
  const std::int64_t id = 40;
  std::vector<std::int64_t> capacities;
  for (const ModelInput& sample : samples_) capacities.push_back(sample.input_ids.size(0) + 3);
  KvCache cache = make_kv_cache(model().config.text, model().language_model.layers.size(),
                                capacities, model().dtype(), model().device());
  forward(model(), pack(samples_), {.cache = &cache});
  const std::vector<std::size_t> going_on = {1, 3, 4};
  std::vector<CachedSample> cached;
  std::vector<NextToken> tokens;
  for (const std::size_t i : going_on) {
    cached.push_back(cache.samples[i]);
    tokens.push_back({.id = id,
                      .cached = samples_[i].input_ids.size(0),
                      .rope_delta = samples_[i].rope_delta.front()});
  }
  cache.samples = cached;
  const at::Tensor steps = forward(model(), next_input(tokens), {.cache = &cache});
  for (std::size_t i = 0; i < going_on.size(); ++i) {
    ModelInput whole = samples_[going_on[i]];
    // After a text token every axis goes on by one.
    const auto position = whole.position_ids.max() + 1;
    whole.input_ids = at::cat({whole.input_ids, at::full({1}, id, at::kLong)});
    whole.position_ids = at::cat({whole.position_ids, position.expand({3, 1})}, 1);
    whole.segments.front().end += 1;
    const auto last = forward(model(), whole).narrow(0, whole.input_ids.size(0) - 1, 1);
    const auto found = steps.narrow(0, static_cast<std::int64_t>(i), 1);
    EXPECT_LE(test::relative_difference(found, last), 1e-5) << going_on[i];
  }
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
