// SPDX-License-Identifier: Apache-2.0
#include "espalier/train/loss.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/model/fixture.h"

namespace espalier {
namespace {

/// Sums of float32 in another order.
constexpr double kRounding = 1e-5;

/// Rows, a head of 11 tokens and a teacher's, all drawn.
struct Sample {
  HeadRows rows;
  at::Tensor weight;
  at::Tensor teacher_weight;
};

Sample draw(std::int64_t rows) {
  at::manual_seed(7);
  return {.rows = {.normalized = at::randn({rows, 6}),
                   .targets = at::randint(11, {rows}, at::kLong),
                   .weights = at::rand({rows}),
                   .teacher = at::randn({rows, 6})},
          .weight = at::randn({11, 6}),
          .teacher_weight = at::randn({11, 6})};
}

/// The loss as formulas of ATen, with a gradient by autograd.
struct Plain {
  at::Tensor hidden;
  at::Tensor weight;
  at::Tensor total;
};

Plain plain_loss(const Sample& sample, const HeadLossOptions& options) {
  const c10::AutoGradMode grad(true);
  Plain plain{.hidden = sample.rows.normalized.detach().clone().requires_grad_(),
              .weight = sample.weight.detach().clone().requires_grad_(),
              .total = {}};
  const double t = options.temperature;
  const auto logits = at::matmul(plain.hidden, plain.weight.t());
  const auto ce =
      -at::log_softmax(logits, -1).gather(-1, sample.rows.targets.unsqueeze(-1)).squeeze(-1);
  auto p = at::softmax(at::matmul(sample.rows.teacher, sample.teacher_weight.t()) / t, -1);
  auto q = at::softmax(logits / t, -1);
  if (options.top_k > 0) {  // the K likeliest of the teacher, and the sum of the others
    const auto top = std::get<1>(p.topk(options.top_k, -1));
    const auto with_rest = [&](const at::Tensor& x) {
      return at::cat({x.gather(-1, top), x.scatter(-1, top, 0.0).sum(-1, true)}, -1);
    };
    p = with_rest(p);
    q = with_rest(q);
  }
  const auto kl = (p * (p.log() - q.log())).sum(-1) * (t * t);
  const double share = options.teacher_share;
  plain.total = ((ce * (1.0 - share) + kl * share) * sample.rows.weights).sum();
  plain.total.backward();
  return plain;
}

void expect_like_autograd(HeadLossOptions options) {
  options.weight_gradient = true;
  const Sample sample = draw(13);
  const Plain plain = plain_loss(sample, options);
  const HeadLoss loss = head_loss(sample.rows, sample.weight, sample.teacher_weight, options);
  EXPECT_LE(test::relative_difference(loss.d_normalized, plain.hidden.grad()), kRounding);
  EXPECT_LE(test::relative_difference(loss.d_weight, plain.weight.grad()), kRounding);
  const double share = options.teacher_share;
  const auto by_row = loss.cross_entropy * (1.0 - share) + loss.divergence * share;
  EXPECT_NEAR((by_row * sample.rows.weights).sum().item<double>(), plain.total.item<double>(),
              kRounding);
}

TEST(HeadLoss, HasAutogradsGradientForCrossEntropy) { expect_like_autograd({}); }

TEST(HeadLoss, HasAutogradsGradientForADivergence) {
  expect_like_autograd({.teacher_share = 1.0});
  expect_like_autograd({.teacher_share = 0.3, .temperature = 2.0});
}

TEST(HeadLoss, HasAutogradsGradientForTheLikeliestTokensAndTheRest) {
  expect_like_autograd({.teacher_share = 1.0, .top_k = 3});
  expect_like_autograd({.teacher_share = 0.5, .temperature = 1.5, .top_k = 1});
}

TEST(HeadLoss, DoesNotDependOnTheChunks) {
  const Sample sample = draw(10);
  const HeadLossOptions whole{.teacher_share = 0.5, .chunk_rows = 10, .weight_gradient = true};
  const HeadLoss expected = head_loss(sample.rows, sample.weight, sample.teacher_weight, whole);
  for (const std::int64_t rows : {1, 3, 7}) {
    HeadLossOptions options = whole;
    options.chunk_rows = rows;
    const HeadLoss loss = head_loss(sample.rows, sample.weight, sample.teacher_weight, options);
    EXPECT_LE(test::relative_difference(loss.d_normalized, expected.d_normalized), kRounding);
    EXPECT_LE(test::relative_difference(loss.d_weight, expected.d_weight), kRounding);
    EXPECT_TRUE(at::allclose(loss.cross_entropy, expected.cross_entropy));
    EXPECT_TRUE(at::allclose(loss.divergence, expected.divergence));
  }
}

TEST(HeadLoss, OfTwoEqualTokensIsLogTwo) {
  // logits (0, 0): cross-entropy log 2, gradient softmax - onehot = (-1/2, 1/2) by the logits, and
  // through the head rows (1) and (3): -1/2 * 1 + 1/2 * 3 = 1
  const HeadRows rows{.normalized = at::zeros({1, 1}),
                      .targets = at::zeros({1}, at::kLong),
                      .weights = at::ones({1}),
                      .teacher = {}};
  const HeadLoss loss = head_loss(rows, at::tensor({1.0F, 3.0F}).view({2, 1}), {}, {});
  EXPECT_NEAR(loss.cross_entropy.item<double>(), std::log(2.0), 1e-7);
  EXPECT_NEAR(loss.d_normalized.item<double>(), 1.0, 1e-7);
}

TEST(HeadLoss, OfNoRowsIsNothing) {
  Sample sample = draw(4);
  const HeadRows none{.normalized = sample.rows.normalized.narrow(0, 0, 0),
                      .targets = sample.rows.targets.narrow(0, 0, 0),
                      .weights = sample.rows.weights.narrow(0, 0, 0),
                      .teacher = {}};
  const HeadLoss loss = head_loss(none, sample.weight, {}, {.weight_gradient = true});
  EXPECT_EQ(loss.d_normalized.numel(), 0);
  EXPECT_EQ(loss.d_weight.abs().sum().item<double>(), 0.0);
}

TEST(HiddenLoss, IsTheRelativeSquaredDistance) {
  // |(3, 4) - (0, 4)|^2 / 4^2 = 9/16; gradient 2 * (3, 0) / 16, scaled by 2
  const HiddenLoss loss = hidden_loss(at::tensor({3.0F, 4.0F}).view({1, 2}),
                                      at::tensor({0.0F, 4.0F}).view({1, 2}), 2.0);
  EXPECT_NEAR(loss.sum, 9.0 / 16.0, 1e-6);
  EXPECT_TRUE(at::allclose(loss.gradient, at::tensor({0.75F, 0.0F}).view({1, 2}), 1e-5, 1e-6));
}

}  // namespace
}  // namespace espalier
