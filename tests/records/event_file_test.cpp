// SPDX-License-Identifier: Apache-2.0
#include "espalier/records/event_file.h"

#include <gmock/gmock.h>

#include <span>
#include <string>

#include "espalier/base/hash.h"
#include "tests/support.h"

namespace espalier {
namespace {

using test::input_error;
using test::TemporaryDirectory;
using ::testing::AllOf;
using ::testing::HasSubstr;

std::string hexadecimal(const std::string& bytes) {
  return to_hexadecimal(
      std::span(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()));
}

// What TensorBoard 2.21 writes (its RecordWriter, and its messages by protobuf 7.36).
// A record is: length (8), checksum of the length (4), message, checksum of the message (4).
// Keys: 09 wall_time, 10 step, 1a file_version; 2a summary { 0a value { 0a tag, 15 simple_value }
// }; 3a session_log { 08 status }.
const std::string kVersion =  // wall_time 1.5
    "1800000000000000a37f4b22"
    "09000000000000f83f"
    "1a0d627261696e2e4576656e743a32"
    "2a28646c";
const std::string kScalar =  // wall_time 2.5, step 300 = 2 * 128 + 44: ac 02, "loss", 0.25
    "1b000000000000001a0d9e13"
    "090000000000000440"
    "10ac02"
    "2a0d0a0b0a046c6f7373150000803e"
    "205d3896";
const std::string kStart =  // wall_time 1.5, step 8
    "0f000000000000006d532b09"
    "09000000000000f83f"
    "1008"
    "3a020801"
    "9571c7d1";

TEST(Crc32c, IsCastagnolis) {
  EXPECT_EQ(crc32c("123456789"), 0xE3069283U);
  EXPECT_EQ(crc32c(""), 0U);
  // RFC 3720, B.4: 32 bytes of 0, and of ones.
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8A9136AAU);
  EXPECT_EQ(crc32c(std::string(32, '\xFF')), 0x62A8AB43U);
}

TEST(EventFile, HoldsTheBytesThatTensorBoardWrites) {
  const TemporaryDirectory folder;
  EventFileWriter writer(folder / "events.out.tfevents.1", {.wall_time = 1.5});
  writer.add_scalar("loss", 300, 0.25, 2.5);
  // Without an end: it can be read while it grows.
  EXPECT_EQ(hexadecimal(read_file(folder / "events.out.tfevents.1")), kVersion + kScalar);
}

TEST(EventFile, OfAResumedRunTellsWhereItGoesOn) {
  const TemporaryDirectory folder;
  const EventFileWriter writer(folder / "events.out.tfevents.2",
                               {.wall_time = 1.5, .resumed_after = 7});
  EXPECT_EQ(hexadecimal(read_file(folder / "events.out.tfevents.2")), kVersion + kStart);
}

TEST(EventFile, IsNeverReplaced) {
  const TemporaryDirectory folder;
  test::write_quickly(folder / "events", "old");
  EXPECT_THAT(input_error([&] { EventFileWriter writer(folder / "events", {.wall_time = 0}); }),
              AllOf(HasSubstr("events"), HasSubstr("exists already")));
  EXPECT_EQ(read_file(folder / "events"), "old");
  EXPECT_THAT(
      input_error([&] { EventFileWriter writer(folder / "gone" / "events", {.wall_time = 0}); }),
      HasSubstr("cannot write"));
}

}  // namespace
}  // namespace espalier
