// SPDX-License-Identifier: Apache-2.0
#include "espalier/train/optimizer.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace espalier {
namespace {

Parameters parameters_of(const at::Tensor& matrix, const at::Tensor& vector) {
  return make_parameters({{.name = "vector", .value = vector, .kind = ParameterKind::Vector},
                          {.name = "matrix", .value = matrix, .kind = ParameterKind::Matrix}},
                         at::kFloat, at::kCPU);
}

TEST(AdamW, StepsAsWrittenOut) {
  // A hundred steps of one matrix number (decayed) and one of a vector (not), by the formulas.
  const Parameters parameters = parameters_of(at::full({1, 1}, 2.0), at::full({1}, -1.0));
  OptimizerState state = make_optimizer_state(parameters);
  const OptimizerOptions options{.adamw = {.beta1 = 0.9, .beta2 = 0.99, .weight_decay = 0.1},
                                 .max_gradient_norm = 0.0};
  double values[2] = {2.0, -1.0};
  double m[2] = {0, 0};
  double v[2] = {0, 0};
  for (int step = 1; step <= 100; ++step) {
    const double gradients[2] = {std::sin(step), 0.3 * std::cos(2.0 * step)};
    for (int i = 0; i < 2; ++i) {
      parameters.gradients[i] = gradients[i];
      m[i] = 0.9 * m[i] + 0.1 * gradients[i];
      v[i] = 0.99 * v[i] + 0.01 * gradients[i] * gradients[i];
      const double decay = i == 0 ? 0.1 : 0.0;
      values[i] -= 0.01 * decay * values[i];
      values[i] -= 0.01 * (m[i] / (1 - std::pow(0.9, step))) /
                   (std::sqrt(v[i] / (1 - std::pow(0.99, step))) + 1e-8);
    }
    optimizer_step(parameters, state, options, 0.01, 1.0);
    ASSERT_NEAR(parameters.values[0].item<double>(), values[0], 2e-5) << step;
    ASSERT_NEAR(parameters.values[1].item<double>(), values[1], 2e-5) << step;
  }
  EXPECT_EQ(parameters.gradients.abs().sum().item<double>(), 0.0);
}

TEST(Optimizer, ClipsAllGradientsTogether) {
  // gradients (3, 4) have norm 5; clipped to 1 both are divided by 5, up to torch's 1e-6
  const Parameters parameters = parameters_of(at::zeros({1, 1}), at::zeros({1}));
  parameters.gradients.copy_(at::tensor({3.0F, 4.0F}));
  OptimizerState state = make_optimizer_state(parameters);
  const OptimizerStep step = optimizer_step(parameters, state, {.max_gradient_norm = 1.0}, 0.1, 1);
  EXPECT_NEAR(step.gradient_norm, 5.0, 1e-6);
  EXPECT_NEAR(step.clip_coefficient, 0.2, 1e-6);
  EXPECT_NEAR(state.first[0].item<double>(), 0.1 * 0.6, 1e-6);
}

TEST(Optimizer, LeavesEverythingWhereAGradientIsNotFinite) {
  const Parameters parameters = parameters_of(at::ones({1, 1}), at::ones({1}));
  parameters.gradients[0] = std::numeric_limits<float>::infinity();
  OptimizerState state = make_optimizer_state(parameters);
  const OptimizerStep step = optimizer_step(parameters, state, {}, 0.1, 1.0);
  EXPECT_FALSE(std::isfinite(step.gradient_norm));
  EXPECT_EQ(state.step, 0);
  EXPECT_EQ(parameters.values.sum().item<double>(), 2.0);
}

/// The iteration on one singular value, with bfloat16's roundings.
double iterate(double value) {
  const auto rounded = [](double x) {
    return static_cast<double>(c10::BFloat16(static_cast<float>(x)));
  };
  double y = rounded(value);
  for (int i = 0; i < 5; ++i) {
    const double gram = rounded(y * y);
    const double square = rounded(gram * gram);
    const double polynomial = rounded(rounded(gram * -4.7750) + rounded(square * 2.0315));
    y = rounded(rounded(y * 3.4445) + rounded(polynomial * y));
  }
  return y;
}

TEST(Muon, TakesAStepWorkedOutByHand) {
  // The first gradient of a diagonal matrix diag(3, 4): the momentum is 0.05 of it, the direction
  // 0.05 * g + 0.95 * (0.05 * g - g) ... = g * (1 - 0.95 + 0.95 * 0.05), which only scales. Its
  // norm is taken out: diag(0.6, 0.8). Five times x <- 3.4445 x - 4.7750 x^3 + 2.0315 x^5 by hand
  // on each singular value, since all steps stay diagonal; each step rounded to bfloat16.
  const Parameters parameters = parameters_of(at::eye(2), at::zeros({1}));
  Parameters::view(parameters.gradients, *parameters.find("matrix"))
      .copy_(at::tensor({3.0F, 0.0F, 0.0F, 4.0F}).view({2, 2}));
  OptimizerState state = make_optimizer_state(parameters);
  const OptimizerOptions options{.adamw = {.weight_decay = 0.1},
                                 .muon = MuonOptions{.learning_rate = 0.5},
                                 .max_gradient_norm = 0.0};
  optimizer_step(parameters, state, options, 0.1, /*schedule=*/0.5);
  const double x = iterate(0.6);
  const double y = iterate(0.8);
  // the rate is 0.5 * 0.5, the decay 0.25 * 0.1
  const auto value = Parameters::view(parameters.values, *parameters.find("matrix"));
  EXPECT_NEAR(value[0][0].item<double>(), 1.0 - 0.025 - 0.25 * x, 1e-3);
  EXPECT_NEAR(value[1][1].item<double>(), 1.0 - 0.025 - 0.25 * y, 1e-3);
  EXPECT_NEAR(value[0][1].item<double>(), 0.0, 1e-6);
}

TEST(Muon, BringsSingularValuesNearOne) {
  at::manual_seed(3);
  for (const auto& shape : {std::vector<std::int64_t>{2, 24, 40}, {1, 40, 24}}) {
    const auto singular = at::linalg_svdvals(orthogonalize(at::randn(shape), 5));
    EXPECT_GT(singular.min().item<double>(), 0.3);
    EXPECT_LT(singular.max().item<double>(), 1.4);
  }
}

TEST(CosineSchedule, HasTheseValues) {
  EXPECT_DOUBLE_EQ(cosine_schedule(0, 10, 0, 0.0), 1.0);
  EXPECT_DOUBLE_EQ(cosine_schedule(5, 10, 0, 0.0), 0.5);   // half of the half wave
  EXPECT_DOUBLE_EQ(cosine_schedule(0, 10, 4, 0.0), 0.25);  // one of four steps up
  EXPECT_DOUBLE_EQ(cosine_schedule(3, 10, 4, 0.0), 1.0);
  EXPECT_DOUBLE_EQ(cosine_schedule(4, 10, 4, 0.0), 1.0);
  EXPECT_NEAR(cosine_schedule(7, 10, 4, 0.2), 0.6, 1e-12);  // midway between 1 and 0.2
}

}  // namespace
}  // namespace espalier
