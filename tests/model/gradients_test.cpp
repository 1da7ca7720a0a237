// SPDX-License-Identifier: Apache-2.0
// Backward of the fused kernels against autograd through their twins.
#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <functional>
#include <optional>
#include <vector>

#include "espalier/model/attention.h"
#include "espalier/model/kernels.h"
#include "tests/model/fixture.h"

namespace espalier {
namespace {

using Tensors = std::vector<at::Tensor>;
using Forward = std::function<at::Tensor(const Tensors&)>;

class Gradients : public testing::TestWithParam<at::ScalarType> {
 protected:
  Gradients() { at::manual_seed(5); }
  [[nodiscard]] at::Tensor draw(at::IntArrayRef shape) const {
    return at::randn(shape).to(GetParam());
  }

  /// Both forms on the same numbers, with the same gradient from above. The twin runs in float32
  /// on the rounded numbers: bfloat16 may differ by a few of its own roundings.
  void expect_equal(const Tensors& inputs, const Forward& fused, const Forward& twin,
                    std::optional<double> allowed = {}) const {
    Tensors leaves;
    Tensors wide;
    for (const at::Tensor& input : inputs) {
      leaves.push_back(input.detach().requires_grad_());
      wide.push_back(input.to(at::kFloat).detach().clone().requires_grad_());
    }
    const at::Tensor out = fused(leaves);
    const at::Tensor above = at::randn(out.sizes()).to(GetParam());
    const auto found = torch::autograd::grad({out}, leaves, {above});
    const auto wanted = torch::autograd::grad({twin(wide)}, wide, {above.to(at::kFloat)});
    const double tolerance = allowed.value_or(GetParam() == at::kFloat ? 1e-5 : 0.05);
    for (std::size_t i = 0; i < found.size(); ++i) {
      EXPECT_LE(test::relative_difference(found[i].to(at::kFloat), wanted[i]), tolerance) << i;
    }
  }
};

TEST_P(Gradients, OfLinear) {
  expect_equal(
      {draw({7, 12}), draw({5, 12}), draw({5})},
      [](const Tensors& of) { return espalier::linear(of[0], of[1], of[2]); },
      [](const Tensors& of) { return composed::linear(of[0], of[1], of[2]); });
}

TEST_P(Gradients, OfRmsNorm) {
  expect_equal(
      {draw({7, 24}), draw({24})}, [](const Tensors& of) { return rms_norm(of[0], of[1], 1e-6); },
      [](const Tensors& of) { return composed::rms_norm(of[0], of[1], 1e-6); });
}

TEST_P(Gradients, OfNormAndRotate) {
  const auto half = at::randn({7, 4});
  const auto angles = at::cat({half, half}, 1);  // both halves turn alike
  const auto with = [&](at::ScalarType type, const auto& function) {
    return [=](const Tensors& of) {
      return function(of[0], of[1], 1e-6, angles.cos().to(type), angles.sin().to(type));
    };
  };
  expect_equal({draw({7, 3, 8}), draw({8})}, with(GetParam(), norm_and_rotate),
               with(at::kFloat, composed::norm_and_rotate));
}

TEST_P(Gradients, OfRotate) {
  const auto half = at::randn({7, 4});
  const auto angles = at::cat({half, half}, 1);
  expect_equal(
      {draw({7, 3, 8})},
      [&](const Tensors& of) { return rotate(of[0], angles.cos(), angles.sin()); },
      [&](const Tensors& of) { return composed::rotate(of[0], angles.cos(), angles.sin()); });
}

TEST_P(Gradients, OfSwiglu) {
  expect_equal(
      {draw({7, 24}), draw({7, 24})}, [](const Tensors& of) { return swiglu(of[0], of[1]); },
      [](const Tensors& of) { return composed::swiglu(of[0], of[1]); });
}

TEST_P(Gradients, OfGelu) {
  expect_equal(
      {draw({7, 24})}, [](const Tensors& of) { return gelu_tanh(of[0]); },
      [](const Tensors& of) { return composed::gelu_tanh(of[0]); });
}

/// What attention over packed samples is, sample by sample.
at::Tensor attend_apart(const Tensors& of, const std::vector<AttentionSegment>& segments,
                        const AttentionOptions& options) {
  Tensors outputs;
  for (const AttentionSegment& s : segments) {
    outputs.push_back(composed::attention(of[0].slice(0, s.query_begin, s.query_end),
                                          of[1].slice(0, s.key_begin, s.key_end),
                                          of[2].slice(0, s.key_begin, s.key_end), options));
  }
  return at::cat(outputs);
}

/// Samples of several lengths, packed; one looks at more keys than it has queries. So short, a loop
/// takes them.
TEST_P(Gradients, OfAttentionOverShortSamples) {
  const std::vector<AttentionSegment> segments = {
      {0, 6, 0, 6},     {6, 11, 6, 11},   {11, 12, 11, 12},  {12, 30, 12, 30},
      {30, 32, 30, 37}, {32, 49, 37, 54}, {49, 177, 54, 182}};
  for (const std::int64_t size : {6, 32}) {
    for (const bool causal : {true, false}) {
      SCOPED_TRACE(testing::Message() << "size " << size << (causal ? ", causal" : ""));
      const AttentionOptions options{.scale = 0.4, .causal = causal};
      expect_equal(
          {draw({177, 6, size}), draw({182, 2, size}), draw({182, 2, size})},
          [&](const Tensors& of) { return attention(of[0], of[1], of[2], segments, options); },
          [&](const Tensors& of) { return attend_apart(of, segments, options); },
          // Sums over 128 keys of differences of nearly equal numbers.
          GetParam() == at::kFloat ? 3e-5 : 0.05);
    }
  }
}

/// Long ones: in float32 in padded batches, some in one group, some not.
TEST_P(Gradients, OfAttentionOverLongSamples) {
  const std::vector<AttentionSegment> segments = {
      {0, 130, 0, 130}, {130, 270, 130, 270}, {270, 272, 270, 410}, {272, 480, 410, 618}};
  for (const std::int64_t size : {8, 70, 128}) {
    for (const bool causal : {true, false}) {
      SCOPED_TRACE(testing::Message() << "size " << size << (causal ? ", causal" : ""));
      const AttentionOptions options{.scale = 0.4, .causal = causal};
      expect_equal(
          {draw({480, 4, size}), draw({618, 2, size}), draw({618, 2, size})},
          [&](const Tensors& of) { return attention(of[0], of[1], of[2], segments, options); },
          [&](const Tensors& of) { return attend_apart(of, segments, options); },
          GetParam() == at::kFloat ? 3e-5 : 0.05);
    }
  }
}

/// Rows of q, k and v may lie apart, as the vision tower's do.
TEST_P(Gradients, OfAttentionReadStrided) {
  const std::vector<AttentionSegment> segments = {{0, 5, 0, 5}, {5, 12, 5, 12}};
  const AttentionOptions options{.scale = 0.4, .causal = false};
  const auto of_part = [&](const at::Tensor& qkv, std::int64_t part) {
    return qkv.select(1, part);
  };
  expect_equal(
      {draw({12, 3, 4, 8})},
      [&](const Tensors& of) {
        return attention(of_part(of[0], 0), of_part(of[0], 1), of_part(of[0], 2), segments,
                         options);
      },
      [&](const Tensors& of) {
        Tensors outputs;
        for (const AttentionSegment& s : segments) {
          const auto rows = of[0].slice(0, s.query_begin, s.query_end);
          outputs.push_back(
              composed::attention(of_part(rows, 0), of_part(rows, 1), of_part(rows, 2), options));
        }
        return at::cat(outputs);
      });
}

/// What a sample's gradients are does not depend on who stands beside it.
TEST_P(Gradients, OfAttentionDoNotDependOnNeighbours) {
  const auto q = draw({40, 4, 8});
  const auto k = draw({40, 2, 8});
  const AttentionOptions options{.scale = 0.4, .causal = true};
  const auto above = draw({40, 32});
  const auto gradients = [&](const std::vector<AttentionSegment>& segments, std::int64_t begin,
                             std::int64_t end) {
    Tensors leaves;
    for (const at::Tensor& x : {q, k, k}) {
      leaves.push_back(x.slice(0, begin, end).clone().requires_grad_());
    }
    return torch::autograd::grad({attention(leaves[0], leaves[1], leaves[2], segments, options)},
                                 leaves, {above.slice(0, begin, end)});
  };
  const auto packed = gradients({{0, 17, 0, 17}, {17, 40, 17, 40}}, 0, 40);
  const auto alone = gradients({{0, 23, 0, 23}}, 17, 40);
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_TRUE(at::equal(packed[i].slice(0, 17, 40), alone[i])) << i;
  }
}

TEST_P(Gradients, ForwardIsTheSameToTheBit) {
  const auto x = draw({9, 24});
  const auto weight = draw({24});
  const auto recorded = x.detach().requires_grad_();
  EXPECT_TRUE(at::equal(rms_norm(recorded, weight, 1e-6), rms_norm(x, weight, 1e-6)));
  EXPECT_TRUE(at::equal(swiglu(recorded, x), swiglu(x, x)));
  const auto w = draw({6, 24});
  EXPECT_TRUE(at::equal(espalier::linear(recorded, w), espalier::linear(x, w)));
}

INSTANTIATE_TEST_SUITE_P(Dtypes, Gradients, testing::Values(at::kFloat, at::kBFloat16),
                         [](const auto& of) { return std::string(c10::toString(of.param)); });

}  // namespace
}  // namespace espalier
