// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "espalier/base/random.h"
#include "espalier/synth/colour.h"
#include "espalier/synth/split.h"

namespace espalier {

/// A word of scenes with its plural.
struct ShapeName {
  std::string_view one;
  std::string_view many;
};

/// A word for a colour and what it looks like.
struct NamedColour {
  std::string_view name;
  Colour colour;
};

inline constexpr auto kShapes = std::to_array<ShapeName>({{"circle", "circles"},
                                                          {"square", "squares"},
                                                          {"triangle", "triangles"},
                                                          {"cross", "crosses"}});

inline constexpr auto kObjectColours = std::to_array<NamedColour>({{"red", {0.84, 0.14, 0.14}},
                                                                   {"orange", {0.95, 0.55, 0.06}},
                                                                   {"yellow", {0.95, 0.86, 0.16}},
                                                                   {"green", {0.13, 0.60, 0.24}},
                                                                   {"blue", {0.16, 0.32, 0.84}},
                                                                   {"purple", {0.56, 0.22, 0.68}}});

inline constexpr auto kBackgrounds = std::to_array<NamedColour>(
    {{"white", {0.95, 0.95, 0.95}}, {"grey", {0.70, 0.70, 0.70}}, {"black", {0.07, 0.07, 0.07}}});

/// One thing of a scene. Lengths are shares of the picture's side.
struct SceneObject {
  std::size_t shape;   ///< of kShapes
  std::size_t colour;  ///< of kObjectColours
  bool large;
  int cell;     ///< of a grid of three by three, row by row from the top left
  double x;     ///< of its middle, from the left
  double y;     ///< of its middle, from the top
  double area;  ///< share of the picture's area
  bool operator==(const SceneObject&) const = default;
};

/// A picture in numbers: one large object, always the first, and up to three small ones. None
/// touches another or the border; the large one has at least 2.5 times the area of any other.
struct Scene {
  std::vector<SceneObject> objects;
  std::size_t background;    ///< of kBackgrounds
  std::size_t asked_shape;   ///< what `count-by-shape` asks for
  std::size_t asked_colour;  ///< what `count-by-colour` asks for
  bool operator==(const Scene&) const = default;
};

/// The radius of the circle around an object, as a share of the picture's side.
double radius_of(const SceneObject& object);

/// A scene of a split: one to four objects, each number as likely as another.
Scene draw_scene(Split split, Random& random);

/// What makes a scene another one, as text: its objects by size, colour, shape and cell, in order.
/// Not the background, nor where in its cell a thing stands.
std::string content_of(const Scene& scene);

/// The exact answers to a scene: the paper's four subtasks on pictures, and two more counts.
struct SceneAnswers {
  std::string caption;   ///< "A large red circle and two small blue squares on a white background."
  std::string entities;  ///< "large red circle, small blue square"
  std::string counting;  ///< "3"
  std::string grounding;        ///< "the large red circle at the top left"
  std::string count_by_shape;   ///< "2"
  std::string count_by_colour;  ///< "2"
  bool operator==(const SceneAnswers&) const = default;
};

/// Answers to a scene. Things are named in order: the large one, then the small ones by shape and
/// colour as kShapes and kObjectColours have them.
SceneAnswers answers_of(const Scene& scene);

/// "How many squares are in the image? Answer with a single number."
std::string shape_question_of(const Scene& scene);

/// "How many blue objects are in the image? Answer with a single number."
std::string colour_question_of(const Scene& scene);

}  // namespace espalier
