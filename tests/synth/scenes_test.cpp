// SPDX-License-Identifier: Apache-2.0
#include "espalier/synth/scenes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <numbers>

namespace espalier {
namespace {

constexpr std::size_t kCircle = 0;
constexpr std::size_t kSquare = 1;
constexpr std::size_t kTriangle = 2;
constexpr std::size_t kCross = 3;
constexpr std::size_t kRed = 0;
constexpr std::size_t kGreen = 3;
constexpr std::size_t kBlue = 4;

/// A large red circle at the top left, two blue squares and a green square.
Scene example() {
  return {.objects = {{.shape = kCircle, .colour = kRed, .large = true, .cell = 0},
                      {.shape = kSquare, .colour = kBlue, .large = false, .cell = 8},
                      {.shape = kSquare, .colour = kGreen, .large = false, .cell = 5},
                      {.shape = kSquare, .colour = kBlue, .large = false, .cell = 2}},
          .background = 0,
          .asked_shape = kSquare,
          .asked_colour = kBlue};
}

TEST(SceneAnswers, DescribeTheScene) {
  const SceneAnswers answers = answers_of(example());
  EXPECT_EQ(answers.caption,
            "A large red circle, a small green square and two small blue squares on a white "
            "background.");
  EXPECT_EQ(answers.entities, "large red circle, small green square, small blue square");
  EXPECT_EQ(answers.counting, "4");
  EXPECT_EQ(answers.grounding, "the large red circle at the top left");
  EXPECT_EQ(answers.count_by_shape, "3");
  EXPECT_EQ(answers.count_by_colour, "2");
}

TEST(SceneAnswers, OfOneAndOfTwoThings) {
  Scene scene = example();
  scene.objects.resize(1);
  scene.objects[0].cell = 4;
  scene.background = 2;
  EXPECT_EQ(answers_of(scene).caption, "A large red circle on a black background.");
  EXPECT_EQ(answers_of(scene).grounding, "the large red circle in the centre");
  EXPECT_EQ(answers_of(scene).count_by_shape, "0");
  scene.objects.push_back({.shape = kCross, .colour = kRed, .large = false, .cell = 0});
  EXPECT_EQ(answers_of(scene).caption,
            "A large red circle and a small red cross on a black background.");
}

TEST(SceneAnswers, DoNotDependOnTheOrderOfSmallThings) {
  Scene scene = example();
  const SceneAnswers answers = answers_of(scene);
  std::swap(scene.objects[1], scene.objects[3]);
  std::swap(scene.objects[1], scene.objects[2]);
  EXPECT_EQ(answers_of(scene), answers);
}

TEST(SceneAnswers, NameShapesFirstThenColoursInOrder) {
  Scene scene = example();
  scene.objects = {scene.objects[0],
                   {.shape = kTriangle, .colour = kGreen, .large = false, .cell = 8},
                   {.shape = kTriangle, .colour = kRed, .large = false, .cell = 5},
                   {.shape = kCircle, .colour = kBlue, .large = false, .cell = 2}};
  EXPECT_EQ(answers_of(scene).entities,
            "large red circle, small blue circle, small red triangle, small green triangle");
}

TEST(SceneQuestions, NameWhatTheyCount) {
  EXPECT_EQ(shape_question_of(example()),
            "How many squares are in the image? Answer with a single number.");
  EXPECT_EQ(colour_question_of(example()),
            "How many blue objects are in the image? Answer with a single number.");
}

TEST(SceneContent, IsThingsWithTheirCellsInOrder) {
  Scene scene = example();
  EXPECT_EQ(content_of(scene),
            "scene large red circle 0, small blue square 2, small blue square 8, "
            "small green square 5");
  const std::string content = content_of(scene);
  std::swap(scene.objects[1], scene.objects[2]);
  scene.background = 1;
  scene.objects[0].x += 0.01;
  EXPECT_EQ(content_of(scene), content);
  scene.objects[1].cell = 7;
  EXPECT_NE(content_of(scene), content);
}

// The circle around each of area 1: a circle's own radius is sqrt(1 / pi) = 0.5642, a square of
// side 1 has sqrt(2) / 2 = 0.7071, an equilateral triangle has the side 2 / 3^(1/4) = 1.5197 and
// so 1.5197 / sqrt(3) = 0.8774, a cross of five squares of side 1 / sqrt(5) = 0.4472 has
// 0.4472 * sqrt(1.5^2 + 0.5^2) = 0.7071.
TEST(SceneObject, HasTheRadiusOfTheCircleAroundIt) {
  const auto radius = [](std::size_t shape) {
    return radius_of({.shape = shape, .colour = 0, .large = true, .cell = 0, .area = 1.0});
  };
  EXPECT_NEAR(radius(kCircle), 0.5642, 1e-4);
  EXPECT_NEAR(radius(kSquare), 0.7071, 1e-4);
  EXPECT_NEAR(radius(kTriangle), 0.8774, 1e-4);
  EXPECT_NEAR(radius(kCross), 0.7071, 1e-4);
}

TEST(DrawScene, KeepsThingsApartInsideThePictureAndInTheirCells) {
  Random random(1);
  std::array<int, 5> counts{};
  for (int i = 0; i < 2000; ++i) {
    const Scene scene = draw_scene(Split::Train, random);
    ++counts.at(scene.objects.size());
    for (std::size_t a = 0; a < scene.objects.size(); ++a) {
      const SceneObject& object = scene.objects[a];
      const double radius = radius_of(object);
      EXPECT_EQ(object.large, a == 0);
      EXPECT_GE(std::min(object.x, object.y), radius);
      EXPECT_LE(std::max(object.x, object.y), 1.0 - radius);
      EXPECT_EQ(static_cast<int>(3 * object.y) * 3 + static_cast<int>(3 * object.x), object.cell);
      EXPECT_TRUE(a == 0 || scene.objects[0].area >= 2.5 * object.area);
      for (std::size_t b = 0; b < a; ++b) {
        const SceneObject& other = scene.objects[b];
        EXPECT_GT(std::hypot(object.x - other.x, object.y - other.y), radius + radius_of(other));
      }
    }
  }
  for (std::size_t n = 1; n <= 4; ++n) EXPECT_NEAR(counts.at(n), 500, 90) << n;
}

TEST(DrawScene, NeverDrawsAContentInTwoSplits) {
  std::map<std::string, Split> seen;
  for (const Split split : {Split::Train, Split::Validation, Split::Test}) {
    Random random(9, static_cast<std::uint64_t>(split));
    for (int i = 0; i < 5000; ++i) {
      const std::string content = content_of(draw_scene(split, random));
      EXPECT_EQ(seen.try_emplace(content, split).first->second, split) << content;
    }
  }
}

TEST(DrawScene, AsksForWhatIsThereAndForWhatIsNot) {
  Random random(2);
  std::map<std::string, int> counts;
  for (int i = 0; i < 2000; ++i) {
    ++counts[answers_of(draw_scene(Split::Train, random)).count_by_colour];
  }
  for (const char* answer : {"0", "1", "2", "3"}) EXPECT_GT(counts[answer], 50) << answer;
}

}  // namespace
}  // namespace espalier
