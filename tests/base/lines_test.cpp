// SPDX-License-Identifier: Apache-2.0
#include "espalier/base/lines.h"

#include <gmock/gmock.h>

#include <utility>
#include <vector>

#include "tests/support.h"

namespace espalier {
namespace {

using test::TemporaryDirectory;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;

/// The lines of a file with this text, each with the end of its place from the colon on.
std::vector<std::pair<std::string, std::string>> lines_of(std::string_view text) {
  const TemporaryDirectory folder;
  test::write_quickly(folder / "rows", text);
  std::vector<std::pair<std::string, std::string>> lines;
  for_each_line(folder / "rows", [&](std::string_view line, const std::string& place) {
    EXPECT_THAT(place, HasSubstr((folder / "rows").string() + ":"));
    lines.emplace_back(line, place.substr(place.rfind(':')));
  });
  return lines;
}

TEST(Lines, AreVisitedWithTheirNumbersAndWithoutTheirEnds) {
  EXPECT_THAT(lines_of("a b\r\n\n \t\r\nc\nd"),
              ElementsAre(Pair("a b", ":1"), Pair("c", ":4"), Pair("d", ":5")));
}

TEST(Lines, OfAnEmptyFileAreNone) {
  EXPECT_THAT(lines_of(""), IsEmpty());
  EXPECT_THAT(lines_of("\n\n"), IsEmpty());
}

TEST(Lines, NeedAFile) {
  const TemporaryDirectory folder;
  EXPECT_THAT(test::input_error([&] { for_each_line(folder / "gone", [](auto, auto&) {}); }),
              HasSubstr("gone"));
}

}  // namespace
}  // namespace espalier
