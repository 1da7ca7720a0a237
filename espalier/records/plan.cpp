// SPDX-License-Identifier: Apache-2.0
#include "espalier/records/plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <nlohmann/json.hpp>
#include <numeric>
#include <utility>

#include "espalier/base/error.h"
#include "espalier/base/json.h"

namespace espalier {

using nlohmann::json;

namespace {

using Layers = std::vector<std::int64_t>;

constexpr std::int64_t kSchema = 1;
constexpr const char* kKind = "plan";
constexpr std::int64_t kMaxLayers = 1 << 16;
constexpr std::size_t kFingerprintDigits = 64;

// --------------------------------------------------------------------------------------- writing

json to_json(const BeforeAfter& pair) { return {{"before", pair.before}, {"after", pair.after}}; }

/// What a plan and an entry of a lineage share.
json to_json(const Plan& plan) {
  json base = {{"name", plan.base_name}, {"fingerprint", plan.base_fingerprint}};
  if (!plan.base_path.empty()) base["path"] = plan.base_path;
  json ranking;  // null
  if (!plan.ranking_fingerprint.empty()) ranking = {{"fingerprint", plan.ranking_fingerprint}};
  return {{"base", std::move(base)},
          {"num_layers", plan.num_layers},
          {"protected", plan.protected_layers},
          {"removed", plan.removed},
          {"kept", plan.kept},
          {"removed_original", plan.removed_original},
          {"kept_original", plan.kept_original},
          {"criterion", plan.criterion},
          {"rule", plan.rule},
          {"budget", to_string(plan.budget)},
          {"K", plan.k},
          {"relaxations", plan.relaxations},
          {"deepstack_shift", plan.deepstack_shift},
          {"parameters", to_json(plan.parameters)},
          {"bytes", to_json(plan.bytes)},
          {"ranking", std::move(ranking)},
          {"options", json::parse(plan.options)}};
}

// --------------------------------------------------------------------------------------- reading

std::vector<std::string> strings(const JsonObject& object, std::string_view key) {
  const json& list = object.at(key);
  require(list.is_array() && std::ranges::all_of(list, [](auto& v) { return v.is_string(); }),
          "{}: {}: wanted a list of texts", object.place(), key);
  return list.get<std::vector<std::string>>();
}

/// Ascending layer numbers below `end`, each once.
Layers layers(const JsonObject& object, std::string_view key, std::int64_t end) {
  Layers found = object.integers(key);
  const bool fine = std::ranges::adjacent_find(found, std::ranges::greater_equal{}) == found.end();
  require(fine && (found.empty() || (found.front() >= 0 && found.back() < end)),
          "{}: {}: wanted ascending layers from 0 to {}, found {}", object.place(), key, end - 1,
          json(found).dump());
  return found;
}

std::string fingerprint_in(const JsonObject& object) {
  std::string text = object.string("fingerprint");
  require(text.size() == kFingerprintDigits &&
              text.find_first_not_of("0123456789abcdef") == std::string::npos,
          "{}: fingerprint: wanted {} hexadecimal digits, found \"{}\"", object.place(),
          kFingerprintDigits, text);
  return text;
}

BeforeAfter read_pair(const JsonObject& object) {
  const BeforeAfter pair{.before = object.integer("before"), .after = object.integer("after")};
  object.refuse_unread();
  require(0 <= pair.after && pair.after <= pair.before,
          "{}: wanted no more after than before, found {} and {}", object.place(), pair.after,
          pair.before);
  return pair;
}

/// Two ascending lists must together be a third.
void check_parts(const JsonObject& object, const Layers& kept, const Layers& removed,
                 const Layers& all, std::string_view what) {
  Layers both;
  std::ranges::merge(kept, removed, std::back_inserter(both));
  require(both == all, "{}: wanted kept and removed layers that make up {}, found {} and {}",
          object.place(), what, json(kept).dump(), json(removed).dump());
}

void read_layers(const JsonObject& object, const Layers* base_original, Plan& plan) {
  plan.num_layers = object.integer("num_layers");
  require(plan.num_layers >= 1 && plan.num_layers <= kMaxLayers,
          "{}: num_layers: wanted 1 to {}, found {}", object.place(), kMaxLayers, plan.num_layers);
  plan.protected_layers = layers(object, "protected", plan.num_layers);
  plan.removed = layers(object, "removed", plan.num_layers);
  plan.kept = layers(object, "kept", plan.num_layers);
  plan.removed_original = layers(object, "removed_original", kMaxLayers);
  plan.kept_original = layers(object, "kept_original", kMaxLayers);
  require(!plan.kept.empty(), "{}: kept: wanted at least one layer", object.place());

  Layers base(static_cast<std::size_t>(plan.num_layers));
  std::iota(base.begin(), base.end(), std::int64_t{0});
  check_parts(object, plan.kept, plan.removed, base,
              fmt::format("the base's {} layers", plan.num_layers));
  // Of a base that was never pruned, both numberings are one.
  const Layers& original = base_original == nullptr ? base : *base_original;
  require(original.size() == base.size(),
          "{}: num_layers: wanted {} as the plan before keeps, found {}", object.place(),
          original.size(), base.size());
  const auto renumbered = [&](const Layers& numbers) {
    Layers result;
    for (const std::int64_t layer : numbers) {
      result.push_back(original[static_cast<std::size_t>(layer)]);
    }
    return result;
  };
  require(plan.kept_original == renumbered(plan.kept) &&
              plan.removed_original == renumbered(plan.removed),
          "{}: kept_original and removed_original: wanted the same layers in the numbers of the "
          "model that was never pruned, found {} and {}",
          object.place(), json(plan.kept_original).dump(), json(plan.removed_original).dump());
  plan.k = object.integer("K");
  require(std::cmp_equal(plan.k, plan.removed.size()),
          "{}: K: wanted {}, as many as removed, found {}", object.place(), plan.removed.size(),
          plan.k);
}

/// \param base_original  the original numbers of the base's layers; null if it was never pruned
Plan read_body(const JsonObject& object, const Layers* base_original) {
  Plan plan;
  const JsonObject base = object.object("base");
  plan.base_name = base.string("name");
  plan.base_fingerprint = fingerprint_in(base);
  if (base.has("path")) plan.base_path = base.string("path");
  base.refuse_unread();
  read_layers(object, base_original, plan);
  plan.criterion = object.string("criterion");
  plan.rule = object.string("rule");
  plan.budget = budget_of(object.string("budget"), object.place() + ": budget");
  plan.relaxations = strings(object, "relaxations");
  plan.deepstack_shift = object.boolean("deepstack_shift");
  plan.parameters = read_pair(object.object("parameters"));
  plan.bytes = read_pair(object.object("bytes"));
  if (object.has("ranking")) {
    const JsonObject ranking = object.object("ranking");
    plan.ranking_fingerprint = fingerprint_in(ranking);
    ranking.refuse_unread();
  }
  const JsonObject options = object.object("options");  // an object, whatever is in it
  plan.options = object.at("options").dump();
  return plan;
}

}  // namespace

std::string to_json_text(const Plan& plan) {
  json value = to_json(plan);
  value["schema"] = kSchema;
  value["kind"] = kKind;
  value["tool_version"] = ESPALIER_VERSION;
  value["lineage"] = json::array();
  for (const Plan& earlier : plan.lineage) value["lineage"].push_back(to_json(earlier));
  return value.dump(2) + "\n";
}

Plan read_plan(const std::filesystem::path& file) {
  const json value = read_json(file);
  const JsonObject object(value, file.string());
  require(object.has("schema") && object.has("kind"),
          "{}: wanted a plan (schema {}, kind \"{}\"), found another kind of file; espalier prune "
          "--map-only writes one",
          file.string(), kSchema, kKind);
  require(object.integer("schema") == kSchema && object.string("kind") == kKind,
          "{}: wanted a {} of schema {}, found {} of schema {}", file.string(), kKind, kSchema,
          object.string("kind"), object.integer("schema"));
  object.ignore({"tool_version"});
  std::vector<Plan> lineage;
  for (const JsonObject& entry : object.objects("lineage")) {
    const Layers* before = lineage.empty() ? nullptr : &lineage.back().kept_original;
    Plan earlier = read_body(entry, before);
    entry.refuse_unread();
    lineage.push_back(std::move(earlier));
  }
  Plan plan = read_body(object, lineage.empty() ? nullptr : &lineage.back().kept_original);
  object.refuse_unread();
  plan.lineage = std::move(lineage);
  return plan;
}

}  // namespace espalier
