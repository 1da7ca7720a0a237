// SPDX-License-Identifier: Apache-2.0
#include "espalier/train/stepped.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include "espalier/model/tensors.h"
#include "tests/model/fixture.h"

namespace espalier {
namespace {

using test::ModelFixture;

/// Sums of float32 in another order, over a few layers.
constexpr double kRounding = 2e-5;

/// A pack of one sample whose last `labels` tokens are to be predicted.
Pack pack_of(const ModelInput& input, std::int64_t labels) {
  const std::int64_t tokens = input.input_ids.size(0);
  return {.input = input,
          .label_rows = at::arange(tokens - labels - 1, tokens - 1, at::kLong),
          .targets = input.input_ids.slice(0, tokens - labels, tokens),
          .weights = at::full({labels}, 1.0 / static_cast<double>(labels)),
          .row_weight = 1.0 / static_cast<double>(tokens),
          .dropout_seed = 5};
}

/// All gradients by one graph of autograd over the whole model, by name.
std::map<std::string, at::Tensor> one_graph(const Qwen3VL& model, const Pack& pack) {
  const c10::AutoGradMode grad(true);
  Qwen3VL leaves = model;
  visit_tensors(leaves, [&](const std::string&, at::Tensor& tensor) {
    if (tensor.defined()) tensor = tensor.detach().clone().requires_grad_();
  });
  if (model.config.tie_word_embeddings) leaves.lm_head.weight = leaves.language_model.embed_tokens;
  const auto rows = forward(leaves, pack.input).index_select(0, pack.label_rows);
  const auto logits = head(leaves, final_norm(leaves, rows));
  const auto losses = -at::log_softmax(logits, -1).gather(-1, pack.targets.unsqueeze(-1));
  (losses.squeeze(-1) * pack.weights).sum().backward();
  std::map<std::string, at::Tensor> gradients;
  visit_tensors(leaves, [&](const std::string& name, at::Tensor& tensor) {
    if (tensor.defined() && tensor.grad().defined()) gradients[name] = tensor.grad();
  });
  return gradients;
}

TrainedModel train(const Qwen3VL& model, std::string_view part, const LoraOptions& lora = {}) {
  return make_trained_model(model, parse_trained_part(part, model.config.text.num_hidden_layers),
                            lora, 1);
}

/// Gives adapters a B that does something.
void stir(const TrainedModel& trained) {
  at::manual_seed(11);
  trained.parameters.values.add_(at::randn_like(trained.parameters.values), 0.02);
  trained.parameters.refresh();
}

class Stepped : public testing::TestWithParam<std::string> {
 protected:
  Stepped() : fixture_(test::open_fixture(GetParam(), "float32")) {
    at::set_num_threads(1);  // on a busy machine, small regions of two threads wait for each other
  }
  [[nodiscard]] const Qwen3VL& model() const { return fixture_.session.model; }
  [[nodiscard]] Pack pack() const { return pack_of(fixture_.input, 5); }
  ModelFixture fixture_;
};

TEST_P(Stepped, GradientsAreThoseOfOneGraph) {
  const auto expected = one_graph(model(), pack());
  for (const std::int64_t kept : {0, 1, 99}) {
    const TrainedModel trained = train(model(), "all");
    run_pack(trained, nullptr, pack(), {}, {.kept_layers = kept});
    for (const ParameterSlot& slot : trained.parameters.slots) {
      const auto found = Parameters::view(trained.parameters.gradients, slot);
      ASSERT_TRUE(expected.contains(slot.name)) << slot.name;
      const auto& wanted = expected.at(slot.name).view(slot.shape);
      EXPECT_LE((found - wanted).norm().item<double>(), kRounding * wanted.norm().item<double>())
          << slot.name << " " << kept;
    }
  }
}

TEST_P(Stepped, GradientsOfAPartAreThoseOfTheWhole) {
  const TrainedModel whole = train(model(), "all");
  run_pack(whole, nullptr, pack(), {});
  for (const std::string part : {"layers:1", "vision", "projector", "embedding", "decoder"}) {
    const TrainedModel trained = train(model(), part);
    run_pack(trained, nullptr, pack(), {});
    for (const ParameterSlot& slot : trained.parameters.slots) {
      EXPECT_TRUE(at::allclose(
          Parameters::view(trained.parameters.gradients, slot),
          Parameters::view(whole.parameters.gradients, *whole.parameters.find(slot.name)), 1e-4,
          1e-7))
          << part << " " << slot.name;
    }
  }
}

TEST_P(Stepped, RunsALayerAgainToTheSameBit) {
  std::vector<at::Tensor> gradients;
  for (const std::int64_t kept : {0, 1, 99}) {
    const TrainedModel trained = train(model(), "lora", {.rank = 4, .dropout = 0.3});
    stir(trained);
    run_pack(trained, nullptr, pack(), {}, {.kept_layers = kept});
    gradients.push_back(trained.parameters.gradients);
  }
  EXPECT_GT(gradients[0].abs().sum().item<double>(), 0.0);
  EXPECT_TRUE(at::equal(gradients[0], gradients[1]));
  EXPECT_TRUE(at::equal(gradients[0], gradients[2]));
}

TEST_P(Stepped, DropsOtherNumbersInAnotherStep) {
  const TrainedModel trained = train(model(), "lora", {.rank = 4, .dropout = 0.3});
  stir(trained);
  Pack pack = this->pack();
  const double first = run_pack(trained, nullptr, pack, {}).total;
  EXPECT_EQ(run_pack(trained, nullptr, pack, {}).total, first);
  pack.dropout_seed = 6;
  EXPECT_NE(run_pack(trained, nullptr, pack, {}).total, first);
  EXPECT_EQ(run_pack(trained, nullptr, pack, {}, {.backward = false}).total,
            run_pack(trained, nullptr, this->pack(), {}, {.backward = false}).total);
}

TEST_P(Stepped, AdaptersAtBirthAreNothing) {
  const TrainedModel trained = train(model(), "lora", {.dropout = 0.0});
  const auto logits = [&](const Qwen3VL& of) {
    const at::NoGradGuard no_grad;
    return head(of, final_norm(of, forward(of, fixture_.input)));
  };
  EXPECT_TRUE(at::equal(logits(trained.model), logits(model())));
}

TEST_P(Stepped, AnAdaptersGradientIsThatOfTheProductItStandsFor) {
  // With y = (W + s B A) x: dB = s dW A^T and dA = s B^T dW.
  const TrainedModel whole = train(model(), "decoder");
  run_pack(whole, nullptr, pack(), {});
  const TrainedModel trained = train(model(), "lora", {.rank = 3, .alpha = 6.0, .dropout = 0.0});
  run_pack(trained, nullptr, pack(), {});
  for (const ParameterSlot& slot : whole.parameters.slots) {
    if (slot.kind != ParameterKind::Matrix) continue;
    const std::string name = slot.name.substr(0, slot.name.rfind('.'));
    const auto of = [&](const at::Tensor& flat, const std::string& tensor) {
      return Parameters::view(flat, *trained.parameters.find(tensor));
    };
    const auto a = of(trained.parameters.values, lora_a_name(name));
    const auto wanted = at::matmul(Parameters::view(whole.parameters.gradients, slot), a.t()) * 2.0;
    EXPECT_LE(
        test::relative_difference(of(trained.parameters.gradients, lora_b_name(name)), wanted),
        1e-3)
        << name;
  }
}

TEST_P(Stepped, AnUnprunedStudentHasNothingToLearnFromItsParent) {
  const TrainedModel trained = train(model(), "lora", {.dropout = 0.0});
  Teacher teacher{.model = model(), .layers = {}, .shares_vision = true};
  for (std::int64_t i = 0; i < model().config.text.num_hidden_layers; ++i) {
    teacher.layers.push_back(i);
  }
  for (const std::int64_t top_k : {0, 4}) {
    const Objective objective{.head = {.teacher_share = 1.0, .top_k = top_k}, .hidden_weight = 1.0};
    const PackLoss loss = run_pack(trained, &teacher, pack(), objective);
    EXPECT_EQ(loss.divergence.abs().max().item<double>(), 0.0);
    EXPECT_EQ(loss.hidden, 0.0);
    EXPECT_LE(trained.parameters.gradients.abs().max().item<double>(), 1e-7);
  }
}

TEST_P(Stepped, HiddenStatesAreMatchedAcrossAGap) {
  // A student without layer 1 differs from its parent at the entrance of layer 2 alone.
  const std::int64_t layers = model().config.text.num_hidden_layers;
  if (layers < 3) GTEST_SKIP() << "needs a layer between two others";
  std::vector<std::int64_t> kept;
  for (std::int64_t i = 0; i < layers; ++i) {
    if (i != 1) kept.push_back(i);
  }
  const TrainedModel trained = train(keep_layers(model(), kept), "lora", {.dropout = 0.0});
  stir(trained);
  const Teacher teacher{.model = model(), .layers = kept, .shares_vision = true};
  const Objective objective{.head = {.teacher_share = 1.0}, .hidden_weight = 1.0};
  const PackLoss loss = run_pack(trained, &teacher, pack(), objective);
  EXPECT_GT(loss.hidden, 0.0);
  EXPECT_GT(loss.divergence.mean().item<double>(), 0.0);

  // The gradient is the slope of the loss along it.
  const at::Tensor direction = trained.parameters.gradients.clone();
  const double slope = direction.square().sum().item<double>();
  const double step = 1e-3 / std::sqrt(slope);
  const auto total_at = [&](double distance) {
    trained.parameters.values.add_(direction, distance);
    const double total = run_pack(trained, &teacher, pack(), objective, {.backward = false}).total;
    trained.parameters.values.add_(direction, -distance);
    return total;
  };
  const double measured = (total_at(step) - total_at(-step)) / (2.0 * step);
  EXPECT_NEAR(measured, slope, 0.02 * slope);
}

TEST_P(Stepped, PackingIsInvisible) {
  // Two samples in one pack and each in a pack of its own: the same losses and gradients.
  const ModelInput& one = fixture_.input;
  const std::int64_t border = one.input_ids.size(0);
  ModelInput text;
  text.input_ids = one.input_ids.masked_select(one.input_ids != model().config.image_token_id);
  const std::int64_t tokens = text.input_ids.size(0);
  const auto line = at::arange(tokens, at::kLong);
  text.position_ids = at::stack({line, line, line});
  text.segments = {{.begin = 0, .end = tokens}};
  text.rope_delta = {0};

  ModelInput packed = one;
  packed.input_ids = at::cat({one.input_ids, text.input_ids});
  packed.position_ids = at::cat({one.position_ids, text.position_ids}, 1);
  packed.segments = {{.begin = 0, .end = border}, {.begin = border, .end = border + tokens}};
  const Pack first = pack_of(one, 4);
  const Pack second = pack_of(text, 6);
  Pack both{.input = packed,
            .label_rows = at::cat({first.label_rows, second.label_rows + border}),
            .targets = at::cat({first.targets, second.targets}),
            .weights = at::cat({first.weights, second.weights})};

  const TrainedModel apart = train(model(), "all");
  const double losses =
      run_pack(apart, nullptr, first, {}).total + run_pack(apart, nullptr, second, {}).total;
  const TrainedModel together = train(model(), "all");
  EXPECT_NEAR(run_pack(together, nullptr, both, {}).total, losses, kRounding);
  for (const ParameterSlot& slot : apart.parameters.slots) {
    const auto wanted = Parameters::view(apart.parameters.gradients, slot);
    const auto found = Parameters::view(together.parameters.gradients, slot);
    EXPECT_LE((found - wanted).norm().item<double>(), 1e-4 * wanted.norm().item<double>())
        << slot.name;
  }
}

INSTANTIATE_TEST_SUITE_P(Models, Stepped, testing::ValuesIn(test::kModels),
                         [](const auto& of) { return of.param; });

TEST(TrainedPart, UnderstandsListsOfParts) {
  EXPECT_EQ(parse_trained_part("layers:1,3-4,projector", 6).layers,
            (std::vector<std::int64_t>{1, 3, 4}));
  EXPECT_TRUE(parse_trained_part("layers:1,3-4,projector", 6).projector);
  EXPECT_EQ(parse_trained_part("lora:2-3", 6).layers, (std::vector<std::int64_t>{2, 3}));
  EXPECT_TRUE(parse_trained_part("all", 2).embedding);
  EXPECT_ANY_THROW(parse_trained_part("lora,projector", 6));
  EXPECT_ANY_THROW(parse_trained_part("layers:6", 6));
  EXPECT_ANY_THROW(parse_trained_part("projektor", 6));
}

}  // namespace
}  // namespace espalier
