// SPDX-License-Identifier: Apache-2.0
#include "espalier/synth/painter.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <string>

#include "espalier/synth/faces.h"
#include "espalier/synth/folder.h"

namespace espalier {
namespace {

using Rgb = std::array<int, 3>;

Rgb pixel(const Image& image, int x, int y) {
  const auto at = static_cast<std::size_t>(3 * (y * image.width + x));
  return {image.rgb.at(at), image.rgb.at(at + 1), image.rgb.at(at + 2)};
}

std::string bytes_of(const Image& image) { return {image.rgb.begin(), image.rgb.end()}; }

/// Black on white, upright, without noise.
ProblemStyle plain_style() {
  return {.face = 0,
          .em_pixels = kEmPixels[0],
          .x = 0.5,
          .y = 0.5,
          .ink = {.red = 0.0, .green = 0.0, .blue = 0.0},
          .paper = {.red = 1.0, .green = 1.0, .blue = 1.0},
          .ending = "=?"};
}

/// The rows and columns that have ink which is at least half black.
struct Ink {
  int left = 1 << 20;
  int top = 1 << 20;
  int right = -1;
  int bottom = -1;
};

Ink find_ink(const Image& image) {
  Ink ink;
  for (int y = 0; y < image.height; ++y) {
    for (int x = 0; x < image.width; ++x) {
      if (pixel(image, x, y)[0] >= 128) continue;
      ink.left = std::min(ink.left, x);
      ink.right = std::max(ink.right, x);
      ink.top = std::min(ink.top, y);
      ink.bottom = std::max(ink.bottom, y);
    }
  }
  return ink;
}

class Painter : public testing::Test {
 protected:
  const Typesetter typesetter_{find_faces(SynthOptions{}.font_folders)};
  const Problem sum_{ProblemKind::TwoDigitSum, "a+b", {38, 25}};
};

TEST_F(Painter, WritesTheSignsOfPrint) {
  ProblemStyle style = plain_style();
  using enum ProblemKind;
  EXPECT_EQ(drawn_text(sum_, style), "38+25=?");
  EXPECT_EQ(drawn_text({ThreeTerms, "a-b+c", {9, 5, 1}}, style), "9\u22125+1=?");
  EXPECT_EQ(drawn_text({OneDigitProduct, "a*b", {7, 8}}, style), "7\u00d78=?");
  EXPECT_EQ(drawn_text({Unknown, "a*x+b=c", {3, 4, 19}}, style), "3x+4=19");
  EXPECT_EQ(drawn_text({Comparison, "a?b", {37, 52}}, style), "37 ? 52");
  style.spaces = true;
  style.ending = "=";
  EXPECT_EQ(drawn_text(sum_, style), "38 + 25 = ");
  EXPECT_EQ(drawn_text({Unknown, "x-a=b", {7, 8}}, style), "x \u2212 7 = 8");
}

TEST_F(Painter, DrawsStripsAndSquareTablesTimesTheScale) {
  for (const int scale : {1, 4}) {
    const Image strip = draw(sum_, plain_style(), typesetter_, scale);
    EXPECT_EQ(strip.width, 128 * scale);
    EXPECT_EQ(strip.height, 32 * scale);
    const Image table =
        draw({ProblemKind::Table, "row 1", {1, 2, 3, 4}}, plain_style(), typesetter_, scale);
    EXPECT_EQ(table.width, 64 * scale);
    EXPECT_EQ(table.height, 64 * scale);
  }
}

// The digits of DejaVu Sans are 0.73 em high: at an em of 19 pixels 13.9, at 24 pixels 17.5.
TEST_F(Painter, DrawsTextAsHighAsTheSizeSays) {
  ProblemStyle style = plain_style();
  style.ending = "";
  const Problem problem{ProblemKind::TwoDigitSum, "a+b", {11, 44}};
  for (const double em : kEmPixels) {
    style.em_pixels = em;
    const Ink ink = find_ink(draw(problem, style, typesetter_, 1));
    EXPECT_NEAR(ink.bottom - ink.top + 1, 0.73 * em, 1.0);
  }
}

TEST_F(Painter, KeepsAllInkInsideInEveryStyle) {
  Random random(4);
  for (int i = 0; i < 1000; ++i) {
    ProblemStyle style = draw_problem_style(random);
    style.ink = {.red = 0.0, .green = 0.0, .blue = 0.0};
    style.paper = {.red = 1.0, .green = 1.0, .blue = 1.0};
    const ProblemKind kind = problem_kinds()[static_cast<std::size_t>(i) % 9];
    const Problem problem = draw_problem(kind, Split::Train, random);
    const Image image = draw(problem, style, typesetter_, 1);
    for (int x = 0; x < image.width; ++x) {
      EXPECT_EQ(pixel(image, x, 0)[0], 255);
      EXPECT_EQ(pixel(image, x, image.height - 1)[0], 255);
    }
    for (int y = 0; y < image.height; ++y) {
      EXPECT_EQ(pixel(image, 0, y)[0], 255);
      EXPECT_EQ(pixel(image, image.width - 1, y)[0], 255);
    }
    const Ink ink = find_ink(image);
    // Legible: of the longest lines, too, digits are some 11 pixels high.
    EXPECT_GE(ink.bottom - ink.top + 1, 10) << drawn_text(problem, style) << " in " << style.face;
  }
}

// The same problem in the same style but for one thing is another picture.
TEST_F(Painter, MakesEveryPartOfTheStyleShow) {
  std::set<std::string> pictures;
  const auto add = [&](const ProblemStyle& style) {
    EXPECT_TRUE(pictures.insert(bytes_of(draw(sum_, style, typesetter_, 1))).second);
  };
  ProblemStyle style = plain_style();
  add(style);
  for (style.face = 1; style.face < kFaces.size(); ++style.face) add(style);
  style = plain_style();
  style.em_pixels = kEmPixels[1];
  add(style);
  style = plain_style();
  style.degrees = 3.0;
  add(style);
  style = plain_style();
  style.x = 0.1;
  add(style);
  style = plain_style();
  style.y = 0.1;
  add(style);
  style = plain_style();
  style.spaces = true;
  style.ending = "";
  add(style);
}

TEST_F(Painter, LeavesSpacesOutWhereTextWouldShrink) {
  ProblemStyle style = plain_style();
  style.face = 2;  // the wide one: "88 + 88 = ?" has 11 signs of 0.6 em, at 24 pixels 159
  style.em_pixels = kEmPixels[1];
  style.spaces = true;
  const Problem problem{ProblemKind::TwoDigitSum, "a+b", {88, 88}};
  const Image spaced = draw(problem, style, typesetter_, 1);
  style.spaces = false;
  EXPECT_EQ(draw(problem, style, typesetter_, 1), spaced);
}

TEST_F(Painter, DrawsTheFourCellsAndTheQuestionOfATable) {
  std::set<std::string> pictures;
  const ProblemStyle style = plain_style();
  for (int cell = 0; cell < 4; ++cell) {
    std::vector<int> numbers(4, 1);
    numbers[static_cast<std::size_t>(cell)] = 8;
    pictures.insert(bytes_of(draw({ProblemKind::Table, "row 1", numbers}, style, typesetter_, 1)));
  }
  for (const char* form : {"row 1", "row 2", "col 1", "col 2"}) {
    pictures.insert(
        bytes_of(draw({ProblemKind::Table, form, {1, 1, 1, 1}}, style, typesetter_, 1)));
  }
  EXPECT_EQ(pictures.size(), 8U);
}

// What an answer says of the picture is in the picture: each thing has its colour in its middle
// and at most of its radius, and the four corners are background.
TEST(ScenePainter, DrawsEachThingInItsColourAtItsPlace) {
  Random random(6);
  for (int i = 0; i < 300; ++i) {
    const Scene scene = draw_scene(Split::Test, random);
    const SceneStyle style = draw_scene_style(scene, random);
    const Image image = draw(scene, style, 1);
    for (std::size_t k = 0; k < scene.objects.size(); ++k) {
      const SceneObject& object = scene.objects[k];
      const Rgb found =
          pixel(image, static_cast<int>(64 * object.x), static_cast<int>(64 * object.y));
      const Colour& wanted = style.objects[k];
      EXPECT_NEAR(found[0], 255 * wanted.red, 1.0);
      EXPECT_NEAR(found[1], 255 * wanted.green, 1.0);
      EXPECT_NEAR(found[2], 255 * wanted.blue, 1.0);
    }
    EXPECT_NEAR(pixel(image, 0, 0)[0] / 255.0, kBackgrounds.at(scene.background).colour.red, 0.06);
  }
}

// Black on white, the sum of ink is the area: pixels of 64 x 64 at scale 4.
TEST(ScenePainter, DrawsEachShapeWithItsArea) {
  for (std::size_t shape = 0; shape < kShapes.size(); ++shape) {
    const Scene scene{.objects = {{.shape = shape,
                                   .colour = 0,
                                   .large = true,
                                   .cell = 4,
                                   .x = 0.5,
                                   .y = 0.5,
                                   .area = 0.1}}};
    const Colour white{.red = 1.0, .green = 1.0, .blue = 1.0};
    const SceneStyle style{.objects = {{.red = 0.0, .green = 0.0, .blue = 0.0}},
                           .background_from = white,
                           .background_to = white};
    const Image image = draw(scene, style, 4);
    double ink = 0.0;
    for (const int channel : image.rgb) ink += (255 - channel) / 255.0;
    EXPECT_NEAR(ink / static_cast<double>(image.rgb.size()), 0.1, 0.002) << kShapes.at(shape).one;
  }
}

TEST(Noise, HasTheDeviationThatIsAskedFor) {
  Image image{.width = 100, .height = 100, .rgb = std::vector<std::uint8_t>(30000, 128)};
  Random random(1);
  add_noise(image, 8.0, random);
  double sum = 0.0;
  double squares = 0.0;
  for (const int channel : image.rgb) {
    sum += channel - 128;
    squares += (channel - 128) * (channel - 128);
  }
  // Of 30,000 draws the mean has the deviation 0.05, and that of the deviation is 0.03.
  EXPECT_NEAR(sum / 30000.0, 0.0, 0.2);
  EXPECT_NEAR(std::sqrt(squares / 30000.0), 8.0, 0.15);
}

TEST(Noise, StaysInsideAByte) {
  Image image{.width = 10, .height = 10, .rgb = std::vector<std::uint8_t>(300, 255)};
  Random random(1);
  add_noise(image, 10.0, random);
  EXPECT_GT(std::ranges::min(image.rgb), 200);
}

}  // namespace
}  // namespace espalier
