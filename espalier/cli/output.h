// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>

namespace espalier {

/// "4.26 GB" of a number of bytes.
std::string human_bytes(std::uint64_t bytes);

/// "2.13 B", "0.9 M", "12 k" of a number of things.
std::string human_count(std::uint64_t count);

/// A result on stdout. Bytes that are no UTF-8 (of a path, of an answer cut short) become U+FFFD.
void print_json(const nlohmann::json& result);

}  // namespace espalier
