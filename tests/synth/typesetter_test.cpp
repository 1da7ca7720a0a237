// SPDX-License-Identifier: Apache-2.0
#include "espalier/synth/typesetter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "espalier/synth/faces.h"
#include "espalier/synth/folder.h"
#include "tests/support.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;

std::vector<fs::path> system_faces() { return find_faces(SynthOptions{}.font_folders); }

/// Width and height of a text's outline.
std::pair<double, double> extent(const Outline& outline) {
  const Box box = bounds_of(outline);
  return {box.right - box.left, box.bottom - box.top};
}

TEST(Typesetter, SetsInUnitsOfTheEmOnTheBaseline) {
  const Typesetter typesetter(system_faces());
  for (std::size_t face = 0; face < kFaces.size(); ++face) {
    const Box box = bounds_of(typesetter.set(face, "1"));
    EXPECT_NEAR(box.bottom, 0.0, 0.03) << kFaces[face].family;
    EXPECT_GT(-box.top, 0.55) << kFaces[face].family;
    EXPECT_LT(-box.top, 0.85) << kFaces[face].family;
    EXPECT_GE(box.left, 0.0) << kFaces[face].family;
  }
}

// In DejaVu Sans Mono every sign is 1233 of 2048 units wide; so two more signs move the end by
// 2 * 0.60205 em.
TEST(Typesetter, AdvancesAsTheFaceSays) {
  const Typesetter typesetter(system_faces());
  constexpr std::size_t kMono = 2;
  const double one = bounds_of(typesetter.set(kMono, "1")).right;
  const double three = bounds_of(typesetter.set(kMono, "111")).right;
  EXPECT_NEAR(three - one, 2.0 * 1233.0 / 2048.0, 1e-3);
}

TEST(Typesetter, HasFacesThatDiffer) {
  const Typesetter typesetter(system_faces());
  for (std::size_t a = 0; a < kFaces.size(); ++a) {
    for (std::size_t b = 0; b < a; ++b) {
      const auto [wide_a, high_a] = extent(typesetter.set(a, "38+25"));
      const auto [wide_b, high_b] = extent(typesetter.set(b, "38+25"));
      EXPECT_GT(std::hypot(wide_a - wide_b, high_a - high_b), 0.01)
          << kFaces[a].family << " and " << kFaces[b].family;
      EXPECT_NE(typesetter.set(a, "2"), typesetter.set(b, "2"));
    }
  }
}

TEST(Typesetter, GivesTheSameOutlineEachTime) {
  const Typesetter first(system_faces());
  const Typesetter second(system_faces());
  EXPECT_FALSE(first.set(1, "sum row 1").empty());
  EXPECT_EQ(first.set(0, "14+9\u22125=?"), second.set(0, "14+9\u22125=?"));
}

TEST(Typesetter, RefusesAnotherFaceUnderTheName) {
  const test::TemporaryDirectory fonts;
  auto files = system_faces();
  fs::copy_file(files[5], fonts / kFaces[0].file);
  files[0] = fonts / kFaces[0].file;
  EXPECT_THAT(test::input_error([&] { Typesetter typesetter(files); }),
              AllOf(HasSubstr(files[0].string()), HasSubstr("wanted the typeface DejaVu Sans"),
                    HasSubstr("apt-get install fonts-dejavu-core")));
}

TEST(Typesetter, RefusesAFileThatIsNoFont) {
  const test::TemporaryDirectory fonts;
  auto files = system_faces();
  files[3] = fonts / kFaces[3].file;
  test::write_quickly(files[3], "no font");
  EXPECT_THAT(test::input_error([&] { Typesetter typesetter(files); }),
              AllOf(HasSubstr(files[3].string()), HasSubstr("wanted")));
}

}  // namespace
}  // namespace espalier
