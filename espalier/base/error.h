// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fmt/format.h>

#include <source_location>
#include <stdexcept>
#include <utility>

namespace espalier {

/// What the caller gave cannot be used: a file, a flag, a shape. The message names the thing,
/// what was expected, what was found and, where known, the remedy; `main` prints it and exits
/// with 2.
struct InputError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Throws InputError with a formatted message unless `ok`.
template <typename... Args>
void require(bool ok, fmt::format_string<Args...> format, Args&&... args) {
  if (!ok) throw InputError(fmt::format(format, std::forward<Args>(args)...));
}

/// States a promise of our own code. A broken one is a bug, never the user's doing.
///
/// \throws std::logic_error with the place, unless `ok`
inline void assume(bool ok, const char* promise,
                   std::source_location place = std::source_location::current()) {
  if (!ok) {
    throw std::logic_error(
        fmt::format("{}:{}: broken promise: {}", place.file_name(), place.line(), promise));
  }
}

}  // namespace espalier
