// SPDX-License-Identifier: Apache-2.0
#include "espalier/prune/criteria.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <numeric>
#include <utility>

#include "espalier/base/error.h"
#include "espalier/base/random.h"
#include "espalier/base/words.h"
#include "espalier/prune/pooled.h"

namespace espalier {

namespace {

using nlohmann::json;

std::size_t index(std::int64_t layer) { return static_cast<std::size_t>(layer); }

const char* name_of(Averaging averaging) {
  return averaging == Averaging::Samples ? "samples" : "subtasks";
}

bool has_samples(const ProbeDomain& domain) {
  return std::ranges::any_of(domain.subtasks, [](const auto& s) { return s.samples > 0; });
}

std::int64_t count_samples(const ProbeRecord& record) {
  return std::accumulate(record.sums.count.begin(), record.sums.count.end(), std::int64_t{0});
}

// --- functions of means over samples ---

/// Why a domain's similarity over some tokens cannot be taken.
std::string obstacle_of(const ProbeRecord& record, std::size_t domain, Tokens tokens) {
  const ProbeDomain& of = record.domains[domain];
  if (!has_samples(of)) return fmt::format("the domain {} has no sample", of.name);
  if (tokens == Tokens::All) return {};
  const ProbeSamples& samples = record.samples;
  const auto domains = domain_of_subtasks(record);
  for (std::size_t s = 0; s < samples.size(); ++s) {
    const bool inside =
        std::cmp_equal(domains[static_cast<std::size_t>(samples.subtask[s])], domain);
    const std::int32_t visual = samples.visual_tokens[s];
    if (inside && (tokens == Tokens::Visual ? visual > 0 : samples.tokens[s] > visual)) return {};
  }
  return fmt::format("no sample of the domain {} has {} tokens", of.name,
                     tokens == Tokens::Visual ? "picture" : "text");
}

void add_domains(std::vector<Criterion>& criteria, const ProbeRecord& record,
                 const CriterionOptions& options) {
  struct TokenSet {
    Tokens tokens;
    const char* suffix;
    const char* about;
  };
  constexpr std::array kSets = {TokenSet{Tokens::All, "", "all tokens"},
                                TokenSet{Tokens::Visual, ":visual", "picture tokens alone"},
                                TokenSet{Tokens::Text, ":text", "text tokens alone"}};
  for (std::size_t d = 0; d < record.domains.size(); ++d) {
    const std::string& domain = record.domains[d].name;
    for (const auto& [tokens, suffix, about] : kSets) {
      criteria.push_back(
          {.name = domain + suffix,
           .about = fmt::format("mean similarity in the domain {}, {} (Eq. 6-7)", domain, about),
           .parameters =
               json{
                   {"domain", domain}, {"tokens", about}, {"averaging", name_of(options.averaging)}}
                   .dump(),
           .tokens = tokens,
           .obstacle = obstacle_of(record, d, tokens),
           .score = [d, tokens = tokens](const Evidence& evidence) {
             return CriterionScores{.scores =
                                        evidence.means[static_cast<std::size_t>(tokens)].domain[d]};
           }});
    }
  }
}

/// Eq. 9 for any number of domains. A layer that one of them does not score has no score.
LayerScores mix(const Evidence& evidence, const std::vector<double>& weights) {
  const SimilarityMeans& means = evidence.means[static_cast<std::size_t>(Tokens::All)];
  LayerScores mixed(means.all.size());
  for (const std::int64_t layer : evidence.prunable) mixed[index(layer)] = 0.0;
  for (std::size_t d = 0; d < weights.size(); ++d) {
    const LayerScores z = z_scores(means.domain[d], evidence.prunable);
    for (const std::int64_t layer : evidence.prunable) {
      auto& score = mixed[index(layer)];
      score = score && z[index(layer)] ? std::optional(*score + weights[d] * *z[index(layer)])
                                       : std::nullopt;
    }
  }
  return mixed;
}

Criterion mixed_criterion(const ProbeRecord& record, const CriterionOptions& options) {
  const std::vector<double> weights = mixing_weights(record, options);
  json by_name = json::object();
  for (std::size_t d = 0; d < weights.size(); ++d) by_name[record.domains[d].name] = weights[d];
  Criterion criterion{
      .name = "mixed",
      .about = "weighted sum of the domains' z-normalized similarities (Eq. 8-9)",
      .parameters = json{{"weights", by_name}, {"averaging", name_of(options.averaging)}}.dump(),
      .tokens = Tokens::All,
      .score = [weights](const Evidence& evidence) {
        return CriterionScores{.scores = mix(evidence, weights)};
      }};
  if (weights.empty()) {
    criterion.obstacle = fmt::format(
        "it mixes two domains by --alpha, or any number by --weights; this record has {}",
        record.domains.size());
  }
  for (std::size_t d = 0; d < weights.size() && criterion.obstacle.empty(); ++d) {
    criterion.obstacle = obstacle_of(record, d, Tokens::All);
  }
  return criterion;
}

Criterion block_influence(const CriterionOptions& options) {
  return {
      .name = "block-influence",
      .about = "mean similarity over all domains; 1 minus it is the Block Influence of ShortGPT",
      .parameters = json{{"averaging", name_of(options.averaging)}}.dump(),
      .tokens = Tokens::All,
      .score = [](const Evidence& evidence) {
        return CriterionScores{.scores = evidence.means[static_cast<std::size_t>(Tokens::All)].all};
      }};
}

// --- functions of mean-pooled rows ---

struct PoolingName {
  Pooling pooling;
  const char* name;
};
constexpr std::array kPoolingNames = {PoolingName{Pooling::Mean, "mean"},
                                      PoolingName{Pooling::MeanWithoutFirst, "mean-no-first"},
                                      PoolingName{Pooling::UnitMean, "unit-mean"}};

struct PairName {
  CkaPair pair;
  const char* name;
};
constexpr std::array kPairNames = {PairName{CkaPair::InOut, "in-out"},
                                   PairName{CkaPair::OutOut, "out-out"},
                                   PairName{CkaPair::InInLiteral, "in-in-literal"}};

/// ":out-out:unit-mean"; what is the default is not said.
std::string suffix_of(const char* pair, const char* pooling) {
  return fmt::format("{}{}", std::string_view(pair) == "in-out" ? "" : fmt::format(":{}", pair),
                     std::string_view(pooling) == "mean" ? "" : fmt::format(":{}", pooling));
}

std::string too_few_rows(std::size_t found, std::size_t wanted) {
  if (found >= wanted) return {};
  return fmt::format(
      "it needs at least {} subtasks with samples, and this record has {}; probe with more "
      "prompts, "
      "or take cka-sample",
      wanted, found);
}

void add_cka(std::vector<Criterion>& criteria, const std::shared_ptr<PooledRows>& rows) {
  for (const bool debiased : {false, true}) {
    for (const auto& [pair, pair_name] : kPairNames) {
      for (const auto& [pooling, pooling_name] : kPoolingNames) {
        criteria.push_back(
            {.name = (debiased ? "cka-debiased" : "cka") + suffix_of(pair_name, pooling_name),
             .about = fmt::format("{}linear CKA over subtasks, {}, {} pooling (section 4.3)",
                                  debiased ? "debiased " : "", pair_name, pooling_name),
             .parameters =
                 json{{"pair", pair_name}, {"pooling", pooling_name}, {"rows", rows->rows()}}
                     .dump(),
             .obstacle = too_few_rows(rows->rows(), debiased ? 4 : 3),
             .score = [rows, pair = pair, pooling = pooling, debiased](const Evidence&) {
               return CriterionScores{.scores = rows->cka(pair, pooling, debiased)};
             }});
      }
    }
  }
}

void add_adjacent_cosine(std::vector<Criterion>& criteria,
                         const std::shared_ptr<PooledRows>& rows) {
  for (const bool triplets : {false, true}) {
    for (const auto& [pooling, pooling_name] : kPoolingNames) {
      criteria.push_back(
          {.name = (triplets ? "interlace-paper" : "adjacent-cosine") +
                   suffix_of("in-out", pooling_name),
           .about =
               fmt::format("cosine of subtasks' pooled inputs and outputs, {} pooling{}",
                           pooling_name, triplets ? ", by triplets: the paper's Interlace" : ""),
           .rule = triplets ? "triplets" : "topk",
           .rule_is_fixed = triplets,
           .parameters = json{{"pooling", pooling_name}, {"rows", rows->rows()}}.dump(),
           .obstacle = too_few_rows(rows->rows(), 1),
           .score = [rows, pooling = pooling](const Evidence&) {
             return CriterionScores{.scores = rows->cosine(pooling)};
           }});
    }
  }
}

/// CKA over samples, from HSIC sums: xy / sqrt(xx * yy), each added over subtasks. The estimates
/// are unbiased, so xx or yy may come out negative or zero; the layer then has no score.
LayerScores sample_cka(const ProbeRecord& record) {
  const auto layers = index(record.model.num_layers);
  const auto total = [&](const std::vector<double>& sums, std::size_t layer) {
    double sum = 0.0;
    for (std::size_t at = layer; at < sums.size(); at += layers) sum += sums[at];
    return sum;
  };
  LayerScores scores(layers);
  for (const std::int64_t layer : record.measured_layers) {
    const double xx = total(record.sums.hsic_xx, index(layer));
    const double yy = total(record.sums.hsic_yy, index(layer));
    if (!(xx > 0.0 && yy > 0.0)) continue;
    const double result =
        total(record.sums.hsic_xy, index(layer)) / (std::sqrt(xx) * std::sqrt(yy));
    if (std::isfinite(result)) scores[index(layer)] = result;
  }
  return scores;
}

Criterion sample_cka_criterion(const ProbeRecord& record) {
  const std::int64_t most = std::ranges::max(record.sums.count);
  return {.name = "cka-sample",
          .about = "linear CKA over samples, from unbiased HSIC in blocks",
          .obstacle = most >= 4 ? ""
                                : fmt::format("it needs a subtask of at least 4 samples, and the "
                                              "largest has {}; probe more pictures",
                                              most),
          .score = [&record](const Evidence&) {
            return CriterionScores{.scores = sample_cka(record)};
          }};
}

// --- functions of sums over all samples ---

/// [L, L] means over all samples of what a record sums up for windows [G, L, L].
std::vector<double> window_means(const ProbeRecord& record, const std::vector<double>& sums) {
  const auto layers = index(record.model.num_layers);
  const auto samples = static_cast<double>(count_samples(record));
  std::vector<double> means(layers * layers);
  for (std::size_t i = 0; i < sums.size(); ++i) means[i % means.size()] += sums[i] / samples;
  return means;
}

/// The scores of the windows of one width by their first layer, from [L, L].
LayerScores windows_of(const std::vector<double>& window_scores, std::size_t layers,
                       std::size_t width) {
  LayerScores scores(layers);
  for (std::size_t l = 0; l + width < layers; ++l)
    scores[l] = window_scores[l * layers + l + width];
  return scores;
}

CriterionScores block_scores(const ProbeRecord& record, std::vector<double> window_scores) {
  LayerScores scores = windows_of(window_scores, index(record.model.num_layers), 1);
  return {.scores = std::move(scores), .window_scores = std::move(window_scores)};
}

CriterionScores window_cosine(const ProbeRecord& record) {
  return block_scores(record, window_means(record, record.sums.window_cosine));
}

CriterionScores angular(const ProbeRecord& record) {
  std::vector<double> scores = window_means(record, record.sums.last_angle);
  for (double& score : scores) score = 1.0 - score;
  return block_scores(record, std::move(scores));
}

/// Official Interlace: pack_m(l) is the similarity of the inputs of layers l and l + m, so the last
/// layer is never scored.
CriterionScores interlace(const ProbeRecord& record) {
  const auto layers = index(record.model.num_layers);
  const auto means = window_means(record, record.sums.window_cosine);
  return {.scores = windows_of(means, layers, 1),
          .pair_scores = windows_of(means, layers, 2),
          .triplet_scores = windows_of(means, layers, 3)};
}

/// `sign` times the mean over all samples of a sum [G, L].
CriterionScores layer_means(const ProbeRecord& record, const std::vector<double>& sums,
                            double sign) {
  const auto layers = index(record.model.num_layers);
  LayerScores scores(layers);
  for (const std::int64_t layer : record.measured_layers) {
    double sum = 0.0;
    for (std::size_t at = index(layer); at < sums.size(); at += layers) sum += sums[at];
    scores[index(layer)] = sign * sum / static_cast<double>(count_samples(record));
  }
  return {.scores = std::move(scores)};
}

void add_whole_record(std::vector<Criterion>& criteria, const ProbeRecord& record) {
  const std::string obstacle = count_samples(record) > 0 ? "" : "the record has no sample";
  const auto add = [&](const char* name, const char* about, const char* rule, auto score) {
    criteria.push_back({.name = name,
                        .about = about,
                        .rule = rule,
                        .rule_is_fixed = std::string_view(rule) == "triplets",
                        .obstacle = obstacle,
                        .score = [&record, score](const Evidence&) { return score(record); }});
  };
  add("interlace", "similarity across 1, 2 and 3 layers, by triplets: Interlace as published",
      "triplets", interlace);
  add("window", "similarity across a block of K layers (LLM-Streamline)", "contiguous",
      window_cosine);
  add("angular", "1 minus the angle of the last token across a block of K layers (Gromov et al.)",
      "contiguous", angular);
  add("norm-ratio", "minus |output - input| / |output| (EvoPress)", "topk",
      [](const ProbeRecord& of) { return layer_means(of, of.sums.norm_ratio, -1.0); });
  add("l2", "minus |output - input| (EvoPress)", "topk",
      [](const ProbeRecord& of) { return layer_means(of, of.sums.l2, -1.0); });
  add("attention-cosine", "similarity across the attention branch alone (LLM-Drop)", "topk",
      [](const ProbeRecord& of) { return layer_means(of, of.sums.attention_cosine, 1.0); });
  add("mlp-cosine", "similarity across the feed-forward branch alone (LLM-Drop)", "topk",
      [](const ProbeRecord& of) { return layer_means(of, of.sums.mlp_cosine, 1.0); });
}

// --- functions of the layers' numbers ---

/// A permutation by Fisher and Yates; the first K of it are removed, so that budgets are nested.
LayerScores random_scores(std::size_t layers, std::vector<std::int64_t> order, std::uint64_t seed) {
  Random random(seed);
  for (std::size_t left = order.size(); left > 1; --left) {
    std::swap(order[left - 1], order[random.below(left)]);
  }
  LayerScores scores(layers);
  for (std::size_t i = 0; i < order.size(); ++i) {
    scores[index(order[i])] =
        static_cast<double>(order.size() - i) / static_cast<double>(order.size());
  }
  return scores;
}

void add_blind(std::vector<Criterion>& criteria, std::size_t layers, std::uint64_t seed) {
  criteria.push_back({.name = "tail",
                      .about = "the deepest layer first",
                      .score = [layers](const Evidence& evidence) {
                        CriterionScores result{.scores = LayerScores(layers)};
                        for (const std::int64_t layer : evidence.prunable) {
                          result.scores[index(layer)] =
                              static_cast<double>(layer) / static_cast<double>(layers);
                        }
                        return result;
                      }});
  criteria.push_back({.name = "random",
                      .about = "a seeded random order",
                      .parameters = json{{"seed", seed}}.dump(),
                      .score = [layers, seed](const Evidence& evidence) {
                        return CriterionScores{.scores =
                                                   random_scores(layers, evidence.prunable, seed)};
                      }});
}

/// A domain may have the name of a criterion; then its own are called domain:NAME.
void rename_clashes(std::vector<Criterion>& criteria, std::size_t of_domains) {
  for (std::size_t i = 0; i < of_domains; ++i) {
    const auto others = std::span(criteria).subspan(of_domains);
    if (std::ranges::find(others, criteria[i].name, &Criterion::name) != others.end()) {
      criteria[i].name.insert(0, "domain:");
    }
  }
}

/// Only prunable layers have scores.
void drop_others(LayerScores& scores, const std::vector<std::int64_t>& prunable) {
  for (std::size_t l = 0; l < scores.size(); ++l) {
    if (!std::ranges::binary_search(prunable, static_cast<std::int64_t>(l))) scores[l].reset();
  }
}

}  // namespace

std::vector<Criterion> list_criteria(const ProbeRecord& record, const CriterionOptions& options) {
  std::vector<Criterion> criteria;
  add_domains(criteria, record, options);
  const std::size_t of_domains = criteria.size();
  criteria.push_back(mixed_criterion(record, options));
  criteria.push_back(block_influence(options));
  const auto rows = std::make_shared<PooledRows>(record);
  add_cka(criteria, rows);
  criteria.push_back(sample_cka_criterion(record));
  add_adjacent_cosine(criteria, rows);
  add_whole_record(criteria, record);
  add_blind(criteria, index(record.model.num_layers), options.seed);
  rename_clashes(criteria, of_domains);
  for (Criterion& criterion : criteria) {
    criterion.score = [score = std::move(criterion.score)](const Evidence& evidence) {
      CriterionScores result = score(evidence);
      drop_others(result.scores, evidence.prunable);
      drop_others(result.pair_scores, evidence.prunable);
      drop_others(result.triplet_scores, evidence.prunable);
      return result;
    };
  }
  return criteria;
}

std::vector<std::string> paper_criteria(const ProbeRecord& record) {
  std::vector<std::string> names;
  const std::vector<Criterion> criteria = list_criteria(record, {});
  for (std::size_t d = 0; d < record.domains.size(); ++d) {
    names.push_back(criteria[d * kTokenSets].name);
  }
  for (const char* name : {"mixed", "cka", "interlace-paper", "random"}) names.emplace_back(name);
  return names;
}

const Criterion& find_criterion(const std::vector<Criterion>& criteria, const std::string& name) {
  const auto found = std::ranges::find(criteria, name, &Criterion::name);
  if (found == criteria.end()) {
    std::vector<std::string> known;
    known.reserve(criteria.size());
    for (const Criterion& criterion : criteria) known.push_back(criterion.name);
    constexpr std::size_t kShown = 8;
    known = nearest_first(name, std::move(known));
    known.resize(std::min(known.size(), kShown));
    throw InputError(unknown_word("criterion", name, std::move(known)) +
                     "; --all ranks by every one");
  }
  require(found->obstacle.empty(), "criterion {}: {}", name, found->obstacle);
  return *found;
}

std::optional<std::array<std::size_t, 2>> alpha_domains(const ProbeRecord& record) {
  if (record.domains.size() != 2) return std::nullopt;
  const bool reversed = record.domains[0].name == "nonmath" && record.domains[1].name == "math";
  return reversed ? std::array<std::size_t, 2>{1, 0} : std::array<std::size_t, 2>{0, 1};
}

std::vector<double> mixing_weights(const ProbeRecord& record, const CriterionOptions& options) {
  if (options.weights.empty()) {
    const auto domains = alpha_domains(record);
    require(domains || !options.alpha,
            "--alpha mixes two domains and this record has {}; give --weights NAME=W,...",
            record.domains.size());
    const double alpha = options.alpha.value_or(kDefaultAlpha);
    require(alpha >= 0.0 && alpha <= 1.0, "--alpha: wanted a number from 0 to 1, found {}", alpha);
    if (!domains) return {};
    std::vector<double> weights(2);
    weights[(*domains)[0]] = 1.0 - alpha;
    weights[(*domains)[1]] = alpha;
    return weights;
  }
  require(!options.alpha, "--alpha and --weights exclude each other; leave one out");
  std::vector<std::string> names;
  names.reserve(record.domains.size());
  for (const ProbeDomain& domain : record.domains) names.push_back(domain.name);
  std::map<std::string, double> by_name;
  double sum = 0.0;
  for (const auto& [name, weight] : options.weights) {
    require(by_name.emplace(name, weight).second, "--weights: the domain {} is there twice", name);
    require(std::ranges::find(names, name) != names.end(), "--weights: {}",
            unknown_word("domain", name, names));
    require(weight >= 0.0 && std::isfinite(weight),
            "--weights: {}: wanted a number of 0 or more, found {}", name, weight);
    sum += weight;
  }
  require(sum > 0.0, "--weights: all are 0");
  std::vector<double> weights;
  for (const std::string& name : names) {
    const auto found = by_name.find(name);
    require(found != by_name.end(), "--weights: the domain {0} is missing; {0}=0 leaves it out",
            name);
    weights.push_back(found->second / sum);
  }
  return weights;
}

}  // namespace espalier
