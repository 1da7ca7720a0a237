// SPDX-License-Identifier: Apache-2.0
#include "espalier/checkpoint/layer_selection.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "espalier/base/error.h"
#include "espalier/base/json.h"
#include "espalier/checkpoint/config.h"

namespace espalier {

using nlohmann::ordered_json;

namespace {

/// The lists with one entry a layer. parse_config refuses keys that it does not know, so that a
/// list which is not here cannot slip through at its old length.
constexpr std::array kPerLayerLists = {"layer_types"};

void keep_layers_in_section(ordered_json& section, std::span<const std::int64_t> kept) {
  if (section.contains("num_hidden_layers")) section["num_hidden_layers"] = kept.size();
  for (const char* key : kPerLayerLists) {
    if (!section.contains(key) || !section[key].is_array()) continue;
    auto entries = ordered_json::array();
    for (const std::int64_t layer : kept) {
      entries.push_back(section[key].at(static_cast<std::size_t>(layer)));
    }
    section[key] = std::move(entries);
  }
  // The number of layers at the bottom that never have a window: those of them that stay.
  constexpr const char* kWindows = "max_window_layers";
  if (section.contains(kWindows) && section[kWindows].is_number_integer()) {
    const auto bottom = section[kWindows].get<std::int64_t>();
    section[kWindows] = std::ranges::count_if(kept, [&](auto layer) { return layer < bottom; });
  }
}

}  // namespace

std::string keep_layers_in_config(std::string_view text, const std::string& source,
                                  std::span<const std::int64_t> kept) {
  const Qwen3VLConfig config = parse_config(parse_json(text, source), source);
  assume(!kept.empty() && std::ranges::is_sorted(kept) && kept.front() >= 0 &&
             kept.back() < config.text.num_hidden_layers,
         "the kept layers are layers of the configuration, ascending");
  auto value = ordered_json::parse(text);
  keep_layers_in_section(value, kept);
  keep_layers_in_section(value["text_config"], kept);
  return value.dump(2) + "\n";
}

}  // namespace espalier
