// SPDX-License-Identifier: Apache-2.0
#include "espalier/records/ranking.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "espalier/base/error.h"
#include "espalier/base/files.h"
#include "espalier/base/hash.h"
#include "espalier/base/json.h"
#include "espalier/records/model_identity.h"

namespace espalier {

using nlohmann::json;

namespace {

constexpr std::int64_t kSchema = 1;
constexpr const char* kKind = "ranking";

// --- to JSON ---

json to_json(const LayerScores& scores) {
  json list = json::array();
  for (const auto& score : scores) list.push_back(score ? json(*score) : json(nullptr));
  return list;
}

json to_json(const CriterionResult& criterion) {
  json intervals = json::array();
  for (const RankInterval& ranks : criterion.rank_interval) {
    intervals.push_back({ranks.lo, ranks.hi});
  }
  return {{"name", criterion.name},
          {"parameters", parse_json(criterion.parameters, criterion.name + ": parameters")},
          {"scores", to_json(criterion.scores)},
          {"pair_scores", to_json(criterion.pair_scores)},
          {"triplet_scores", to_json(criterion.triplet_scores)},
          {"order", criterion.order},
          {"rank_interval", std::move(intervals)}};
}

json to_json(const Selection& selection) {
  return {{"criterion", selection.criterion},
          {"rule", selection.rule},
          {"budget", to_string(selection.budget)},
          {"K", selection.k},
          {"removed", selection.removed},
          {"stages", selection.stages},
          {"stability", selection.stability ? json(*selection.stability) : json(nullptr)},
          {"removal_share", selection.removal_share},
          {"price", selection.price}};
}

json to_json(const AlphaDiagram& diagram) {
  json intervals = json::array();
  for (const AlphaInterval& interval : diagram.intervals) {
    intervals.push_back({{"lo", interval.lo},
                         {"hi", interval.hi},
                         {"removed", interval.removed},
                         {"first_score", interval.first_score},
                         {"second_score", interval.second_score},
                         {"pareto", interval.pareto}});
  }
  return {{"first_domain", diagram.first_domain},
          {"second_domain", diagram.second_domain},
          {"budget", to_string(diagram.budget)},
          {"K", diagram.k},
          {"intervals", std::move(intervals)}};
}

template <typename Value>
json list_of(const std::vector<Value>& values) {
  json list = json::array();
  for (const Value& value : values) list.push_back(to_json(value));
  return list;
}

/// What a ranking says, without how it was asked for and by which version.
json statement_of(const Ranking& ranking) {
  return {{"schema", kSchema},
          {"kind", kKind},
          {"probe", {{"fingerprint", ranking.probe_fingerprint}}},
          {"model", to_json(ranking.model)},
          {"prunable", ranking.prunable},
          {"protected", ranking.protected_layers},
          {"criteria", list_of(ranking.criteria)},
          {"selections", list_of(ranking.selections)},
          {"alpha", list_of(ranking.alpha)},
          {"bootstrap",
           {{"unit", "image"},
            {"resamples", ranking.bootstrap.resamples},
            {"seed", ranking.bootstrap.seed},
            {"level", ranking.bootstrap.level}}}};
}

// --- from JSON ---

/// The objects of a list, read one by one; nothing in them may be left unread.
template <typename Value, typename Read>
std::vector<Value> read_list(const JsonObject& parent, const char* key, Read read) {
  std::vector<Value> values;
  for (const JsonObject& object : parent.objects(key)) {
    values.push_back(read(object));
    object.refuse_unread();
  }
  return values;
}

/// A list of finite numbers and nulls, one a layer; or, where that is allowed, an empty one.
LayerScores read_scores(const JsonObject& object, const char* key, std::int64_t num_layers,
                        bool may_be_empty) {
  const json& list = object.at(key);
  require(list.is_array(), "{}: {}: wanted a list", object.place(), key);
  require(std::cmp_equal(list.size(), num_layers) || (may_be_empty && list.empty()),
          "{}: {}: wanted {} entries, one a layer, found {}", object.place(), key, num_layers,
          list.size());
  LayerScores scores;
  for (const json& entry : list) {
    require(entry.is_null() || (entry.is_number() && std::isfinite(entry.get<double>())),
            "{}: {}: wanted finite numbers or null", object.place(), key);
    scores.push_back(entry.is_null() ? std::nullopt : std::optional(entry.get<double>()));
  }
  return scores;
}

/// Layers in ascending order, each there once and inside the model.
std::vector<std::int64_t> read_layers(const JsonObject& object, const char* key,
                                      std::int64_t num_layers) {
  std::vector<std::int64_t> layers = object.integers(key);
  const bool ascending = std::ranges::adjacent_find(layers, std::greater_equal()) == layers.end();
  require(ascending && (layers.empty() || (layers.front() >= 0 && layers.back() < num_layers)),
          "{}: {}: wanted ascending layers from 0 to {}", object.place(), key, num_layers - 1);
  return layers;
}

/// K prunable layers.
std::vector<std::int64_t> read_removed(const JsonObject& object, std::int64_t k,
                                       const Ranking& ranking) {
  std::vector<std::int64_t> removed = read_layers(object, "removed", ranking.model.num_layers);
  require(std::cmp_equal(removed.size(), k), "{}: removed: wanted K = {} layers, found {}",
          object.place(), k, removed.size());
  require(std::ranges::includes(ranking.prunable, removed),
          "{}: removed: has layers that are not prunable", object.place());
  return removed;
}

/// A number that is a share of something.
double checked_share(double share, const JsonObject& object, const char* key) {
  require(share >= 0.0 && share <= 1.0, "{}: {}: wanted a share from 0 to 1, found {}",
          object.place(), key, share);
  return share;
}

std::vector<RankInterval> read_intervals(const JsonObject& object, const Ranking& ranking) {
  const json& list = object.at("rank_interval");
  const auto ranks = static_cast<std::int64_t>(ranking.prunable.size());
  require(
      list.is_array() && (list.empty() || std::cmp_equal(list.size(), ranking.model.num_layers)),
      "{}: rank_interval: wanted one entry a layer, or none", object.place());
  std::vector<RankInterval> intervals;
  for (const json& entry : list) {
    const bool is_pair = entry.is_array() && entry.size() == 2 && entry[0].is_number_integer() &&
                         entry[1].is_number_integer();
    const RankInterval interval =
        is_pair ? RankInterval{entry[0].get<std::int64_t>(), entry[1].get<std::int64_t>()}
                : RankInterval{-1, -1};
    const bool unranked = interval == RankInterval{};
    require(unranked || (1 <= interval.lo && interval.lo <= interval.hi && interval.hi <= ranks),
            "{}: rank_interval: wanted [lo, hi] within 1 to {}, or [0, 0], found {}",
            object.place(), ranks, entry.dump());
    intervals.push_back(interval);
  }
  return intervals;
}

CriterionResult read_criterion(const JsonObject& object, const Ranking& ranking) {
  CriterionResult criterion;
  const std::int64_t num_layers = ranking.model.num_layers;
  criterion.name = object.string("name");
  const json& parameters = object.at("parameters");
  require(parameters.is_object(), "{}: parameters: wanted an object", object.place());
  criterion.parameters = parameters.dump();
  criterion.scores = read_scores(object, "scores", num_layers, /*may_be_empty=*/false);
  criterion.pair_scores = read_scores(object, "pair_scores", num_layers, /*may_be_empty=*/true);
  criterion.triplet_scores =
      read_scores(object, "triplet_scores", num_layers, /*may_be_empty=*/true);
  criterion.order = object.integers("order");
  require(std::ranges::is_permutation(criterion.order, ranking.prunable),
          "{}: order: wanted the prunable layers, each once", object.place());
  criterion.rank_interval = read_intervals(object, ranking);
  return criterion;
}

/// The budget of an object that has a K, which must agree.
void read_budget(const JsonObject& object, const Ranking& ranking, Budget& budget,
                 std::int64_t& k) {
  budget = budget_of(object.string("budget"), object.place() + ": budget");
  k = object.integer("K");
  const auto wanted = layers_to_remove(budget, static_cast<std::int64_t>(ranking.prunable.size()));
  require(k == wanted, "{}: K: wanted {} for {} of {} prunable layers, found {}", object.place(),
          wanted, to_string(budget), ranking.prunable.size(), k);
}

Selection read_selection(const JsonObject& object, const Ranking& ranking) {
  Selection selection;
  selection.criterion = object.string("criterion");
  require(std::ranges::count(ranking.criteria, selection.criterion, &CriterionResult::name) == 1,
          "{}: criterion: {} is not among the criteria", object.place(), selection.criterion);
  selection.rule = object.string("rule");
  read_budget(object, ranking, selection.budget, selection.k);
  selection.removed = read_removed(object, selection.k, ranking);
  const json& stages = object.at("stages");
  require(stages.is_array() && std::ranges::all_of(stages, &json::is_string),
          "{}: stages: wanted a list of texts", object.place());
  selection.stages = stages.get<std::vector<std::string>>();
  const bool has_stability = !object.at("stability").is_null();
  if (has_stability) {
    selection.stability = checked_share(object.number("stability"), object, "stability");
  }
  selection.removal_share = object.numbers("removal_share");
  require(selection.removal_share.empty() ||
              std::cmp_equal(selection.removal_share.size(), ranking.model.num_layers),
          "{}: removal_share: wanted one entry a layer, or none", object.place());
  for (const double share : selection.removal_share) {
    checked_share(share, object, "removal_share");
  }
  selection.price = object.number("price");
  return selection;
}

AlphaInterval read_alpha_interval(const JsonObject& object, std::int64_t k,
                                  const Ranking& ranking) {
  return {.lo = checked_share(object.number("lo"), object, "lo"),
          .hi = checked_share(object.number("hi"), object, "hi"),
          .removed = read_removed(object, k, ranking),
          .first_score = object.number("first_score"),
          .second_score = object.number("second_score"),
          .pareto = object.boolean("pareto")};
}

AlphaDiagram read_alpha(const JsonObject& object, const Ranking& ranking) {
  AlphaDiagram diagram;
  diagram.first_domain = object.string("first_domain");
  diagram.second_domain = object.string("second_domain");
  read_budget(object, ranking, diagram.budget, diagram.k);
  diagram.intervals =
      read_list<AlphaInterval>(object, "intervals", [&](const JsonObject& interval) {
        return read_alpha_interval(interval, diagram.k, ranking);
      });
  double end = 0.0;
  for (const AlphaInterval& interval : diagram.intervals) {
    require(interval.lo == end && interval.hi >= interval.lo,
            "{}: intervals: wanted them to follow one another from 0 to 1 without a gap",
            object.place());
    end = interval.hi;
  }
  require(end == 1.0, "{}: intervals: wanted them to end at 1, found {}", object.place(), end);
  return diagram;
}

BootstrapInfo read_bootstrap(const JsonObject& object) {
  require(object.string("unit") == "image", "{}: unit: wanted image, found {}", object.place(),
          object.string("unit"));
  const json& seed = object.at("seed");
  require(seed.is_number_unsigned(), "{}: seed: wanted a whole number", object.place());
  BootstrapInfo info{.resamples = object.integer("resamples"),
                     .seed = seed.get<std::uint64_t>(),
                     .level = checked_share(object.number("level"), object, "level")};
  require(info.resamples >= 0, "{}: resamples: wanted 0 or more, found {}", object.place(),
          info.resamples);
  object.refuse_unread();
  return info;
}

std::string probe_fingerprint(const JsonObject& probe) {
  std::string found = probe.string("fingerprint");
  probe.refuse_unread();
  return found;
}

/// A file of the kind and schema that this version reads, before anything else is looked at.
void check_head(const JsonObject& object) {
  const std::string kind = object.string("kind");
  require(kind == kKind, "{}: kind: wanted {}, found {}; espalier rank writes such a file",
          object.place(), kKind, kind);
  const std::int64_t schema = object.integer("schema");
  require(schema == kSchema,
          "{}: schema: wanted {}, found {}; rank the probe record again with this version",
          object.place(), kSchema, schema);
  object.ignore({"tool_version"});
}

}  // namespace

Ranking read_ranking(const std::filesystem::path& file) {
  const json document = read_json(file);
  const JsonObject object(document, file.string());
  check_head(object);
  Ranking ranking;
  ranking.probe_fingerprint = probe_fingerprint(object.object("probe"));
  ranking.model = read_model_identity(object.object("model"));
  ranking.prunable = read_layers(object, "prunable", ranking.model.num_layers);
  ranking.protected_layers = read_layers(object, "protected", ranking.model.num_layers);
  for (const std::int64_t layer : ranking.protected_layers) {
    require(!std::ranges::binary_search(ranking.prunable, layer),
            "{}: layer {} is both prunable and protected", object.place(), layer);
  }
  ranking.criteria = read_list<CriterionResult>(
      object, "criteria", [&](const JsonObject& entry) { return read_criterion(entry, ranking); });
  ranking.selections = read_list<Selection>(object, "selections", [&](const JsonObject& entry) {
    return read_selection(entry, ranking);
  });
  ranking.alpha = read_list<AlphaDiagram>(
      object, "alpha", [&](const JsonObject& entry) { return read_alpha(entry, ranking); });
  ranking.bootstrap = read_bootstrap(object.object("bootstrap"));
  const json& options = object.at("options");
  require(options.is_object(), "{}: options: wanted an object", object.place());
  ranking.options = options.dump();
  object.refuse_unread();
  return ranking;
}

std::string to_json_text(const Ranking& ranking) {
  json document = statement_of(ranking);
  document["tool_version"] = ESPALIER_VERSION;
  document["options"] = parse_json(ranking.options, "the ranking's options");
  return document.dump(1) + "\n";
}

void write_ranking(const std::filesystem::path& file, const Ranking& ranking, bool force) {
  write_file(file, to_json_text(ranking), force);
}

std::string fingerprint(const Ranking& ranking) {
  Sha256 hash;
  hash.update(statement_of(ranking).dump());
  return hash.finish();
}

}  // namespace espalier
