// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <string>
#include <vector>

#include "espalier/base/random.h"
#include "espalier/synth/colour.h"
#include "espalier/synth/scenes.h"

namespace espalier {

/// The least contrast of ink and paper: WCAG's for text of normal size.
inline constexpr double kLeastContrast = 4.5;

/// The two sizes of a problem's text: pixels of its em, at scale 1.
inline constexpr std::array kEmPixels = {19.0, 24.0};

/// How a problem is drawn. What does not fit is drawn smaller.
struct ProblemStyle {
  std::size_t face;  ///< of kFaces
  double em_pixels;  ///< one of kEmPixels, at scale 1
  double degrees;    ///< of rotation, in [-4, 4]
  double x;          ///< share of the free room that lies to the left, in [0, 1)
  double y;          ///< likewise above
  Colour ink;
  Colour paper;
  bool spaces;         ///< around the signs, where there is room
  std::string ending;  ///< "=?", "=" or nothing
  double noise;        ///< standard deviation of each channel, of 255
  bool operator==(const ProblemStyle&) const = default;
};

ProblemStyle draw_problem_style(Random& random);

/// How a scene is drawn: colours that are near those of its words.
struct SceneStyle {
  std::vector<Colour> objects;  ///< of each object
  Colour background_from;       ///< at one side
  Colour background_to;         ///< at the other
  double direction;             ///< from one side to the other, radians
  double noise;                 ///< standard deviation of each channel, of 255
  bool operator==(const SceneStyle&) const = default;
};

SceneStyle draw_scene_style(const Scene& scene, Random& random);

}  // namespace espalier
