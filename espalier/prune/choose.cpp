// SPDX-License-Identifier: Apache-2.0
#include "espalier/prune/choose.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "espalier/base/error.h"
#include "espalier/base/json.h"
#include "espalier/base/words.h"
#include "espalier/prune/make_plan.h"
#include "espalier/prune/selection.h"

namespace espalier {

namespace {

using Layers = std::vector<std::int64_t>;

/// The criterion of the paper's own method (Eq. 9).
constexpr const char* kDefaultCriterion = "mixed";

/// The criteria that score a block as a whole, which a ranking does not hold.
constexpr std::array<std::string_view, 2> kBlockCriteria = {"window", "angular"};

const CriterionResult& criterion_named(const Ranking& ranking, const std::string& asked) {
  std::vector<std::string> names;
  names.reserve(ranking.criteria.size());
  for (const CriterionResult& criterion : ranking.criteria) names.push_back(criterion.name);
  require(!names.empty(), "the ranking has no criterion; rank again");
  std::string name = asked.empty() ? kDefaultCriterion : asked;
  if (asked.empty() && names.size() == 1) name = names.front();
  const auto found = std::ranges::find(ranking.criteria, name, &CriterionResult::name);
  require(found != ranking.criteria.end() || !asked.empty(),
          "--criterion: wanted one of the ranking's: {}", fmt::join(names, ", "));
  require(found != ranking.criteria.end(), "--criterion: {}",
          unknown_word("criterion", name, names));
  return *found;
}

/// The rule that goes with a criterion: the ranking took it.
std::string rule_of(const Ranking& ranking, const std::string& criterion) {
  const auto found = std::ranges::find(ranking.selections, criterion, &Selection::criterion);
  return found == ranking.selections.end() ? "topk" : found->rule;
}

/// A rule with the numbers that the ranking was made with.
RuleOptions rule_options(const Ranking& ranking, const std::string& rule) {
  const auto stored = parse_json(ranking.options, "the ranking's options");
  const JsonObject options(stored, "the ranking's options");
  RuleOptions result{.rule = rule};
  if (options.has("min_gap")) result.min_gap = options.integer("min_gap");
  if (options.has("max_run")) result.max_run = options.integer("max_run");
  const std::string overflow = options.has("overflow") ? options.string("overflow") : "stages";
  if (overflow == "gap-dp") result.overflow = Overflow::GapDp;
  if (overflow == "error") result.overflow = Overflow::Error;
  return result;
}

/// What the ranking chose itself; none where it did not for this K.
const Selection* stored_selection(const Ranking& ranking, const std::string& criterion,
                                  const std::string& rule, std::int64_t k) {
  const auto found = std::ranges::find_if(ranking.selections, [&](const Selection& selection) {
    return selection.criterion == criterion && selection.rule == rule && selection.k == k;
  });
  return found == ranking.selections.end() ? nullptr : &*found;
}

Choice choose(const Ranking& ranking, const CriterionResult& criterion, const std::string& rule,
              const Layers& prunable, std::int64_t k) {
  require(std::ranges::find(rule_names(), rule) != rule_names().end(), "--rule: {}",
          unknown_word("rule", rule, rule_names()));
  const Selection* stored = stored_selection(ranking, criterion.name, rule, k);
  if (stored != nullptr && prunable == ranking.prunable) {
    return {.removed = stored->removed, .stages = stored->stages, .price = stored->price};
  }
  const bool wants_blocks =
      rule == "contiguous" &&
      std::ranges::find(kBlockCriteria, criterion.name) != kBlockCriteria.end();
  require(!wants_blocks,
          "{}: the ranking holds no scores of blocks of {} layers; make it again with that budget "
          "and protection (espalier rank --criterion {} --remove {})",
          criterion.name, k, criterion.name, k);
  return select({.prunable = prunable,
                 .scores = criterion.scores,
                 .pair_scores = criterion.pair_scores,
                 .triplet_scores = criterion.triplet_scores},
                k, rule_options(ranking, rule));
}

}  // namespace

Plan choose_layers(const Ranking& ranking, const ChoiceOptions& options) {
  const CriterionResult& criterion = criterion_named(ranking, options.criterion);
  const std::string rule = options.rule.empty() ? rule_of(ranking, criterion.name) : options.rule;
  Layers added = ranking.protected_layers;
  added.insert(added.end(), options.protect.begin(), options.protect.end());
  Plan plan;
  plan.protected_layers = protected_layers(ranking.model.num_layers, added);
  Layers prunable;
  std::ranges::set_difference(ranking.prunable, plan.protected_layers,
                              std::back_inserter(prunable));
  const std::int64_t k = layers_to_remove(options.budget, std::ssize(prunable));
  Choice choice = choose(ranking, criterion, rule, prunable, k);
  plan.removed = std::move(choice.removed);
  // One stage is the rule as it is; more are how it gave way.
  if (choice.stages.size() > 1) plan.relaxations = std::move(choice.stages);
  plan.criterion = criterion.name;
  plan.rule = rule;
  plan.budget = options.budget;
  plan.ranking_fingerprint = fingerprint(ranking);
  return plan;
}

}  // namespace espalier
