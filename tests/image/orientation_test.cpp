// SPDX-License-Identifier: Apache-2.0
#include "espalier/image/orientation.h"

#include <gtest/gtest.h>

#include <string>

namespace espalier {
namespace {

using namespace std::string_literals;

/// A picture of one letter a pixel, written row by row.
Image letters(int width, int height, const std::string& text) {
  Image image{.width = width, .height = height, .rgb = {}};
  for (const char letter : text) {
    for (const char channel : {'R', 'G', 'B'}) {
      image.rgb.push_back(static_cast<std::uint8_t>(letter + channel));
    }
  }
  return image;
}

TEST(Orientation, TurnsAndMirrorsByEachOfTheEightValues) {
  // As stored: abc / def. Value 6: its left column is the top row, read from below: da eb fc.
  const Image stored = letters(3, 2, "abcdef");
  EXPECT_EQ(orient(stored, 1), stored);
  EXPECT_EQ(orient(stored, 2), letters(3, 2, "cbafed"));
  EXPECT_EQ(orient(stored, 3), letters(3, 2, "fedcba"));
  EXPECT_EQ(orient(stored, 4), letters(3, 2, "defabc"));
  EXPECT_EQ(orient(stored, 5), letters(2, 3, "adbecf"));
  EXPECT_EQ(orient(stored, 6), letters(2, 3, "daebfc"));
  EXPECT_EQ(orient(stored, 7), letters(2, 3, "fcebda"));
  EXPECT_EQ(orient(stored, 8), letters(2, 3, "cfbead"));
}

TEST(Orientation, HasAnInverseForEachValue) {
  // Sides beyond the squares in which pixels are moved.
  std::string text;
  for (int i = 0; i < 150 * 70; ++i) text.push_back(static_cast<char>(i * i % 127));
  const Image stored = letters(150, 70, text);
  constexpr int kInverse[] = {0, 1, 2, 3, 4, 5, 8, 7, 6};
  for (int orientation = 1; orientation <= 8; ++orientation) {
    EXPECT_EQ(orient(orient(stored, orientation), kInverse[orientation]), stored) << orientation;
  }
}

/// A TIFF directory with one entry: the orientation as a SHORT.
std::string exif(char orientation) {
  return "Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0"s + orientation + "\0\0\0\0\0\0"s;
}

TEST(Orientation, IsReadFromExif) {
  for (char orientation = 1; orientation <= 8; ++orientation) {
    EXPECT_EQ(find_orientation({.exif = exif(orientation), .xmp = ""}), orientation);
  }
}

TEST(Orientation, IsReadFromXmpWhereExifNamesNone) {
  const std::string xmp = R"(<rdf tiff:Orientation="6"/>)";
  EXPECT_EQ(find_orientation({.exif = {}, .xmp = xmp}), 6);
  EXPECT_EQ(find_orientation({.exif = "", .xmp = xmp}), 6);
  EXPECT_EQ(find_orientation({.exif = "MM\0*\0\0\0\x08\0\0\0\0\0\0"s, .xmp = xmp}), 6);
  EXPECT_EQ(find_orientation({.exif = exif(3), .xmp = xmp}), 3);
}

TEST(Orientation, IsUprightWhereNothingUsableIsSaid) {
  EXPECT_EQ(find_orientation({}), 1);
  EXPECT_EQ(find_orientation({.exif = exif(0), .xmp = ""}), 1);
  EXPECT_EQ(find_orientation({.exif = exif(9), .xmp = ""}), 1);
  EXPECT_EQ(find_orientation({.exif = "not a TIFF file", .xmp = ""}), 1);
  EXPECT_EQ(find_orientation({.exif = {}, .xmp = "tiff:Orientation=6"}), 1);
  EXPECT_EQ(find_orientation({.exif = {}, .xmp = "tiff:Orientation=\""}), 1);
  EXPECT_EQ(find_orientation({.exif = {}, .xmp = "tiff:Orientation>9"}), 1);
}

TEST(Orientation, SurvivesADirectoryCutAnywhere) {
  const std::string whole = exif(6);
  for (std::size_t bytes = 0; bytes < whole.size(); ++bytes) {
    const int found = find_orientation({.exif = whole.substr(0, bytes), .xmp = ""});
    EXPECT_EQ(found, bytes < 6 + 8 + 2 + 12 ? 1 : 6) << bytes;
  }
}

}  // namespace
}  // namespace espalier
