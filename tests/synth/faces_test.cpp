// SPDX-License-Identifier: Apache-2.0
#include "espalier/synth/faces.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "espalier/synth/folder.h"
#include "tests/support.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;

TEST(FindFaces, FindsEveryFaceOfTheSystem) {
  const auto files = find_faces(SynthOptions{}.font_folders);
  ASSERT_EQ(files.size(), kFaces.size());
  for (std::size_t i = 0; i < files.size(); ++i) EXPECT_EQ(files[i].filename(), kFaces[i].file);
}

TEST(FindFaces, NamesThePackageOfAMissingFace) {
  const test::TemporaryDirectory fonts;
  EXPECT_THAT(test::input_error([&] { find_faces({fonts.path()}); }),
              AllOf(HasSubstr("DejaVuSans.ttf"), HasSubstr(fonts.path().string()),
                    HasSubstr("apt-get install fonts-dejavu-core")));
  fs::create_directory(fonts / "a");
  for (const Face& face : kFaces) test::write_quickly(fonts / "a" / face.file, "");
  EXPECT_EQ(find_faces({fonts.path()}).size(), kFaces.size());
  fs::remove(fonts / "a" / "FreeMonoBold.ttf");
  EXPECT_THAT(test::input_error([&] { find_faces({fonts.path()}); }),
              AllOf(HasSubstr("FreeMono"), HasSubstr("apt-get install fonts-freefont-ttf")));
  EXPECT_THAT(test::input_error([&] { find_faces({fonts / "nowhere"}); }), HasSubstr("nowhere"));
}

TEST(FindFaces, TakesTheFirstFolderThatHasAFace) {
  const test::TemporaryDirectory fonts;
  for (const char* folder : {"a", "b"}) {
    fs::create_directory(fonts / folder);
    for (const Face& face : kFaces) test::write_quickly(fonts / folder / face.file, "");
  }
  EXPECT_EQ(find_faces({fonts / "b", fonts / "a"})[0], fonts / "b" / "DejaVuSans.ttf");
  EXPECT_EQ(find_faces({fonts.path()})[0], fonts / "a" / "DejaVuSans.ttf");
}

}  // namespace
}  // namespace espalier
