// SPDX-License-Identifier: Apache-2.0
#include "espalier/checkpoint/layer_selection.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "espalier/base/files.h"
#include "espalier/base/json.h"
#include "espalier/checkpoint/config.h"
#include "tests/support.h"

namespace espalier {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;
using test::input_error;
using ::testing::HasSubstr;

std::string config_of(const std::string& model) {
  return read_file(test::fixture("models/" + model) / "config.json");
}

const std::vector<std::int64_t> kKept = {0, 2, 3};

TEST(LayerSelection, ChangesTheDepthAloneInEitherStyle) {
  for (const char* model : {"gqa_tied", "mha_resaved", "sharded_bf16"}) {
    const std::string text = config_of(model);
    const std::string pruned = keep_layers_in_config(text, "config.json", kKept);
    auto wanted = ordered_json::parse(text);
    wanted["text_config"]["num_hidden_layers"] = 3;
    // Equal texts: the keys' order and the way of writing numbers stay.
    EXPECT_EQ(pruned, wanted.dump(2) + "\n") << model;
    EXPECT_EQ(parse_config(parse_json(pruned, "pruned"), "pruned").text.num_hidden_layers, 3);
  }
}

TEST(LayerSelection, CutsEveryListWithOneEntryALayerWhereverItStands) {
  json value = json::parse(config_of("gqa_tied"));
  value["text_config"]["layer_types"] = std::vector<std::string>(4, "full_attention");
  value["num_hidden_layers"] = 4;
  const json pruned = json::parse(keep_layers_in_config(value.dump(), "config.json", kKept));
  EXPECT_EQ(pruned["text_config"]["layer_types"],
            json(std::vector<std::string>(3, "full_attention")));
  EXPECT_EQ(pruned["num_hidden_layers"], 3);
  EXPECT_EQ(pruned["vision_config"], value["vision_config"]);
}

// Of layers 0 to 3 the first three had no window; of the kept 0, 2, 3 these are 0 and 2.
TEST(LayerSelection, CountsTheLayersBelowTheWindowsAnew) {
  json value = json::parse(config_of("gqa_tied"));
  value["text_config"]["use_sliding_window"] = false;
  value["text_config"]["max_window_layers"] = 3;
  const json pruned = json::parse(keep_layers_in_config(value.dump(), "config.json", kKept));
  EXPECT_EQ(pruned["text_config"]["max_window_layers"], 2);
}

TEST(LayerSelection, RefusesWhatItCannotKeepRight) {
  json unknown = json::parse(config_of("gqa_tied"));
  unknown["text_config"]["layer_scales"] = {1, 1, 1, 1};
  EXPECT_THAT(input_error([&] { keep_layers_in_config(unknown.dump(), "c", kKept); }),
              HasSubstr("layer_scales"));
  json quantized = json::parse(config_of("gqa_tied"));
  quantized["quantization_config"] = {{"bits", 4}};
  EXPECT_THAT(input_error([&] { keep_layers_in_config(quantized.dump(), "c", kKept); }),
              HasSubstr("quantization_config"));
  json other_depth = json::parse(config_of("gqa_tied"));
  other_depth["num_hidden_layers"] = 5;
  EXPECT_THAT(input_error([&] { keep_layers_in_config(other_depth.dump(), "c", kKept); }),
              HasSubstr("num_hidden_layers: wanted 4 as in text_config, found 5"));
}

TEST(TensorNames, TellTheirLayer) {
  EXPECT_EQ(layer_prefix(12), "model.language_model.layers.12.");
  EXPECT_EQ(layer_of_tensor("model.language_model.layers.12.mlp.up_proj.weight"), 12);
  for (const char* name : {"model.language_model.norm.weight", "model.visual.blocks.1.norm1.weight",
                           "model.language_model.layers.", "model.language_model.layers.03.x",
                           "model.language_model.layers.3", "model.language_model.layers.-1.x",
                           "model.language_model.layers.99999999999999999999.x"}) {
    EXPECT_EQ(layer_of_tensor(name), std::nullopt) << name;
  }
}

}  // namespace
}  // namespace espalier
