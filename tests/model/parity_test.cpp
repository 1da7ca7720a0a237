// SPDX-License-Identifier: Apache-2.0
// The model held against the reference implementation after every stage, on small checkpoints with
// wide random weights (tests/reference/make_model_fixtures.py).
#include <ATen/ATen.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "espalier/model/generate.h"
#include "tests/model/fixture.h"

namespace espalier {
namespace {

using test::ModelFixture;

/// Float32 against float32: rounding alone, in another order of summation.
constexpr double kFloat32Difference = 1e-4;
/// Bfloat16 against bfloat16: the patch embedding is a convolution there and a product here, which
/// alone moves single values by a fifth of the rms; directions agree.
constexpr double kBfloat16CosineDistance = 1e-3;

class Parity : public testing::TestWithParam<std::string> {
 protected:
  Parity() : fixture_(test::open_fixture(GetParam())) {}

  [[nodiscard]] bool is_float32() const { return fixture_.session.model.dtype() == at::kFloat; }

  void expect_close(const std::string& name, const at::Tensor& found) {
    ASSERT_TRUE(fixture_.expected.contains(name)) << name;
    const at::Tensor& expected = fixture_.expected.at(name);
    ASSERT_EQ(found.sizes(), expected.sizes()) << name;
    if (is_float32()) {
      EXPECT_LE(test::relative_difference(found, expected), kFloat32Difference) << name;
    } else {
      EXPECT_LE(test::cosine_distance(found, expected), kBfloat16CosineDistance) << name;
    }
    ++compared_;
  }

  const c10::InferenceMode inference_;
  ModelFixture fixture_;
  std::size_t compared_ = 0;
};

TEST_P(Parity, PixelsIdsAndPositionsAreEqual) {
  const auto& expected = fixture_.expected;
  EXPECT_TRUE(at::equal(fixture_.input.input_ids, expected.at("input_ids")));
  EXPECT_TRUE(at::equal(fixture_.input.position_ids, expected.at("position_ids")));
  EXPECT_EQ(fixture_.input.rope_delta.front(), expected.at("rope_delta").item<std::int64_t>());
  ASSERT_EQ(fixture_.input.pixel_values.sizes(), expected.at("pixel_values").sizes());
  EXPECT_TRUE(at::equal(fixture_.input.pixel_values, expected.at("pixel_values")));
}

TEST_P(Parity, EveryStageAgrees) {
  const Qwen3VL& model = fixture_.session.model;
  const ForwardOptions options{
      .observe_layer =
          [&](std::int64_t layer, const LayerTaps& taps) {
            expect_close(fmt::format("layers.{}.input", layer), taps.input);
            expect_close(fmt::format("layers.{}.output", layer), taps.output);
          },
      .observe_stage = [&](std::string_view stage,
                           const at::Tensor& value) { expect_close(std::string(stage), value); }};
  const auto hidden = forward(model, fixture_.input, options);
  const auto normalized = final_norm(model, hidden);
  expect_close("norm", normalized);
  const std::int64_t rows = fixture_.expected.at("logits").size(0);
  expect_close("logits", head(model, normalized.narrow(0, normalized.size(0) - rows, rows)));
  // All but pixel_values, grid_thw, input_ids, position_ids, rope_delta and generated.
  EXPECT_EQ(compared_, fixture_.expected.size() - 6);
}

TEST_P(Parity, GreedyTokensAreEqual) {
  const auto ids = generate(fixture_.session.model, fixture_.input,
                            {.max_new_tokens = fixture_.max_new_tokens,
                             .eos_token_ids = fixture_.session.generation.eos_token_ids});
  const auto found = at::tensor(at::ArrayRef<std::int64_t>(ids), at::kLong);
  EXPECT_TRUE(at::equal(found, fixture_.expected.at("generated")))
      << found << fixture_.expected.at("generated");
}

INSTANTIATE_TEST_SUITE_P(Models, Parity, testing::ValuesIn(test::kModels),
                         [](const auto& instance) { return instance.param; });

}  // namespace
}  // namespace espalier
