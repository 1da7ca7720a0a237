// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "espalier/base/random.h"
#include "espalier/image/image.h"
#include "espalier/synth/problems.h"
#include "espalier/synth/scenes.h"
#include "espalier/synth/style.h"
#include "espalier/synth/typesetter.h"

namespace espalier {

/// The size of a problem's picture at scale 1: 128 x 32, and 64 x 64 of a table.
Size picture_size(ProblemKind kind);

/// The size of a scene's picture at scale 1.
inline constexpr Size kSceneSize{.width = 64, .height = 64};

/// What a problem's picture shows, with the signs of print: "38 + 25 = ?", "7×8=", "3x=12". Not of
/// a table.
std::string drawn_text(const Problem& problem, const ProblemStyle& style);

/// Draws a problem, without noise.
///
/// \param scale  how often the size at scale 1 goes into each side
Image draw(const Problem& problem, const ProblemStyle& style, const Typesetter& typesetter,
           int scale);

/// Draws a scene, without noise.
Image draw(const Scene& scene, const SceneStyle& style, int scale);

/// Adds noise to each channel of each pixel: the heads of 64 coins minus 32, which is nearly
/// normal with a deviation of 4, times `deviation` / 4, cut to [0, 255].
void add_noise(Image& image, double deviation, Random& random);

}  // namespace espalier
