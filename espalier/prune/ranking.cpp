// SPDX-License-Identifier: Apache-2.0
#include "espalier/prune/ranking.h"

#include <algorithm>
#include <future>
#include <nlohmann/json.hpp>

#include "espalier/base/error.h"
#include "espalier/base/words.h"
#include "espalier/prune/alpha.h"
#include "espalier/prune/order.h"

namespace espalier {

namespace {

using nlohmann::json;

/// A criterion with what it said and the rule that goes with it.
struct Scored {
  const Criterion* criterion;
  Candidates candidates;
  RuleOptions rule;
};

std::vector<std::int64_t> protected_layers(std::int64_t num_layers,
                                           const std::vector<std::int64_t>& protect) {
  std::vector<std::int64_t> layers = protect;
  layers.insert(layers.end(), {0, num_layers - 1});
  std::ranges::sort(layers);
  const auto [begin, end] = std::ranges::unique(layers);
  layers.erase(begin, end);
  require(layers.front() >= 0 && layers.back() < num_layers,
          "--protect: layer {}: the model has layers 0 to {}",
          layers.front() < 0 ? layers.front() : layers.back(), num_layers - 1);
  return layers;
}

/// The rule of one criterion.
RuleOptions rule_of(const Criterion& criterion, const RankOptions& options) {
  const bool asked = options.rule && !criterion.rule_is_fixed;
  const RuleOptions defaults;
  return {.rule = asked ? *options.rule : criterion.rule,
          .min_gap = options.min_gap.value_or(defaults.min_gap),
          .max_run = options.max_run.value_or(defaults.max_run),
          .overflow = options.overflow.value_or(defaults.overflow)};
}

/// An option that nothing uses is an error: what was meant would silently not happen.
void refuse_unused(const RankOptions& options, const std::vector<const Criterion*>& criteria) {
  const auto uses = [&](const char* rule) {
    return std::ranges::any_of(
        criteria, [&](const Criterion* c) { return rule_of(*c, options).rule == rule; });
  };
  const bool mixes =
      std::ranges::any_of(criteria, [](const Criterion* c) { return c->name == "mixed"; });
  require(!options.rule || std::ranges::find(rule_names(), *options.rule) != rule_names().end(),
          "--rule: {}", unknown_word("rule", options.rule.value_or(""), rule_names()));
  require(!options.min_gap || uses("min-gap"), "--min-gap needs --rule min-gap");
  require(!options.max_run || uses("max-run"), "--max-run needs --rule max-run");
  require(!options.overflow || uses("triplets"),
          "--overflow is of the rule triplets, which no criterion here takes");
  require(mixes || !options.criterion.alpha, "--alpha is of the criterion mixed; add it");
  require(mixes || options.criterion.weights.empty(),
          "--weights is of the criterion mixed; add it");
}

std::vector<const Criterion*> chosen_criteria(
    const ProbeRecord& record, const std::vector<Criterion>& known, const RankOptions& options,
    std::vector<std::pair<std::string, std::string>>* left_out) {
  require(!options.all || options.criteria.empty(), "--all and --criterion exclude each other");
  std::vector<const Criterion*> chosen;
  for (const std::string& name : options.criteria) {
    const Criterion& criterion = find_criterion(known, name);
    require(std::ranges::find(chosen, &criterion) == chosen.end(), "criterion {}: given twice",
            name);
    require(!options.rule || !criterion.rule_is_fixed || *options.rule == criterion.rule,
            "criterion {} means the rule {}; leave out --rule, or take adjacent-cosine", name,
            criterion.rule);
    chosen.push_back(&criterion);
  }
  if (!options.criteria.empty()) return chosen;
  const std::vector<std::string> papers = paper_criteria(record);
  for (const Criterion& criterion : known) {
    const bool wanted = options.all || std::ranges::find(papers, criterion.name) != papers.end();
    if (wanted && criterion.obstacle.empty()) chosen.push_back(&criterion);
    if (wanted && !criterion.obstacle.empty() && left_out != nullptr) {
      left_out->emplace_back(criterion.name, criterion.obstacle);
    }
  }
  return chosen;
}

/// The record's own means, over the tokens that some criterion looks at.
Evidence gather(const ProbeRecord& record, const std::vector<std::int64_t>& prunable,
                const std::vector<const Criterion*>& criteria, Averaging averaging) {
  Evidence evidence{.prunable = prunable};
  for (const Criterion* criterion : criteria) {
    if (!criterion->tokens) continue;
    SimilarityMeans& means = evidence.means[static_cast<std::size_t>(*criterion->tokens)];
    if (means.all.empty()) means = similarity_means(record, *criterion->tokens, averaging);
  }
  return evidence;
}

Scored score(const Criterion& criterion, const Evidence& evidence, const RankOptions& options) {
  CriterionScores scores = criterion.score(evidence);
  return {.criterion = &criterion,
          .candidates = {.prunable = evidence.prunable,
                         .scores = std::move(scores.scores),
                         .pair_scores = std::move(scores.pair_scores),
                         .triplet_scores = std::move(scores.triplet_scores),
                         .window_scores = std::move(scores.window_scores)},
          .rule = rule_of(criterion, options)};
}

CriterionResult result_of(const Scored& scored) {
  const Candidates& candidates = scored.candidates;
  return {.name = scored.criterion->name,
          .parameters = scored.criterion->parameters,
          .scores = candidates.scores,
          .pair_scores = candidates.pair_scores,
          .triplet_scores = candidates.triplet_scores,
          .order = order_layers(candidates.prunable, candidates.scores)};
}

Selection select(const Scored& scored, const Budget& budget) {
  const auto k = layers_to_remove(budget, std::ssize(scored.candidates.prunable));
  try {
    Choice choice = select(scored.candidates, k, scored.rule);
    return {.criterion = scored.criterion->name,
            .rule = scored.rule.rule,
            .budget = budget,
            .k = k,
            .removed = std::move(choice.removed),
            .stages = std::move(choice.stages),
            .price = choice.price};
  } catch (const InputError& error) {
    throw InputError(fmt::format("criterion {}, budget {}: {}", scored.criterion->name,
                                 to_string(budget), error.what()));
  }
}

std::vector<AlphaDiagram> alpha_diagrams(const ProbeRecord& record, const Evidence& evidence,
                                         const std::vector<Budget>& budgets) {
  const auto domains = alpha_domains(record);
  const SimilarityMeans& means = evidence.means[static_cast<std::size_t>(Tokens::All)];
  std::vector<AlphaDiagram> diagrams;
  if (!domains || means.domain.empty()) return diagrams;
  const auto [first, second] = *domains;
  const LayerScores first_z = z_scores(means.domain[first], evidence.prunable);
  const LayerScores second_z = z_scores(means.domain[second], evidence.prunable);
  for (const Budget& budget : budgets) {
    const auto k = layers_to_remove(budget, std::ssize(evidence.prunable));
    diagrams.push_back({.first_domain = record.domains[first].name,
                        .second_domain = record.domains[second].name,
                        .budget = budget,
                        .k = k,
                        .intervals = alpha_intervals(first_z, second_z, evidence.prunable, k)});
  }
  return diagrams;
}

/// Adds rank intervals and stabilities to what is already ranked.
void add_uncertainty(const ProbeRecord& record, const std::vector<Scored>& scored,
                     const RankOptions& options, Ranking& ranking) {
  std::vector<const Criterion*> criteria;
  std::vector<std::size_t> places;
  std::vector<SelectionInQuestion> questions;
  std::vector<Selection*> asked;
  for (std::size_t c = 0; c < scored.size(); ++c) {
    if (!scored[c].criterion->tokens) continue;
    criteria.push_back(scored[c].criterion);
    places.push_back(c);
    for (Selection& selection : ranking.selections) {
      if (selection.criterion != scored[c].criterion->name) continue;
      questions.push_back(
          {.criterion = scored[c].criterion, .rule = scored[c].rule, .removed = selection.removed});
      asked.push_back(&selection);
    }
  }
  if (criteria.empty()) return;
  const BootstrapInfo& info = ranking.bootstrap;
  BootstrapResult found =
      bootstrap(record, ranking.prunable, options.criterion.averaging, criteria, questions,
                {.resamples = info.resamples,
                 .seed = info.seed,
                 .level = info.level,
                 .threads = options.threads});
  for (std::size_t i = 0; i < places.size(); ++i) {
    ranking.criteria[places[i]].rank_interval = std::move(found.rank_intervals[i]);
  }
  for (std::size_t i = 0; i < asked.size(); ++i) {
    asked[i]->stability = found.stabilities[i].same_set;
    asked[i]->removal_share = std::move(found.stabilities[i].removal_share);
  }
}

const char* name_of(Overflow overflow) {
  if (overflow == Overflow::GapDp) return "gap-dp";
  return overflow == Overflow::Stages ? "stages" : "error";
}

/// Everything that was asked or defaulted.
std::string options_as_json(const RankOptions& options, const std::vector<Budget>& budgets,
                            const Ranking& ranking) {
  const RuleOptions rule = rule_of(Criterion{}, options);
  json names = json::array();
  for (const CriterionResult& criterion : ranking.criteria) names.push_back(criterion.name);
  json weights = json::object();
  for (const auto& [name, weight] : options.criterion.weights) weights[name] = weight;
  json texts = json::array();
  for (const Budget& budget : budgets) texts.push_back(to_string(budget));
  return json{
      {"criteria", names},
      {"rule", options.rule ? json(*options.rule) : json(nullptr)},
      {"min_gap", rule.min_gap},
      {"max_run", rule.max_run},
      {"overflow", name_of(rule.overflow)},
      {"alpha", options.criterion.alpha.value_or(kDefaultAlpha)},
      {"weights", weights},
      {"averaging", options.criterion.averaging == Averaging::Samples ? "samples" : "subtasks"},
      {"budgets", texts},
      {"protect", ranking.protected_layers},
      {"bootstrap", options.resamples},
      {"seed", options.criterion.seed}}
      .dump();
}

std::vector<Budget> budgets_of(const RankOptions& options) {
  std::vector<Budget> budgets = options.budgets;
  if (budgets.empty()) budgets = {{1, 10}, {1, 4}, {2, 5}};
  for (std::size_t i = 0; i < budgets.size(); ++i) {
    const auto same = std::ranges::find(budgets, budgets[i]);
    require(same == budgets.begin() + static_cast<std::ptrdiff_t>(i), "budget {}: given twice",
            to_string(budgets[i]));
  }
  return budgets;
}

}  // namespace

std::vector<std::int64_t> prunable_layers(const ProbeRecord& record,
                                          const std::vector<std::int64_t>& protect) {
  const auto kept = protected_layers(record.model.num_layers, protect);
  std::vector<std::int64_t> prunable;
  std::ranges::set_difference(record.measured_layers, kept, std::back_inserter(prunable));
  require(!prunable.empty(),
          "no layer is left to remove: of {} layers {} are measured and {} are protected",
          record.model.num_layers, record.measured_layers.size(), kept.size());
  return prunable;
}

Ranking rank(const ProbeRecord& record, const RankOptions& options,
             std::vector<std::pair<std::string, std::string>>* left_out) {
  // Half of the time without a bootstrap: it runs beside the rest.
  auto probe_fingerprint = std::async(std::launch::async, [&] { return fingerprint(record); });
  Ranking ranking{.model = record.model};
  ranking.prunable = prunable_layers(record, options.protect);
  ranking.protected_layers = protected_layers(record.model.num_layers, options.protect);
  const std::vector<Criterion> known = list_criteria(record, options.criterion);
  const auto criteria = chosen_criteria(record, known, options, left_out);
  refuse_unused(options, criteria);
  const std::vector<Budget> budgets = budgets_of(options);
  const Evidence evidence = gather(record, ranking.prunable, criteria, options.criterion.averaging);
  std::vector<Scored> scored;
  for (const Criterion* criterion : criteria) {
    scored.push_back(score(*criterion, evidence, options));
    ranking.criteria.push_back(result_of(scored.back()));
  }
  for (const Budget& budget : budgets) {
    for (const Scored& each : scored) ranking.selections.push_back(select(each, budget));
  }
  ranking.alpha = alpha_diagrams(record, evidence, budgets);
  ranking.bootstrap = {.resamples = options.resamples, .seed = options.criterion.seed};
  if (options.resamples > 0) add_uncertainty(record, scored, options, ranking);
  ranking.options = options_as_json(options, budgets, ranking);
  ranking.probe_fingerprint = probe_fingerprint.get();
  return ranking;
}

}  // namespace espalier
