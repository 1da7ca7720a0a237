// SPDX-License-Identifier: Apache-2.0
// Single stages held against the reference on many inputs (tests/reference/make_stage_fixtures.py).
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "espalier/base/error.h"
#include "espalier/base/json.h"
#include "espalier/image/smart_resize.h"
#include "espalier/model/kernels.h"
#include "espalier/model/pixels.h"
#include "espalier/model/rope.h"
#include "tests/model/fixture.h"
#include "tests/support.h"

namespace espalier {
namespace {

TEST(Stages, PositionsEqualGetRopeIndex) {
  const auto file = read_json(test::fixture("stages/positions.json"));
  for (const auto& prompt : file.at("prompts")) {
    std::vector<ImageGrid> grids;
    for (const auto& grid : prompt.at("grids"))
      grids.push_back({.t = grid[0], .h = grid[1], .w = grid[2]});
    const auto ids = prompt.at("ids").get<std::vector<std::int64_t>>();
    const Positions found =
        rope_positions(ids, grids, file.at("image_token_id"), file.at("spatial_merge_size"));
    for (std::size_t axis = 0; axis < 3; ++axis) {
      EXPECT_EQ(found.axes[axis], prompt.at("position_ids")[axis].get<std::vector<std::int64_t>>());
    }
    EXPECT_EQ(found.delta, prompt.at("rope_delta").get<std::int64_t>());
  }
}

TEST(Stages, SizesEqualSmartResize) {
  const auto file = read_json(test::fixture("stages/smart_resize.json"));
  for (const auto& row : file.at("rows")) {
    const Size size{.width = row[1], .height = row[0]};
    const ResizeLimits limits{
        .factor = file.at("factor"), .min_pixels = row[2], .max_pixels = row[3]};
    if (row[4].is_null()) {
      EXPECT_THROW(smart_resize(size, limits, "picture"), InputError) << row;
    } else {
      const Size expected{.width = row[4][1], .height = row[4][0]};
      EXPECT_EQ(smart_resize(size, limits, "picture"), expected) << row;
    }
  }
}

TEST(Stages, PixelsEqualTheProcessors) {
  const auto tensors = test::read_tensors(test::fixture("stages/pixels.safetensors"));
  int pictures = 0;
  for (; tensors.contains(std::to_string(pictures) + ".image"); ++pictures) {
    const std::string prefix = std::to_string(pictures);
    const auto& pixels = tensors.at(prefix + ".image");
    const auto* begin = pixels.const_data_ptr<std::uint8_t>();
    const Image image{.width = static_cast<int>(pixels.size(1)),
                      .height = static_cast<int>(pixels.size(0)),
                      .rgb = {begin, begin + pixels.numel()}};
    const auto& expected = tensors.at(prefix + ".resized");
    const auto resized = resize(image, {.width = static_cast<int>(expected.size(2)),
                                        .height = static_cast<int>(expected.size(1))});
    EXPECT_TRUE(at::equal(resized, expected)) << prefix;
    if (const auto rows = tensors.find(prefix + ".rows"); rows != tensors.end()) {
      const auto values = tensors.at("normalized").index({rows->second.to(at::kLong)});
      EXPECT_TRUE(at::equal(to_patches(resized, test::kReleasedPreprocessor), values)) << prefix;
    }
  }
  EXPECT_EQ(pictures, 12);
}

// Bit for bit, but for the tanh GELU: ours is the nearest bfloat16 also where the reference's
// 1 + tanh cancels (x < -2.9), up to 1.6e-5 away.
TEST(Stages, KernelsEqualTheReferencesInBfloat16) {
  auto t = test::read_tensors(test::fixture("stages/kernels.safetensors"));
  EXPECT_TRUE(at::equal(rms_norm(t["rms_norm.x"], t["rms_norm.weight"], 1e-6), t["rms_norm.y"]));
  EXPECT_TRUE(at::equal(norm_and_rotate(t["norm_and_rotate.x"], t["norm_and_rotate.weight"], 1e-6,
                                        t["norm_and_rotate.cos"], t["norm_and_rotate.sin"]),
                        t["norm_and_rotate.y"]));
  EXPECT_TRUE(at::equal(rotate(t["rotate.x"], t["rotate.cos"], t["rotate.sin"]), t["rotate.y"]));
  EXPECT_TRUE(at::equal(swiglu(t["swiglu.gate"], t["swiglu.up"]), t["swiglu.y"]));
  EXPECT_TRUE(at::equal(gelu_erf(t["gelu_erf.x"]), t["gelu_erf.y"]));
  const auto gelu = gelu_tanh(t["gelu_tanh.x"]).to(at::kFloat);
  EXPECT_LE((gelu - t["gelu_tanh.y"].to(at::kFloat)).abs().max().item<float>(), 1.6e-5F);
}

}  // namespace
}  // namespace espalier
