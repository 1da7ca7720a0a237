// SPDX-License-Identifier: Apache-2.0
#include "espalier/base/lines.h"

#include <fmt/format.h>

#include <algorithm>

#include "espalier/base/files.h"

namespace espalier {

void for_each_line(
    const std::filesystem::path& file,
    const std::function<void(std::string_view line, const std::string& place)>& visit) {
  const MappedFile mapped(file);
  const std::string_view text(reinterpret_cast<const char*>(mapped.bytes().data()),
                              mapped.bytes().size());
  std::int64_t number = 0;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    std::string_view line = text.substr(begin, end - begin);
    begin = end + 1;
    ++number;
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    visit(line, fmt::format("{}:{}", file.string(), number));
  }
}

}  // namespace espalier
