// SPDX-License-Identifier: Apache-2.0
// What holds for any input and any weights of the model.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "espalier/model/generate.h"
#include "tests/model/fixture.h"

namespace espalier {
namespace {

using test::ModelFixture;

/// One packed row of logits depends on which rows stand beside it in a product only through the
/// order of float32 sums.
constexpr double kRounding = 1e-5;

at::Tensor all_logits(const Qwen3VL& model, const ModelInput& input) {
  return head(model, final_norm(model, forward(model, input)));
}

class Properties : public testing::TestWithParam<std::string> {
 protected:
  Properties() : fixture_(test::open_fixture(GetParam(), "float32")) {}
  const c10::InferenceMode inference_;
  ModelFixture fixture_;
};

TEST_P(Properties, ChangingATokenChangesNoLogitBeforeIt) {
  const Qwen3VL& model = fixture_.session.model;
  const auto before = all_logits(model, fixture_.input);
  const std::int64_t tokens = fixture_.input.input_ids.size(0);
  for (const std::int64_t place : {tokens - 1, tokens - 4, std::int64_t{1}}) {
    ModelInput changed = fixture_.input;
    changed.input_ids = changed.input_ids.clone();
    changed.input_ids[place] = (changed.input_ids[place].item<std::int64_t>() + 7) % 200;
    const auto after = all_logits(model, changed);
    EXPECT_TRUE(at::equal(before.narrow(0, 0, place), after.narrow(0, 0, place))) << place;
    EXPECT_FALSE(at::equal(before[place], after[place])) << place;
  }
}

TEST_P(Properties, PackingIsInvisible) {
  const Qwen3VL& model = fixture_.session.model;
  const ModelInput& one = fixture_.input;
  ModelInput text;  // the prompt without its pictures' tokens, as a second sample
  const auto kept = (one.input_ids != model.config.image_token_id).nonzero().squeeze(-1);
  const auto line = at::arange(kept.size(0), at::kLong);
  text.input_ids = one.input_ids.index_select(0, kept);
  text.position_ids = at::stack({line, line, line});
  text.segments = {{.begin = 0, .end = kept.size(0)}};
  text.rope_delta = {0};

  ModelInput packed = one;
  const std::int64_t border = one.input_ids.size(0);
  packed.input_ids = at::cat({one.input_ids, text.input_ids});
  packed.position_ids = at::cat({one.position_ids, text.position_ids}, 1);
  packed.segments = {{.begin = 0, .end = border}, {.begin = border, .end = border + kept.size(0)}};
  packed.rope_delta.push_back(0);

  const auto together = all_logits(model, packed);
  EXPECT_LE(test::relative_difference(together.narrow(0, 0, border), all_logits(model, one)),
            kRounding);
  EXPECT_LE(
      test::relative_difference(together.narrow(0, border, kept.size(0)), all_logits(model, text)),
      kRounding);
}

TEST_P(Properties, CachedGenerationEqualsUncached) {
  const Qwen3VL& model = fixture_.session.model;
  const std::int64_t count = 12;
  const auto cached = generate(model, fixture_.input, {.max_new_tokens = count});
  ModelInput input = fixture_.input;
  std::vector<std::int64_t> uncached;
  while (std::ssize(uncached) < count) {
    const auto last = all_logits(model, input)[-1];
    uncached.push_back(last.argmax().item<std::int64_t>());
    const ModelInput next = next_input({{.id = uncached.back(),
                                         .cached = input.input_ids.size(0),
                                         .rope_delta = input.rope_delta.front()}});
    input.input_ids = at::cat({input.input_ids, next.input_ids});
    input.position_ids = at::cat({input.position_ids, next.position_ids}, 1);
    input.segments.front().end += 1;
  }
  EXPECT_EQ(cached, uncached);
}

TEST_P(Properties, APromptInTwoPiecesEqualsOne) {
  const Qwen3VL& model = fixture_.session.model;
  const auto whole = all_logits(model, fixture_.input);
  const std::int64_t tokens = fixture_.input.input_ids.size(0);
  const std::int64_t tail = 5;  // after the pictures
  const auto piece = [&](std::int64_t begin, std::int64_t length) {
    ModelInput part = fixture_.input;
    part.input_ids = part.input_ids.narrow(0, begin, length);
    part.position_ids = part.position_ids.narrow(1, begin, length);
    part.segments = {{.begin = 0, .end = length}};
    return part;
  };
  KvCache cache = make_kv_cache(model.config.text, model.language_model.layers.size(), {tokens},
                                model.dtype(), model.device());
  forward(model, piece(0, tokens - tail), {.cache = &cache});
  ModelInput rest = piece(tokens - tail, tail);
  rest.pixel_values = at::Tensor();
  rest.grids.clear();
  const auto end = head(model, final_norm(model, forward(model, rest, {.cache = &cache})));
  EXPECT_LE(test::relative_difference(end, whole.narrow(0, tokens - tail, tail)), kRounding);
}

TEST_P(Properties, SamplesThatShareAPrefixEqualSeparateRuns) {
  const Qwen3VL& model = fixture_.session.model;
  // Three samples that begin alike: the fixture's prompt with other endings.
  const auto ids = fixture_.input.input_ids;
  const std::int64_t tokens = ids.size(0);
  const std::vector<std::int64_t> lengths = {tokens, tokens - 2, tokens - 5};
  const std::int64_t shared = tokens - 9;
  ModelInput tree = fixture_.input;
  std::vector<at::Tensor> tree_ids = {ids.narrow(0, 0, shared)};
  std::vector<at::Tensor> tree_positions = {fixture_.input.position_ids.narrow(1, 0, shared)};
  tree.segments = {{.begin = 0, .end = shared}};
  std::vector<at::Tensor> separate;
  for (std::size_t s = 0; s < lengths.size(); ++s) {
    ModelInput one = fixture_.input;
    one.input_ids = ids.narrow(0, 0, lengths[s]).clone();
    one.input_ids[lengths[s] - 1] = static_cast<std::int64_t>(40 + s);
    one.position_ids = one.position_ids.narrow(1, 0, lengths[s]);
    one.segments = {{.begin = 0, .end = lengths[s]}};
    separate.push_back(forward(model, one));
    const std::int64_t begin = tree.segments.back().end;
    tree.segments.push_back({.begin = begin,
                             .end = begin + lengths[s] - shared,
                             .prefix_begin = 0,
                             .prefix_end = shared});
    tree_ids.push_back(one.input_ids.narrow(0, shared, lengths[s] - shared));
    tree_positions.push_back(one.position_ids.narrow(1, shared, lengths[s] - shared));
  }
  tree.input_ids = at::cat(tree_ids);
  tree.position_ids = at::cat(tree_positions, 1);
  const at::Tensor together = forward(model, tree);
  for (std::size_t s = 0; s < lengths.size(); ++s) {
    const Segment& own = tree.segments[s + 1];
    const auto found =
        at::cat({together.narrow(0, 0, shared), together.slice(0, own.begin, own.end)});
    EXPECT_LE(test::relative_difference(found, separate[s]), kRounding) << s;
  }
}

TEST_P(Properties, OnlyTheFirstLayersRunWhereThatIsAsked) {
  const Qwen3VL& model = fixture_.session.model;
  std::vector<at::Tensor> inputs;
  forward(model, fixture_.input, {.observe_layer = [&](std::int64_t, const LayerTaps& taps) {
            inputs.push_back(taps.input);
          }});
  for (std::size_t layers = 1; layers < inputs.size(); ++layers) {
    const auto hidden =
        forward(model, fixture_.input, {.first_layers = static_cast<std::int64_t>(layers)});
    EXPECT_TRUE(at::equal(hidden, inputs[layers])) << layers;
  }
}

TEST_P(Properties, DeepStackIsAddedAfterTheFirstPlacesAtPictureTokensOnly) {
  const Qwen3VL& model = fixture_.session.model;
  std::vector<at::Tensor> inputs;
  std::vector<at::Tensor> outputs;
  std::map<std::string, at::Tensor> stages;
  forward(model, fixture_.input,
          {.observe_layer =
               [&](std::int64_t, const LayerTaps& taps) {
                 inputs.push_back(taps.input);
                 outputs.push_back(taps.output);
               },
           .observe_stage = [&](std::string_view stage,
                                const at::Tensor& value) { stages[std::string(stage)] = value; }});
  const auto is_picture = fixture_.input.input_ids == model.config.image_token_id;
  const auto levels = model.config.vision.deepstack_visual_indexes.size();
  for (std::size_t i = 0; i + 1 < inputs.size(); ++i) {
    auto expected = outputs[i].clone();
    if (i < levels) {
      const auto feature = stages.at("visual.deepstack." + std::to_string(i));
      expected.index_put_({is_picture}, expected.index({is_picture}) + feature);
    }
    EXPECT_TRUE(at::equal(inputs[i + 1], expected)) << i;
  }
}

TEST_P(Properties, PicturesDoNotSeeOneAnother) {
  const Session& session = fixture_.session;
  const VisionConfig& config = session.model.config.vision;
  const auto& grid = fixture_.input.grids.front();
  const std::int64_t patches = grid.t * grid.h * grid.w;
  const auto one = fixture_.input.pixel_values.narrow(0, 0, patches);
  const std::vector<ImageGrid> one_grid = {grid};
  const std::vector<ImageGrid> two_grids = {grid, grid};
  const auto alone = encode_images(session.model.visual, config, one, one_grid);
  const auto both =
      encode_images(session.model.visual, config, at::cat({one, one.flip(0)}), two_grids);
  const std::int64_t tokens = alone.image_embeds.size(0);
  EXPECT_LE(test::relative_difference(both.image_embeds.narrow(0, 0, tokens), alone.image_embeds),
            kRounding);
  EXPECT_LE(
      test::relative_difference(both.deepstack.back().narrow(0, 0, tokens), alone.deepstack.back()),
      kRounding);
}

INSTANTIATE_TEST_SUITE_P(Models, Properties, testing::ValuesIn(test::kModels),
                         [](const auto& instance) { return instance.param; });

}  // namespace
}  // namespace espalier
