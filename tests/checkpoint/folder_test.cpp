// SPDX-License-Identifier: Apache-2.0
#include "espalier/checkpoint/folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "espalier/base/files.h"
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
using ::testing::IsEmpty;

// Of FIPS 180-2, appendix B.1: the digest of "abc".
constexpr const char* kDigestOfAbc =
    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

TEST(SideFiles, AreAllButWeightsConfigurationAndOurOwn) {
  const TemporaryDirectory folder;
  for (const char* sub : {"assets", ".git", ".cache"}) fs::create_directory(folder / sub);
  for (const char* name :
       {"config.json", "README.md", "espalier.json", "mergekit.yaml", "SHA256SUMS",
        "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors",
        "model.safetensors.index.json", "tokenizer.json", "LICENSE", ".gitattributes",
        "assets/a.png", ".git/HEAD", ".cache/x", "pytorch_model.bin", "model-q4.gguf",
        "assets/model.safetensors"}) {
    write_quickly(folder / name, "x");
  }
  const SideFiles found = list_side_files(folder.path());
  EXPECT_THAT(found.files,
              ElementsAre(".gitattributes", "LICENSE", "assets/a.png", "tokenizer.json"));
  EXPECT_THAT(found.other_weights,
              ElementsAre("assets/model.safetensors", "model-q4.gguf", "pytorch_model.bin"));
}

TEST(SideFiles, FollowLinksToFilesAndRefuseThoseThatLeadNowhere) {
  const TemporaryDirectory folder;
  write_quickly(folder / "blob", "x");
  fs::create_directory(folder / "model");
  fs::create_symlink("../blob", folder / "model/vocab.json");
  EXPECT_THAT(list_side_files(folder / "model").files, ElementsAre("vocab.json"));
  fs::create_symlink("nowhere", folder / "model/merges.txt");
  EXPECT_THAT(input_error([&] { list_side_files(folder / "model"); }),
              AllOf(HasSubstr("merges.txt"), HasSubstr("leads nowhere")));
}

TEST(SideFiles, RefuseALinkToAFolder) {
  const TemporaryDirectory folder;
  fs::create_directory(folder / "model");
  fs::create_symlink(folder.path(), folder / "model/loop");
  EXPECT_THAT(input_error([&] { list_side_files(folder / "model"); }),
              AllOf(HasSubstr("loop"), HasSubstr("a link to one")));
}

TEST(Checksums, AreThoseOfTheStandard) {
  const TemporaryDirectory folder;
  write_quickly(folder / "abc", "abc");
  EXPECT_EQ(sha256_of_file(folder / "abc"), kDigestOfAbc);
  EXPECT_EQ(copy_with_checksum(folder / "abc", folder / "copy"), kDigestOfAbc);
  EXPECT_EQ(read_file(folder / "copy"), "abc");
}

TEST(Checksums, FindChangedMissingAndSurplusFiles) {
  const TemporaryDirectory folder;
  fs::create_directory(folder / "sub");
  for (const char* name : {"a", "b", "sub/c"}) write_quickly(folder / name, "abc");
  write_checksums(folder.path(),
                  {{"a", kDigestOfAbc}, {"b", kDigestOfAbc}, {"sub/c", kDigestOfAbc}},
                  /*force=*/false);
  EXPECT_EQ(read_file(folder / kChecksumsName), std::string(kDigestOfAbc) + "  a\n" + kDigestOfAbc +
                                                    "  b\n" + kDigestOfAbc + "  sub/c\n");
  EXPECT_THAT(checksum_problems(folder.path()), IsEmpty());

  write_quickly(folder / "a", "abd");
  fs::remove(folder / "b");
  write_quickly(folder / "new", "");
  EXPECT_THAT(checksum_problems(folder.path()),
              ElementsAre(HasSubstr("a: wanted SHA-256"), HasSubstr("b: is missing"),
                          HasSubstr("new: is not in SHA256SUMS")));
}

TEST(Checksums, RefuseAListThatIsBroken) {
  const TemporaryDirectory folder;
  const std::string digest = kDigestOfAbc;
  for (const std::string& line :
       {std::string("short"), digest, digest + "  ", digest + " a", digest.substr(1) + "  aa",
        digest + "  ../a", digest + "  /etc/passwd", digest + "  a\n" + digest + "  a"}) {
    write_quickly(folder / kChecksumsName, line + "\n");
    EXPECT_THAT(input_error([&] { read_checksums(folder.path()); }), HasSubstr("SHA256SUMS: line"))
        << line;
  }
  fs::remove(folder / kChecksumsName);
  EXPECT_THAT(input_error([&] { read_checksums(folder.path()); }), HasSubstr("SHA256SUMS"));
}

}  // namespace
}  // namespace espalier
