// SPDX-License-Identifier: Apache-2.0
#include "espalier/cli/output.h"

#include <fmt/format.h>

#include <array>
#include <nlohmann/json.hpp>

namespace espalier {

namespace {

/// A number in the largest of three units, of 10^3, 10^6 and 10^9, that it reaches.
std::string in_units(std::uint64_t number, const std::array<const char*, 3>& units) {
  const auto value = static_cast<double>(number);
  if (value >= 1e9) return fmt::format("{:.2f} {}", value / 1e9, units[2]);
  if (value >= 1e6) return fmt::format("{:.1f} {}", value / 1e6, units[1]);
  return fmt::format("{:.1f} {}", value / 1e3, units[0]);
}

}  // namespace

std::string human_bytes(std::uint64_t bytes) { return in_units(bytes, {"kB", "MB", "GB"}); }

std::string human_count(std::uint64_t count) { return in_units(count, {"k", "M", "B"}); }

void print_json(const nlohmann::json& result) {
  fmt::print("{}\n", result.dump(2, ' ', false, nlohmann::json::error_handler_t::replace));
}

}  // namespace espalier
