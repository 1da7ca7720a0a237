// SPDX-License-Identifier: Apache-2.0
#include "espalier/cli/guard.h"

#include <fmt/format.h>

#include <cstdio>
#include <exception>

#include "espalier/base/error.h"

namespace espalier {

int guarded_main(const std::function<int()>& body) {
  try {
    const int code = body();
    require(std::fflush(stdout) == 0 && std::ferror(stdout) == 0,
            "stdout: not all of the result could be written; is its disk full?");
    return code;
  } catch (const InputError& error) {
    fmt::print(stderr, "espalier: {}\n", error.what());
    return 2;
  } catch (const std::exception& error) {
    fmt::print(stderr, "espalier: {}\n", error.what());
    return 1;
  }
}

}  // namespace espalier
