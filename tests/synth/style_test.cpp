// SPDX-License-Identifier: Apache-2.0
#include "espalier/synth/style.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "espalier/synth/faces.h"

namespace espalier {
namespace {

double distance(const Colour& a, const Colour& b) {
  return std::hypot(a.red - b.red, a.green - b.green, a.blue - b.blue);
}

TEST(ProblemStyle, KeepsInkAndPaperApartAndItsRanges) {
  Random random(1);
  std::set<std::size_t> faces;
  std::set<double> sizes;
  int dark_paper = 0;
  for (int i = 0; i < 2000; ++i) {
    const ProblemStyle style = draw_problem_style(random);
    EXPECT_GE(contrast(style.ink, style.paper), kLeastContrast);
    EXPECT_LE(std::abs(style.degrees), 4.0);
    EXPECT_GE(style.noise, 2.0);
    EXPECT_LE(style.noise, 10.0);
    faces.insert(style.face);
    sizes.insert(style.em_pixels);
    dark_paper += style.paper.green < style.ink.green ? 1 : 0;
  }
  EXPECT_EQ(faces.size(), kFaces.size());
  EXPECT_EQ(sizes, std::set<double>(kEmPixels.begin(), kEmPixels.end()));
  EXPECT_GT(dark_paper, 500);
  EXPECT_LT(dark_paper, 1500);
}

// Otherwise "red" and "orange" would be what one cannot tell from the picture.
TEST(SceneStyle, KeepsEveryColourNearestToItsOwnWord) {
  Random random(2);
  for (int i = 0; i < 2000; ++i) {
    const Scene scene = draw_scene(Split::Train, random);
    const SceneStyle style = draw_scene_style(scene, random);
    ASSERT_EQ(style.objects.size(), scene.objects.size());
    for (std::size_t k = 0; k < style.objects.size(); ++k) {
      for (std::size_t c = 0; c < kObjectColours.size(); ++c) {
        if (c == scene.objects[k].colour) continue;
        EXPECT_LT(distance(style.objects[k], kObjectColours[scene.objects[k].colour].colour),
                  distance(style.objects[k], kObjectColours.at(c).colour));
      }
    }
  }
}

TEST(SceneStyle, KeepsThingsApartFromTheBackground) {
  for (const NamedColour& colour : kObjectColours) {
    for (const NamedColour& background : kBackgrounds) {
      EXPECT_GT(distance(colour.colour, background.colour), 0.45)
          << colour.name << " on " << background.name;
    }
  }
}

}  // namespace
}  // namespace espalier
