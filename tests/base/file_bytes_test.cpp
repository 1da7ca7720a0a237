// SPDX-License-Identifier: Apache-2.0
#include "espalier/base/file_bytes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "tests/support.h"

namespace espalier {
namespace {

using test::input_error;
using test::TemporaryDirectory;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(FileBytes, AreThoseOfSmallAndLargeFiles) {
  const TemporaryDirectory folder;
  for (const std::size_t size :
       {std::size_t{1}, std::size_t{256} << 10U, (std::size_t{256} << 10U) + 1}) {
    std::string text(size, 'a');
    text.back() = '\0';
    write_file(folder / "f", text, true);
    const FileBytes file(folder / "f");
    EXPECT_TRUE(std::ranges::equal(file.bytes(), std::as_bytes(std::span(text)))) << size;
  }
}

TEST(FileBytes, OfAnEmptyFileAreNone) {
  const TemporaryDirectory folder;
  write_file(folder / "f", "", false);
  EXPECT_THAT(FileBytes(folder / "f").bytes(), IsEmpty());
}

TEST(FileBytes, RefusesWhatIsNoFile) {
  const TemporaryDirectory folder;
  EXPECT_THAT(input_error([&] { FileBytes(folder / "none"); }), HasSubstr("none"));
  EXPECT_THAT(input_error([&] { FileBytes(folder.path()); }), HasSubstr(folder.path().string()));
}

}  // namespace
}  // namespace espalier
