// SPDX-License-Identifier: Apache-2.0
#include "espalier/records/layer_ranges.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>

#include "espalier/base/error.h"

namespace espalier {

namespace {

/// Far above any model: a range is written out.
constexpr std::int64_t kMaxLayer = 65535;

/// The number that a text is; -1 if it is none.
std::int64_t number_of(std::string_view text) {
  std::int64_t number = -1;
  const char* const end = text.data() + text.size();
  const auto [last, error] = std::from_chars(text.data(), end, number);
  return error == std::errc() && last == end && number <= kMaxLayer ? number : -1;
}

std::vector<std::string> runs_of(std::span<const std::int64_t> layers) {
  std::vector<std::string> runs;
  for (std::size_t begin = 0; begin < layers.size();) {
    std::size_t end = begin + 1;
    while (end < layers.size() && layers[end] == layers[end - 1] + 1) ++end;
    runs.push_back(end - begin == 1 ? std::to_string(layers[begin])
                                    : fmt::format("{}-{}", layers[begin], layers[end - 1]));
    begin = end;
  }
  return runs;
}

}  // namespace

std::vector<std::int64_t> parse_layers(std::string_view text, std::string_view what) {
  std::vector<std::int64_t> layers;
  for (std::string_view rest = text;;) {
    const std::size_t comma = rest.find(',');
    const std::string_view part = rest.substr(0, comma);
    const std::size_t dash = part.find('-');
    const std::int64_t first = number_of(part.substr(0, dash));
    const std::int64_t last =
        dash == std::string_view::npos ? first : number_of(part.substr(dash + 1));
    require(first >= 0 && last >= 0, "{}: wanted layers such as 3,7-9, found \"{}\"", what, text);
    require(first <= last, "{}: wanted a range from the lower to the higher layer, found {}", what,
            part);
    for (std::int64_t layer = first; layer <= last; ++layer) layers.push_back(layer);
    if (comma == std::string_view::npos) break;
    rest.remove_prefix(comma + 1);
  }
  std::ranges::sort(layers);
  const auto twice = std::ranges::adjacent_find(layers);
  require(twice == layers.end(), "{}: wanted each layer once, found {} twice in \"{}\"", what,
          twice == layers.end() ? 0 : *twice, text);
  return layers;
}

std::string layer_ranges(std::span<const std::int64_t> layers) {
  return layers.empty() ? "none" : fmt::format("{}", fmt::join(runs_of(layers), ", "));
}

std::string compact_layer_ranges(std::span<const std::int64_t> layers) {
  return fmt::format("{}", fmt::join(runs_of(layers), ","));
}

}  // namespace espalier
