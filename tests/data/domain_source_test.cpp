// SPDX-License-Identifier: Apache-2.0
#include "espalier/data/domain_source.h"

#include <gmock/gmock.h>

#include "tests/support.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;
using test::input_error;
using test::TemporaryDirectory;
using test::write_quickly;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

/// A domain whose JSONL file has these lines, beside pictures a.png and b.png.
DomainSource read_lines(const TemporaryDirectory& folder, std::string_view lines) {
  write_quickly(folder / "a.png", "x");
  write_quickly(folder / "b.png", "x");
  write_quickly(folder / "rows.jsonl", lines);
  return read_domain("math=" + (folder / "rows.jsonl").string());
}

std::string error_of(std::string_view lines) {
  const TemporaryDirectory folder;
  return input_error([&] { (void)read_lines(folder, lines); });
}

TEST(DomainSource, OfAFolderHasItsPicturesInByteOrder) {
  const TemporaryDirectory folder;
  fs::create_directories(folder / "sub");
  for (const char* name : {"b.JPG", "a.png", "Z.webp", "sub/c.jpeg", "notes.txt"}) {
    write_quickly(folder / name, "x");
  }
  const DomainSource domain = read_domain("photos=" + folder.path().string());
  std::vector<std::string> paths;
  for (const SourceRow& row : domain.rows) paths.push_back(row.images.front());
  EXPECT_THAT(paths, ElementsAre("Z.webp", "a.png", "b.JPG", "sub/c.jpeg"));
  EXPECT_EQ(domain.ignored_files, 1);
  EXPECT_FALSE(domain.rows.front().prompt.has_value());
}

TEST(DomainSource, OfAFileTakesABenchmarksRowsAsTheyAre) {
  const TemporaryDirectory folder;
  const DomainSource domain =
      read_lines(folder,
                 "{\"id\": 4, \"question\": \"?\", \"image\": \"a.png\"}\n\n"
                 "{\"images\": [\"a.png\", \"b.png\"], \"prompt\": \"Compare.\"}\r\n"
                 "{\"image\": \"b.png\", \"prompt\": \"Read it.\", \"subtask\": \"ocr\"}");
  ASSERT_EQ(domain.rows.size(), 3U);
  EXPECT_FALSE(domain.rows[0].prompt.has_value());
  EXPECT_THAT(domain.rows[1].images, ElementsAre("a.png", "b.png"));
  EXPECT_EQ(domain.rows[1].subtask, "own");
  EXPECT_EQ(domain.rows[2].prompt, "Read it.");
  EXPECT_EQ(domain.rows[2].subtask, "ocr");
  EXPECT_THAT(domain.rows[2].place, HasSubstr("rows.jsonl:4"));
}

TEST(DomainSource, NamesFileAndLineOfABadRow) {
  EXPECT_THAT(error_of("{\"image\": \"a.png\"}\n{\"image\": \n"), HasSubstr("rows.jsonl:2"));
  EXPECT_THAT(error_of("[1]\n"), AllOf(HasSubstr("rows.jsonl:1"), HasSubstr("array")));
  EXPECT_THAT(error_of("{\"question\": \"?\"}\n"), HasSubstr("wanted \"image\""));
  EXPECT_THAT(error_of("{\"image\": \"a.png\", \"images\": [\"b.png\"]}"),
              HasSubstr("wanted \"image\""));
  EXPECT_THAT(error_of("{\"image\": 7}"), HasSubstr("image: wanted a text"));
  EXPECT_THAT(error_of("{\"images\": []}"), HasSubstr("wanted a list of paths"));
  EXPECT_THAT(error_of("{\"image\": \"a.png\", \"prompt\": \"\"}"), HasSubstr("prompt"));
  EXPECT_THAT(error_of("{\"image\": \"a.png\", \"prompt\": \"x\", \"subtask\": \"a b\"}"),
              HasSubstr("subtask"));
  EXPECT_THAT(error_of("{\"image\": \"a.png\"}\n{\"image\": \"\xff.png\"}"),
              AllOf(HasSubstr("rows.jsonl:2"), HasSubstr("UTF-8")));
  EXPECT_THAT(error_of("{\"image\": \"gone.png\"}"),
              AllOf(HasSubstr("rows.jsonl:1"), HasSubstr("gone.png does not exist")));
  EXPECT_THAT(error_of("\n\n"), HasSubstr("no row in it"));
}

TEST(DomainSource, RefusesWhatIsNoDomain) {
  const TemporaryDirectory folder;
  const auto error = [](const std::string& domain) {
    return input_error([&] { (void)read_domain(domain); });
  };
  EXPECT_THAT(error("photos"), HasSubstr("NAME=FOLDER"));
  EXPECT_THAT(error("=x"), HasSubstr("name"));
  EXPECT_THAT(error("a:b=x"), HasSubstr("\"a:b\""));
  EXPECT_THAT(error("math=/nowhere"), HasSubstr("/nowhere does not exist"));
  EXPECT_THAT(error("math=" + folder.path().string()), HasSubstr("no picture here"));
}

}  // namespace
}  // namespace espalier
