// SPDX-License-Identifier: Apache-2.0
#include "espalier/model/kernels.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "espalier/model/dispatch.h"

namespace espalier {
namespace {

at::Tensor numbers(at::IntArrayRef shape, at::ScalarType type, double scale = 1.0) {
  return (at::randn(shape, at::kFloat) * scale).to(type);
}

/// How many steps of bfloat16 lie between two numbers, elementwise: the bits of a number, as a
/// whole number with its sign, count them.
at::Tensor steps_apart(const at::Tensor& a, const at::Tensor& b) {
  const auto place = [](const at::Tensor& x) {
    const auto bits = x.contiguous().view(at::kShort).to(at::kInt);
    return at::where(bits.lt(0), -(bits.bitwise_and(0x7fff)), bits);
  };
  return (place(a) - place(b)).abs();
}

/// Our loops sum in another order than ATen, and their exponential is another polynomial: a float32
/// off by a few units in its last place lands on the other side of a bfloat16 rounding in about
/// one of 2^14 numbers. So 999 of 1000 are equal; the others are neighbours, or, where two
/// roundings follow each other, next but one.
void expect_same_roundings(const at::Tensor& ours, const at::Tensor& twin) {
  ASSERT_EQ(ours.sizes(), twin.sizes());
  ASSERT_EQ(ours.scalar_type(), at::kBFloat16);
  if (ours.numel() == 0) return;
  const auto apart = steps_apart(ours, twin);
  EXPECT_LE(apart.max().item<int>(), 2);
  EXPECT_LE(apart.gt(0).sum().item<int64_t>(), 1 + apart.numel() / 1000);
}

/// Float32: a few units in the last place, of the largest term of a sum at worst.
void expect_close(const at::Tensor& ours, const at::Tensor& twin) {
  ASSERT_EQ(ours.sizes(), twin.sizes());
  ASSERT_EQ(ours.scalar_type(), at::kFloat);
  EXPECT_TRUE(at::allclose(ours, twin, /*rtol=*/2e-6, /*atol=*/2e-6))
      << (ours - twin).abs().max().item<float>();
}

void expect_like_twin(const at::Tensor& ours, const at::Tensor& twin) {
  ours.scalar_type() == at::kFloat ? expect_close(ours, twin) : expect_same_roundings(ours, twin);
}

class Kernels : public testing::TestWithParam<at::ScalarType> {
 protected:
  void SetUp() override { at::manual_seed(1); }
};

INSTANTIATE_TEST_SUITE_P(Dtypes, Kernels, testing::Values(at::kFloat, at::kBFloat16),
                         [](const auto& of) { return std::string(at::toString(of.param)); });

// Widths that fill no register, one row and none, and enough rows for every thread.
const std::vector<std::vector<int64_t>> kRowShapes{{1, 1},  {1, 2048}, {3, 7},     {5, 33},
                                                   {0, 16}, {64, 100}, {700, 128}, {2, 3, 48}};

TEST_P(Kernels, RmsNormIsItsTwin) {
  for (const auto& shape : kRowShapes) {
    const auto x = numbers(shape, GetParam(), 3.0);
    const auto weight = numbers({shape.back()}, GetParam());
    expect_like_twin(rms_norm(x, weight, 1e-6), composed::rms_norm(x, weight, 1e-6));
  }
}

TEST_P(Kernels, RmsNormReadsStridedRows) {
  const auto x = numbers({9, 200}, GetParam()).slice(1, 40, 140);
  const auto weight = numbers({100}, GetParam());
  expect_like_twin(rms_norm(x, weight, 1e-6), composed::rms_norm(x, weight, 1e-6));
  const auto columns = numbers({100, 9}, GetParam()).t();
  expect_like_twin(rms_norm(columns, weight, 1e-6), composed::rms_norm(columns, weight, 1e-6));
}

TEST(BfloatKernels, RmsNormRoundsBeforeTheWeight) {
  // 1 / sqrt(mean(1, 9)) = 0.4472136. The second number tells: 3 * 0.4472136 = 1.3416408, rounded
  // 1.34375, times 1.015625 = 1.36474609, rounded 1.3671875. With one rounding it would be
  // 1.3416408 * 1.015625 = 1.36260394, rounded 1.359375.
  const auto x = at::tensor({1.0F, 3.0F}).to(at::kBFloat16).view({1, 2});
  const auto weight = at::tensor({1.015625F, 1.015625F}).to(at::kBFloat16);
  const auto out = rms_norm(x, weight, 0.0).to(at::kFloat);
  EXPECT_EQ(out[0][1].item<float>(), 1.3671875F);
}

TEST_P(Kernels, NormAndRotateIsItsTwin) {
  for (const auto& [tokens, heads, size] : std::vector<std::array<int64_t, 3>>{
           {1, 16, 128}, {7, 3, 24}, {300, 8, 128}, {2, 1, 2}, {0, 2, 8}, {33, 5, 72}}) {
    const auto x = numbers({tokens, heads, size}, GetParam(), 2.0);
    const auto weight = numbers({size}, GetParam());
    const auto cos = numbers({tokens, size}, at::kFloat).cos().to(GetParam());
    const auto sin = numbers({tokens, size}, at::kFloat).sin().to(GetParam());
    const auto ours = norm_and_rotate(x, weight, 1e-6, cos, sin);
    const auto twin = composed::norm_and_rotate(x, weight, 1e-6, cos, sin);
    if (GetParam() == at::kFloat) {
      expect_close(ours, twin);
      continue;
    }
    // A neighbour after the norm may be many steps off where two terms nearly cancel.
    EXPECT_LE(steps_apart(ours, twin).gt(0).sum().item<int64_t>(), 1 + ours.numel() / 1000);
    EXPECT_TRUE(at::allclose(ours, twin, 0.01, 0.03));
  }
}

TEST_P(Kernels, NormAndRotateReadsHeadsOfAFusedProjection) {
  const auto qkv = numbers({11, 3, 4, 32}, GetParam());
  const auto x = qkv.select(1, 1);
  const auto weight = numbers({32}, GetParam());
  const auto cos = numbers({11, 64}, GetParam()).slice(1, 0, 32);
  const auto ours = norm_and_rotate(x, weight, 1e-6, cos, cos);
  EXPECT_TRUE(at::equal(
      ours, norm_and_rotate(x.contiguous(), weight, 1e-6, cos.contiguous(), cos.contiguous())));
}

TEST_P(Kernels, RotateIsItsTwin) {
  for (const auto& [rows, heads, size] : std::vector<std::array<int64_t, 3>>{
           {1, 16, 64}, {7, 3, 24}, {256, 16, 64}, {2, 1, 2}, {0, 2, 8}, {33, 16, 72}}) {
    const auto qkv = numbers({rows, 3, heads, size}, GetParam());
    const auto x = qkv.select(1, 2);
    const auto cos = numbers({rows, size}, at::kFloat).cos();
    const auto sin = numbers({rows, size}, at::kFloat).sin();
    const auto ours = rotate(x, cos, sin);
    EXPECT_TRUE(ours.is_contiguous());
    // No sum of many terms and no exponential: nothing may differ.
    EXPECT_TRUE(at::equal(ours, composed::rotate(x, cos, sin)));
  }
}

TEST_P(Kernels, SwigluIsItsTwin) {
  for (const auto& shape : kRowShapes) {
    if (shape.size() != 2) continue;
    const auto gate = numbers(shape, GetParam(), 4.0);
    const auto up = numbers(shape, GetParam());
    expect_like_twin(swiglu(gate, up), composed::swiglu(gate, up));
  }
}

TEST_P(Kernels, SwigluReadsHalvesOfOneProjection) {
  const auto both = numbers({13, 2 * 50}, GetParam());
  const auto gate = both.slice(1, 0, 50);
  const auto up = both.slice(1, 50, 100);
  EXPECT_TRUE(at::equal(swiglu(gate, up), swiglu(gate.contiguous(), up.contiguous())));
}

TEST_P(Kernels, SwigluOfFarNumbersIsZeroOrTheProduct) {
  const auto gate = at::tensor({-1e30F, -200.0F, 0.0F, 200.0F, 1e30F}).to(GetParam()).view({1, 5});
  const auto up = at::ones({1, 5}, at::TensorOptions().dtype(GetParam()));
  const auto out = swiglu(gate, up).to(at::kFloat);
  EXPECT_NEAR(out[0][0].item<float>(), 0.0, 1e-6);
  EXPECT_NEAR(out[0][1].item<float>(), 0.0, 1e-6);
  EXPECT_EQ(out[0][2].item<float>(), 0.0F);
  EXPECT_EQ(out[0][3].item<float>(), 200.0F);
  EXPECT_EQ(out[0][4].item<float>(), gate[0][4].to(at::kFloat).item<float>());
}

TEST(BfloatKernels, GeluTanhOfEveryBfloat16IsTheNearest) {
  // All finite numbers up to 2^7; beyond that the function is x or 0.
  const auto bits = at::arange(0, 0x4300, at::kInt).to(at::kShort);
  const auto positive = bits.view(at::kBFloat16);
  const auto x = at::cat({positive, -positive});
  const auto exact = [&] {
    const auto wide = x.to(at::kDouble);
    const auto u = std::sqrt(2.0 / M_PI) * (wide + 0.044715 * wide.pow(3));
    return wide * at::sigmoid(2.0 * u);
  }();
  const auto ours = gelu_tanh(x).to(at::kDouble);
  // Half a step of bfloat16 is at most 2^-8 = 0.003906 of a number; the rest is for float32 inside.
  EXPECT_TRUE(at::allclose(ours, exact, /*rtol=*/0.00391, /*atol=*/1e-30));
}

TEST(BfloatKernels, GeluTanhIsItsTwin) {
  for (const auto& shape : kRowShapes) {
    const auto x = numbers(shape, at::kBFloat16, 2.0);
    const auto ours = gelu_tanh(x);
    const auto twin = composed::gelu_tanh(x);
    // ATen's 1 + tanh cancels below -3 (at -5 it is off by a third): there only the distance
    // counts.
    EXPECT_TRUE(at::allclose(ours, twin, 0.004, 1e-5));
    const auto below = x.lt(-1.0);
    expect_same_roundings(ours.masked_fill(below, 0), twin.masked_fill(below, 0));
  }
}

TEST_P(Kernels, GeluErfIsHalfXTimesOnePlusErf) {
  const auto x = numbers({5, 33}, GetParam(), 2.0);
  const auto wide = x.to(at::kDouble);
  const auto exact = 0.5 * wide * (1.0 + at::erf(wide / std::sqrt(2.0)));
  const double step = GetParam() == at::kFloat ? 1e-6 : 0.004;
  EXPECT_TRUE(at::allclose(gelu_erf(x).to(at::kDouble), exact, step, 1e-6));
}

TEST_P(Kernels, LinearIsTheProductInDouble) {
  for (const int64_t tokens : {0, 1, 2, 3, 4, 5, 17}) {
    for (const auto& [out, in] :
         std::vector<std::array<int64_t, 2>>{{7, 5}, {1, 64}, {33, 100}, {130, 2048}}) {
      const auto x = numbers({tokens, in}, GetParam());
      const auto weight = numbers({out, in}, GetParam());
      const auto bias = numbers({out}, GetParam());
      const auto exact =
          at::linear(x.to(at::kDouble), weight.to(at::kDouble), bias.to(at::kDouble));
      const auto ours = espalier::linear(x, weight, bias);
      ASSERT_EQ(ours.sizes(), exact.sizes());
      // One rounding of the result, and float32 sums of `in` numbers of size 1.
      const double rounding = GetParam() == at::kFloat ? 1e-6 : 0.004;
      EXPECT_TRUE(at::allclose(ours.to(at::kDouble), exact, rounding, 1e-5 * std::sqrt(in)))
          << tokens << " tokens, " << out << "x" << in;
      const auto plain = espalier::linear(x, weight);
      EXPECT_TRUE(at::allclose(plain.to(at::kDouble), exact - bias.to(at::kDouble), rounding,
                               1e-5 * std::sqrt(in)));
    }
  }
}

// Tokens around a panel of 64 and a group of 512; outputs around tiles of 6 and squares of 16; sums
// that are shorter than a register, not whole registers, and longer than what is summed at once
// (2048).
TEST_P(Kernels, LinearOfManyTokensIsTheProductInDouble) {
  struct Shape {
    int64_t tokens, in, out;
  };
  for (const auto& [tokens, in, out] : {Shape{5, 2, 1},
                                        {63, 30, 5},
                                        {64, 32, 6},
                                        {65, 66, 7},
                                        {80, 128, 97},
                                        {130, 2050, 191},
                                        {512, 40, 16},
                                        {530, 4100, 33},
                                        {577, 96, 200}}) {
    const auto x = numbers({tokens, in}, GetParam());
    const auto weight = numbers({out, in}, GetParam());
    const auto bias = numbers({out}, GetParam());
    const auto exact = at::linear(x.to(at::kDouble), weight.to(at::kDouble), bias.to(at::kDouble));
    const auto error = (espalier::linear(x, weight, bias).to(at::kDouble) - exact).abs();
    // One rounding to half a step of the type, and float32 sums of `in` terms of size 1.
    const double step = GetParam() == at::kFloat ? 1e-6 : 1.0 / 256;
    const auto allowed = exact.abs() * step + 1e-6 * static_cast<double>(in);
    EXPECT_TRUE(error.le(allowed).all().item<bool>())
        << tokens << "x" << in << "x" << out << ": " << error.max().item<double>();
  }
}

TEST(BfloatKernels, ATokensProductDoesNotDependOnItsNeighbours) {
  if (!has_avx512_bf16()) GTEST_SKIP() << "the product of our own needs AVX512_BF16";
  at::manual_seed(1);
  const auto x = numbers({200, 96}, at::kBFloat16);
  const auto weight = numbers({70, 96}, at::kBFloat16);
  const auto all = espalier::linear(x, weight);
  EXPECT_TRUE(at::equal(espalier::linear(x.narrow(0, 100, 7), weight), all.narrow(0, 100, 7)));
  EXPECT_TRUE(at::equal(espalier::linear(x.flip(0), weight).flip(0), all));
}

TEST_P(Kernels, LinearKeepsLeadingDimensionsAndReadsStridedTokens) {
  const auto weight = numbers({12, 40}, GetParam());
  const auto x = numbers({3, 80}, GetParam()).slice(1, 40, 80);
  EXPECT_TRUE(at::equal(espalier::linear(x, weight), espalier::linear(x.contiguous(), weight)));
  EXPECT_EQ(espalier::linear(x[0], weight).sizes(), at::IntArrayRef({12}));
  EXPECT_EQ(espalier::linear(x.view({1, 3, 1, 40}), weight).sizes(),
            at::IntArrayRef({1, 3, 1, 12}));
  EXPECT_THROW(espalier::linear(numbers({1, 41}, GetParam()), weight), std::exception);
}

TEST_P(Kernels, ARowAloneIsTheRowAmongOthers) {
  const auto x = numbers({2, 96}, GetParam());
  const auto norm_weight = numbers({96}, GetParam());
  EXPECT_TRUE(at::equal(rms_norm(x, norm_weight, 1e-6)[1], rms_norm(x[1], norm_weight, 1e-6)));
}

TEST_P(Kernels, AreRecordedWhereAGradientIsWanted) {
  const auto weight = numbers({64}, GetParam());
  const auto x = numbers({3, 64}, GetParam()).requires_grad_();
  EXPECT_TRUE(rms_norm(x, weight, 1e-6).requires_grad());
  EXPECT_TRUE(swiglu(x, x).requires_grad());
  EXPECT_TRUE(gelu_tanh(x).requires_grad());
  EXPECT_TRUE(espalier::linear(x, numbers({5, 64}, GetParam())).requires_grad());
  const c10::AutoGradMode off(false);
  EXPECT_FALSE(rms_norm(x, weight, 1e-6).requires_grad());
}

TEST_P(Kernels, NothingWritesToItsArguments) {
  const auto x = numbers({5, 2, 32}, GetParam());
  const auto before = x.clone();
  const auto weight = numbers({32}, GetParam());
  const auto angles = numbers({5, 32}, at::kFloat);
  norm_and_rotate(x, weight, 1e-6, angles.to(GetParam()), angles.to(GetParam()));
  rotate(x, angles, angles);
  rms_norm(x, weight, 1e-6);
  gelu_tanh(x);
  swiglu(x.view({5, 64}), x.view({5, 64}));
  EXPECT_TRUE(at::equal(x, before));
}

TEST(DropoutMask, DropsTheShareThatIsAskedFor) {
  constexpr std::int64_t kCount = 1'000'000;
  for (const double probability : {0.05, 0.5}) {
    const at::Tensor mask = dropout_mask({1000, 1000}, at::kFloat, probability, /*seed=*/7);
    const double dropped = (mask == 0).sum().item<double>();
    const double deviation = std::sqrt(kCount * probability * (1 - probability));
    EXPECT_NEAR(dropped, kCount * probability, 5 * deviation);
    EXPECT_FLOAT_EQ(mask.max().item<float>(), static_cast<float>(1 / (1 - probability)));
    // Neighbours in a row, in a column and under another seed are independent.
    const at::Tensor centred = (mask == 0).to(at::kFloat) - probability;
    const auto other = (dropout_mask({1000, 1000}, at::kFloat, probability, 8) == 0).to(at::kFloat);
    const double variance = probability * (1 - probability);
    const auto correlation = [&](const at::Tensor& a, const at::Tensor& b) {
      return (a * b).mean().item<double>() / variance;
    };
    EXPECT_NEAR(correlation(centred.slice(1, 1), centred.slice(1, 0, -1)), 0.0, 0.005);
    EXPECT_NEAR(correlation(centred.slice(0, 1), centred.slice(0, 0, -1)), 0.0, 0.005);
    EXPECT_NEAR(correlation(centred, other - probability), 0.0, 0.005);
  }
}

TEST(DropoutMask, DependsOnSeedAndPlaceAlone) {
  const at::Tensor mask = dropout_mask({70'000}, at::kBFloat16, 0.3, 5);
  EXPECT_TRUE(at::equal(mask, dropout_mask({70'000}, at::kBFloat16, 0.3, 5)));
  EXPECT_TRUE(at::equal(mask.slice(0, 0, 100), dropout_mask({100}, at::kBFloat16, 0.3, 5)));
  EXPECT_FALSE(at::equal(mask, dropout_mask({70'000}, at::kBFloat16, 0.3, 5ULL << 32)));
}

}  // namespace
}  // namespace espalier
