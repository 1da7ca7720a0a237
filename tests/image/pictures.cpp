// SPDX-License-Identifier: Apache-2.0
#include "tests/image/pictures.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "espalier/base/files.h"
#include "tests/support.h"

namespace espalier::test {

std::string read_picture(const std::string& name) { return read_file(fixture("images/" + name)); }

Image decode(std::string_view bytes, const DecodeOptions& options) {
  return decode_image(as_bytes(bytes), "the picture", options);
}

std::string decode_error(std::string_view bytes, const DecodeOptions& options) {
  std::string error = input_error([&] { decode(bytes, options); });
  EXPECT_THAT(error, testing::StartsWith("the picture: "));
  return error;
}

}  // namespace espalier::test
