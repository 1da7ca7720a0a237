// SPDX-License-Identifier: Apache-2.0
#include "espalier/synth/scenes.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numbers>
#include <optional>
#include <span>
#include <tuple>
#include <utility>

#include "espalier/base/error.h"

namespace espalier {

namespace {

// Shares of the picture's area and side; of 64 x 64 pixels a large thing has 340 to 460.
constexpr double kLeastLarge = 340.0 / 4096.0;
constexpr double kMostLarge = 460.0 / 4096.0;
constexpr double kLeastSmall = 85.0 / 4096.0;
constexpr double kMostSmall = 120.0 / 4096.0;
constexpr double kGap = 2.0 / 64.0;
constexpr double kBorder = 1.0 / 64.0;
constexpr int kGrid = 3;
constexpr int kPlacements = 20;

constexpr std::array kCells = {"at the top left",    "at the top",    "at the top right",
                               "at the left",        "in the centre", "at the right",
                               "at the bottom left", "at the bottom", "at the bottom right"};
constexpr std::array kNumbers = {"no", "a", "two", "three"};

template <typename List>
std::size_t draw_index(const List& list, Random& random) {
  return static_cast<std::size_t>(random.below(list.size()));
}

/// What is in a scene, each thing in a cell of its own, not yet placed.
std::vector<SceneObject> draw_objects(std::size_t count, Random& random) {
  std::vector<int> cells(kCells.size());
  for (std::size_t i = 0; i < cells.size(); ++i) cells[i] = static_cast<int>(i);
  std::vector<SceneObject> objects;
  for (std::size_t i = 0; i < count; ++i) {
    std::swap(cells[i], cells[i + static_cast<std::size_t>(random.below(cells.size() - i))]);
    SceneObject object{.shape = draw_index(kShapes, random),
                       .colour = draw_index(kObjectColours, random),
                       .large = i == 0,
                       .cell = cells[i]};
    // Every so often the same once more, so that there is something to count.
    if (i >= 2 && random.below(2) == 0) {
      object.shape = objects.back().shape;
      object.colour = objects.back().colour;
    }
    objects.push_back(object);
  }
  return objects;
}

bool is_apart(const SceneObject& object, std::span<const SceneObject> others) {
  return std::ranges::none_of(others, [&](const SceneObject& other) {
    return std::hypot(object.x - other.x, object.y - other.y) <
           radius_of(object) + radius_of(other) + kGap;
  });
}

/// A middle on one axis so that the thing is inside the picture and its middle inside its cell.
std::optional<double> draw_middle(int cell, double radius, Random& random) {
  const double least = std::max(static_cast<double>(cell) / kGrid, radius + kBorder);
  const double most = std::min(static_cast<double>(cell + 1) / kGrid, 1.0 - radius - kBorder);
  if (least >= most) return std::nullopt;
  return draw_between(least, most, random);
}

/// Gives each thing its area and place. \return false if it found no room for one
bool place(std::vector<SceneObject>& objects, Random& random) {
  for (std::size_t i = 0; i < objects.size(); ++i) {
    SceneObject& object = objects[i];
    object.area = object.large ? draw_between(kLeastLarge, kMostLarge, random)
                               : draw_between(kLeastSmall, kMostSmall, random);
    bool placed = false;
    for (int attempt = 0; attempt < kPlacements && !placed; ++attempt) {
      const auto x = draw_middle(object.cell % kGrid, radius_of(object), random);
      const auto y = draw_middle(object.cell / kGrid, radius_of(object), random);
      if (!x || !y) return false;
      object.x = *x;
      object.y = *y;
      placed = is_apart(object, std::span(objects).first(i));
    }
    if (!placed) return false;
  }
  return true;
}

/// Mostly what is there, now and then what may not be.
std::size_t draw_asked(std::size_t SceneObject::*what, std::size_t known, const Scene& scene,
                       Random& random) {
  if (random.below(4) == 0) return static_cast<std::size_t>(random.below(known));
  return scene.objects[draw_index(scene.objects, random)].*what;
}

std::string describe(const SceneObject& object) {
  return fmt::format("{} {} {}", object.large ? "large" : "small",
                     kObjectColours.at(object.colour).name, kShapes.at(object.shape).one);
}

using Group = std::pair<SceneObject, std::size_t>;  ///< a thing, and how many are like it

/// The things that are told apart, in order.
std::vector<Group> groups_of(const Scene& scene) {
  std::map<std::tuple<bool, std::size_t, std::size_t>, Group> groups;
  for (const SceneObject& object : scene.objects) {
    const auto [group, added] =
        groups.try_emplace({!object.large, object.shape, object.colour}, Group{object, 0});
    ++group->second.second;
  }
  std::vector<Group> ordered;
  ordered.reserve(groups.size());
  for (const auto& [key, group] : groups) ordered.push_back(group);
  return ordered;
}

/// "a large red circle", "two small blue squares".
std::string count_in_words(const Group& group) {
  const auto& [object, count] = group;
  const ShapeName& shape = kShapes.at(object.shape);
  return fmt::format("{} {} {} {}", kNumbers.at(count), object.large ? "large" : "small",
                     kObjectColours.at(object.colour).name, count == 1 ? shape.one : shape.many);
}

std::string caption_of(const Scene& scene) {
  const auto groups = groups_of(scene);
  std::string caption;
  for (std::size_t i = 0; i < groups.size(); ++i) {
    if (i > 0) caption += i + 1 == groups.size() ? " and " : ", ";
    caption += count_in_words(groups[i]);
  }
  caption.front() = 'A';  // the first is the large one, and there is one of it
  return fmt::format("{} on a {} background.", caption, kBackgrounds.at(scene.background).name);
}

std::string entities_of(const Scene& scene) {
  std::vector<std::string> names;
  for (const Group& group : groups_of(scene)) names.push_back(describe(group.first));
  return fmt::format("{}", fmt::join(names, ", "));
}

}  // namespace

double radius_of(const SceneObject& object) {
  const double side = std::sqrt(object.area);  // of a square of that area
  const std::string_view shape = kShapes.at(object.shape).one;
  if (shape == "circle") return side / std::sqrt(std::numbers::pi);
  if (shape == "square") return side / std::numbers::sqrt2;
  // An equilateral triangle of side s has the area s^2 sqrt(3) / 4 and the radius s / sqrt(3).
  if (shape == "triangle") return side * 2.0 / std::pow(3.0, 0.75);
  // A cross of five squares: a corner lies 1.5 and 0.5 of a square's side from the middle.
  return side / std::sqrt(5.0) * std::hypot(1.5, 0.5);
}

Scene draw_scene(Split split, Random& random) {
  Scene scene{};
  const auto count = static_cast<std::size_t>(1 + random.below(4));
  do {
    scene.objects = draw_objects(count, random);
  } while (split_of(content_of(scene)) != split || !place(scene.objects, random));
  scene.background = draw_index(kBackgrounds, random);
  scene.asked_shape = draw_asked(&SceneObject::shape, kShapes.size(), scene, random);
  scene.asked_colour = draw_asked(&SceneObject::colour, kObjectColours.size(), scene, random);
  return scene;
}

std::string content_of(const Scene& scene) {
  std::vector<std::string> things;
  things.reserve(scene.objects.size());
  for (const SceneObject& object : scene.objects) {
    things.push_back(fmt::format("{} {}", describe(object), object.cell));
  }
  std::ranges::sort(things);
  return fmt::format("scene {}", fmt::join(things, ", "));
}

SceneAnswers answers_of(const Scene& scene) {
  const auto& objects = scene.objects;
  return {.caption = caption_of(scene),
          .entities = entities_of(scene),
          .counting = std::to_string(objects.size()),
          .grounding = fmt::format("the {} {}", describe(objects.at(0)),
                                   kCells.at(static_cast<std::size_t>(objects.at(0).cell))),
          .count_by_shape =
              std::to_string(std::ranges::count(objects, scene.asked_shape, &SceneObject::shape)),
          .count_by_colour = std::to_string(
              std::ranges::count(objects, scene.asked_colour, &SceneObject::colour))};
}

std::string shape_question_of(const Scene& scene) {
  return fmt::format("How many {} are in the image? Answer with a single number.",
                     kShapes.at(scene.asked_shape).many);
}

std::string colour_question_of(const Scene& scene) {
  return fmt::format("How many {} objects are in the image? Answer with a single number.",
                     kObjectColours.at(scene.asked_colour).name);
}

}  // namespace espalier
