// SPDX-License-Identifier: Apache-2.0
// Training held against peft, transformers and torch's AdamW: 20 steps of LoRA on a small
// checkpoint, from one start (tests/reference/make_training_fixtures.py). Tensors go by peft's
// keys.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "espalier/base/json.h"
#include "espalier/train/adapter_files.h"
#include "espalier/train/optimizer.h"
#include "espalier/train/stepped.h"
#include "tests/model/fixture.h"
#include "tests/support.h"

namespace espalier {
namespace {

/// Rounding of float32 alone: sums over tokens, layers and rows in another order.
constexpr double kLossDifference = 1e-6;
constexpr double kGradientDifference = 1e-4;
constexpr double kLogitDifference = 1e-5;
/// AdamW divides by the gradient's size, so that rounding of a small number counts as a large
/// one's.
constexpr double kUpdateDifference = 1e-3;
constexpr double kFreeLossDifference = 1e-5;

constexpr double kRate = 1e-3;

std::string key_of(const ParameterSlot& slot) { return "base_model.model." + slot.name; }

double relative_norm(const at::Tensor& found, const at::Tensor& wanted) {
  const double distance = (found - wanted).norm().item<double>();
  const double norm = wanted.norm().item<double>();
  return norm > 0.0 ? distance / norm : distance;
}

/// Samples one after another.
Pack joined(const std::vector<Pack>& packs) {
  Pack together = packs.front();
  for (std::size_t i = 1; i < packs.size(); ++i) {
    const ModelInput& more = packs[i].input;
    ModelInput& input = together.input;
    const std::int64_t border = input.input_ids.size(0);
    input.input_ids = at::cat({input.input_ids, more.input_ids});
    input.position_ids = at::cat({input.position_ids, more.position_ids}, 1);
    if (more.pixel_values.defined()) {
      input.pixel_values = input.pixel_values.defined()
                               ? at::cat({input.pixel_values, more.pixel_values})
                               : more.pixel_values;
    }
    input.grids.insert(input.grids.end(), more.grids.begin(), more.grids.end());
    input.segments.push_back({.begin = border, .end = border + more.input_ids.size(0)});
    together.label_rows = at::cat({together.label_rows, packs[i].label_rows + border});
    together.targets = at::cat({together.targets, packs[i].targets});
    together.weights = at::cat({together.weights, packs[i].weights});
  }
  return together;
}

class PeftParity : public testing::Test {
 protected:
  PeftParity()
      : fixture_(test::open_fixture("gqa_tied", "float32")),
        reference_(test::read_tensors(test::fixture("training/training.safetensors"))),
        trained_(make_trained_model(
            fixture_.session.model,
            parse_trained_part("lora", fixture_.session.model.config.text.num_hidden_layers),
            {.rank = 4, .alpha = 8.0, .dropout = 0.0}, /*seed=*/1)) {
    // Products this small cost less than waking a second thread.
    at::set_num_threads(1);
  }

  [[nodiscard]] std::int64_t steps() const { return of("steps.losses").size(0); }

  [[nodiscard]] const at::Tensor& of(const std::string& name) const {
    const auto found = reference_.find(name);
    if (found == reference_.end()) throw std::out_of_range(name);
    return found->second;
  }

  /// The steps whose weights and gradients are kept.
  [[nodiscard]] std::vector<std::int64_t> kept_steps() const {
    std::vector<std::int64_t> kept;
    const std::string key = key_of(trained_.parameters.slots.front());
    for (std::int64_t step = 0; step < steps(); ++step) {
      if (reference_.contains(fmt::format("steps.{}.weights.{}", step, key))) kept.push_back(step);
    }
    return kept;
  }

  void set_weights(std::int64_t step) const {
    for (const ParameterSlot& slot : trained_.parameters.slots) {
      Parameters::view(trained_.parameters.values, slot)
          .copy_(of(fmt::format("steps.{}.weights.{}", step, key_of(slot))));
    }
    trained_.parameters.refresh();
  }

  /// A sample's pack; its rows' weights are those of the step it is in.
  [[nodiscard]] Pack sample(std::int64_t number) const {
    const auto part = [&](std::string_view name) {
      return fmt::format("samples.{}.{}", number, name);
    };
    ModelInput input;
    input.input_ids = of(part("input_ids"));
    input.position_ids = of(part("position_ids"));
    input.segments = {{.begin = 0, .end = input.input_ids.size(0)}};
    if (reference_.contains(part("grid_thw"))) {
      const at::Tensor& grid = of(part("grid_thw"));
      input.grids = {{.t = grid[0][0].item<std::int64_t>(),
                      .h = grid[0][1].item<std::int64_t>(),
                      .w = grid[0][2].item<std::int64_t>()}};
      const at::Tensor& rows = of(part("pixel_rows"));
      input.pixel_values =
          fixture_.expected.at("pixel_values")
              .slice(0, rows[0].item<std::int64_t>(), rows[1].item<std::int64_t>());
    }
    return {.input = std::move(input),
            .label_rows = of(part("label_rows")),
            .targets = of(part("targets")),
            .weights = {}};
  }

  /// A step's samples, each label token counted as one of all of the step's.
  [[nodiscard]] std::vector<Pack> packs_of(std::int64_t step) const {
    std::vector<Pack> packs;
    std::int64_t tokens = 0;
    const at::Tensor chosen = of("steps.samples")[step];
    for (std::int64_t i = 0; i < chosen.size(0); ++i) {
      packs.push_back(sample(chosen[i].item<std::int64_t>()));
      tokens += packs.back().targets.size(0);
    }
    for (Pack& pack : packs) {
      pack.weights = at::full({pack.targets.size(0)}, 1.0 / static_cast<double>(tokens));
    }
    return packs;
  }

  double run(const std::vector<Pack>& packs) const {
    double loss = 0.0;
    for (const Pack& pack : packs) loss += run_pack(trained_, nullptr, pack, {}).total;
    return loss;
  }

  [[nodiscard]] double loss_error(std::int64_t step, double found) const {
    const double wanted = of("steps.losses")[step].item<double>();
    return std::abs(found - wanted) / wanted;
  }

  /// Sets the kept steps' weights, runs their samples and holds losses and gradients against
  /// peft's.
  void expect_steps_agree(bool together) {
    double largest_loss = 0.0;
    double largest_gradient = 0.0;
    for (const std::int64_t step : kept_steps()) {
      set_weights(step);
      trained_.parameters.gradients.zero_();
      const std::vector<Pack> packs = packs_of(step);
      const double loss = run(together ? std::vector{joined(packs)} : packs);
      EXPECT_LE(loss_error(step, loss), kLossDifference) << "step " << step;
      largest_loss = std::max(largest_loss, loss_error(step, loss));
      for (const ParameterSlot& slot : trained_.parameters.slots) {
        const double difference =
            relative_norm(Parameters::view(trained_.parameters.gradients, slot),
                          of(fmt::format("steps.{}.gradients.{}", step, key_of(slot))));
        EXPECT_LE(difference, kGradientDifference) << "step " << step << " " << slot.name;
        largest_gradient = std::max(largest_gradient, difference);
      }
    }
    RecordProperty("largest_loss_difference", fmt::format("{:.1e}", largest_loss));
    RecordProperty("largest_gradient_difference", fmt::format("{:.1e}", largest_gradient));
  }

  [[nodiscard]] static std::map<std::string, at::Tensor> adapter_of_peft() {
    return test::read_tensors(test::fixture("training/adapter/adapter_model.safetensors"));
  }

  /// The last rows' logits of a sample.
  [[nodiscard]] static at::Tensor last_logits(const Qwen3VL& model, const Pack& pack,
                                              std::int64_t rows) {
    const c10::AutoGradMode no_grad(false);
    const at::Tensor hidden = forward(model, pack.input);
    return head(model, final_norm(model, hidden.slice(0, hidden.size(0) - rows)));
  }

  test::ModelFixture fixture_;
  std::map<std::string, at::Tensor> reference_;
  TrainedModel trained_;
};

TEST_F(PeftParity, TheFixtureHoldsEveryTrainedTensorOfSeveralSteps) {
  const std::vector<std::int64_t> kept = kept_steps();
  ASSERT_GE(kept.size(), 4U);
  EXPECT_EQ(kept.front(), 0);
  const auto names = std::ranges::count_if(reference_, [](const auto& entry) {
    return entry.first.find(".lora_") != std::string::npos;
  });
  const auto slots = std::ssize(trained_.parameters.slots);
  EXPECT_EQ(names, 2 * std::ssize(kept) * slots);
  EXPECT_EQ(std::ssize(adapter_of_peft()), slots);
}

TEST_F(PeftParity, LossAndGradientsAreThoseOfPeft) { expect_steps_agree(/*together=*/false); }

TEST_F(PeftParity, APackOfAStepsSamplesHasTheLossAndGradientsOfPeftsSeparatePasses) {
  expect_steps_agree(/*together=*/true);
}

TEST_F(PeftParity, TwentyStepsEndWherePeftsDo) {
  set_weights(0);
  const at::Tensor start = trained_.parameters.values.clone();
  OptimizerState state = make_optimizer_state(trained_.parameters);
  double largest_loss = 0.0;
  for (std::int64_t step = 0; step < steps(); ++step) {
    largest_loss = std::max(largest_loss, loss_error(step, run(packs_of(step))));
    const double schedule = cosine_schedule(step, steps(), /*warmup=*/0, /*floor=*/0.0);
    const OptimizerStep taken =
        optimizer_step(trained_.parameters, state, {}, kRate * schedule, schedule);
    const double norm = of("steps.gradient_norms")[step].item<double>();
    EXPECT_NEAR(taken.gradient_norm, norm, kGradientDifference * norm) << "step " << step;
  }
  EXPECT_LE(largest_loss, kFreeLossDifference);

  const auto trained = adapter_of_peft();
  at::Tensor wanted = at::zeros_like(start);
  double largest_update = 0.0;
  for (const ParameterSlot& slot : trained_.parameters.slots) {
    const at::Tensor begun = Parameters::view(start, slot);
    const at::Tensor update = trained.at(key_of(slot)) - begun;
    Parameters::view(wanted, slot).copy_(update);
    const at::Tensor found = Parameters::view(trained_.parameters.values, slot) - begun;
    EXPECT_LE(relative_norm(found, update), kUpdateDifference) << slot.name;
    largest_update = std::max(largest_update, relative_norm(found, update));
  }
  const double whole = relative_norm(trained_.parameters.values - start, wanted);
  EXPECT_LE(whole, kUpdateDifference);
  RecordProperty("largest_loss_difference", fmt::format("{:.1e}", largest_loss));
  RecordProperty("update_difference", fmt::format("{:.1e}", whole));
  RecordProperty("largest_update_difference", fmt::format("{:.1e}", largest_update));
}

TEST_F(PeftParity, AnAdapterOfPeftGivesPeftsLogits) {
  const auto folder = test::fixture("training/adapter");
  const Adapter adapter = read_adapter(folder);
  EXPECT_EQ(adapter.options.rank, 4);
  EXPECT_EQ(adapter.options.alpha, 8.0);
  EXPECT_EQ(adapter.scale, 2.0);
  EXPECT_EQ(adapter.options.targets.size(), 7U);
  Qwen3VL model = fixture_.session.model;
  attach_adapter(model, adapter, folder, fingerprint(fixture_.session.directory));
  double largest = 0.0;
  for (std::int64_t number = 0; number < 4; ++number) {
    const at::Tensor& wanted = of(fmt::format("samples.{}.logits", number));
    const Pack pack = sample(number);
    const double difference = relative_norm(last_logits(model, pack, wanted.size(0)), wanted);
    EXPECT_LE(difference, kLogitDifference) << "sample " << number;
    largest = std::max(largest, difference);
    const at::Tensor without = last_logits(fixture_.session.model, pack, wanted.size(0));
    EXPECT_GE(relative_norm(without, wanted), 0.1) << "sample " << number;
  }
  RecordProperty("largest_logit_difference", fmt::format("{:.1e}", largest));
}

TEST(Adapter, RefusesWhatPeftWouldComputeOtherwise) {
  // Each of these, put into a file that is otherwise good; tensors have the same names and shapes.
  const auto options = nlohmann::json::parse(R"({
    "use_dora": true, "use_qalora": true, "lora_bias": true, "fan_in_fan_out": true, "bias": "all",
    "modules_to_save": ["lm_head"], "rank_pattern": {"q_proj": 2}, "alpha_pattern": {"q_proj": 2},
    "trainable_token_indices": [1], "layer_replication": [[0, 2]], "arrow_config": {"top_k": 2},
    "alora_invocation_tokens": [257], "kasa_config": {"beta": 1}, "use_bdlora": {"nblocks": 2},
    "monteclora_config": {"num_samples": 2}, "init_lora_weights": "pissa_niter_4",
    "peft_type": "LOHA"})");
  const auto good = test::fixture("training/adapter");
  const auto config = read_json(good / "adapter_config.json");
  const test::TemporaryDirectory folder;
  std::filesystem::copy(good / "adapter_model.safetensors", folder / "adapter_model.safetensors");
  const auto read_with = [&](const std::string& key, const nlohmann::json& value) {
    nlohmann::json changed = config;
    changed[key] = value;
    test::write_quickly(folder / "adapter_config.json", changed.dump());
    return read_adapter(folder.path());
  };
  for (const auto& [key, value] : options.items()) {
    const std::string message =
        test::input_error([&, &key = key, &value = value] { read_with(key, value); });
    EXPECT_NE(message.find(key), std::string::npos) << message;
  }
  EXPECT_EQ(read_with("init_lora_weights", "gaussian").scale, 2.0);
  EXPECT_EQ(read_with("use_rslora", true).scale, 4.0) << "alpha / sqrt(r) = 8 / 2";
}

TEST_F(PeftParity, WritesPeftsFilesOfTheSameAdapter) {
  const auto trained = adapter_of_peft();
  for (const ParameterSlot& slot : trained_.parameters.slots) {
    Parameters::view(trained_.parameters.values, slot).copy_(trained.at(key_of(slot)));
  }
  const test::TemporaryDirectory folder;
  write_adapter(folder.path(), trained_, "gqa_tied", "");
  const auto written = test::read_tensors(folder / "adapter_model.safetensors");
  ASSERT_EQ(written.size(), trained.size());
  for (const auto& [key, tensor] : trained) {
    ASSERT_TRUE(written.contains(key)) << key;
    EXPECT_TRUE(at::equal(written.at(key), tensor)) << key;
  }

  // An option that peft does not know makes it refuse or warn; of those that it knows, only the way
  // in which the products are named may differ.
  const auto ours = read_json(folder / "adapter_config.json");
  const auto theirs = read_json(test::fixture("training/adapter/adapter_config.json"));
  for (const auto& [key, value] : ours.items()) {
    ASSERT_TRUE(theirs.contains(key)) << key;
    if (key == "target_modules") continue;
    EXPECT_EQ(value, theirs.at(key)) << key;
  }
}

}  // namespace
}  // namespace espalier
