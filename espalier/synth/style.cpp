// SPDX-License-Identifier: Apache-2.0
#include "espalier/synth/style.h"

#include <array>
#include <numbers>

#include "espalier/synth/faces.h"

namespace espalier {

namespace {

constexpr double kMostDegrees = 4.0;
constexpr double kLeastNoise = 2.0;
constexpr double kMostNoise = 10.0;
constexpr double kColourSpread = 0.06;
constexpr double kBackgroundSpread = 0.05;
constexpr std::array kEndings = {"=?", "=", ""};

template <typename List>
const auto& draw_from(const List& list, Random& random) {
  return list.at(static_cast<std::size_t>(random.below(list.size())));
}

}  // namespace

ProblemStyle draw_problem_style(Random& random) {
  ProblemStyle style{.face = static_cast<std::size_t>(random.below(kFaces.size())),
                     .em_pixels = draw_from(kEmPixels, random),
                     .degrees = draw_between(-kMostDegrees, kMostDegrees, random),
                     .x = random.uniform(),
                     .y = random.uniform(),
                     .spaces = random.below(2) == 0,
                     .ending = draw_from(kEndings, random),
                     .noise = draw_between(kLeastNoise, kMostNoise, random)};
  do {
    style.ink = draw_colour(random);
    style.paper = draw_colour(random);
  } while (contrast(style.ink, style.paper) < kLeastContrast);
  return style;
}

SceneStyle draw_scene_style(const Scene& scene, Random& random) {
  const Colour& background = kBackgrounds.at(scene.background).colour;
  SceneStyle style{.background_from = vary(background, kBackgroundSpread, random),
                   .background_to = vary(background, kBackgroundSpread, random),
                   .direction = draw_between(0.0, 2.0 * std::numbers::pi, random),
                   .noise = draw_between(kLeastNoise, kMostNoise, random)};
  for (const SceneObject& object : scene.objects) {
    style.objects.push_back(vary(kObjectColours.at(object.colour).colour, kColourSpread, random));
  }
  return style;
}

}  // namespace espalier
