// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

namespace espalier {

/// Calls `visit` for each line of a text file (JSONL) that is not blank, without its line end.
///
/// \param visit        gets the line and its place for errors, `file:number`, counted from 1
/// \throws InputError  if the file cannot be read
void for_each_line(
    const std::filesystem::path& file,
    const std::function<void(std::string_view line, const std::string& place)>& visit);

}  // namespace espalier
