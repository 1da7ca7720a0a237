// SPDX-License-Identifier: Apache-2.0
#include "tests/report/sample.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "espalier/base/random.h"
#include "espalier/report/heat_map.h"

namespace espalier::test {

namespace {

constexpr std::int64_t kWidth = 4;

std::size_t at(std::int64_t index) { return static_cast<std::size_t>(index); }

/// Similarity of a layer's input and output as real models have it, before noise.
double typical(std::int64_t layer, std::int64_t layers, std::int64_t domain, std::int64_t subtask) {
  const double depth = static_cast<double>(layer) / static_cast<double>(layers - 1);
  const double middle = 0.68 - 0.13 * static_cast<double>(domain);
  const double bump = std::exp(-std::pow((depth - middle) / 0.22, 2));
  const double ripple = 0.012 * std::sin(2.7 * static_cast<double>(layer + subtask));
  const double ends = 0.5 * std::exp(-depth / 0.02) + 0.05 * std::exp((depth - 1) / 0.04);
  return std::clamp(0.86 + 0.115 * bump + ripple - ends, 0.1, 0.999);
}

void add_sample(ProbeRecord& record, std::int64_t domain, std::int64_t subtask,
                std::int64_t subtask_of_domain, std::int64_t image, Random& random) {
  ProbeSamples& samples = record.samples;
  samples.subtask.push_back(static_cast<std::int32_t>(subtask));
  samples.image.push_back(static_cast<std::int32_t>(image));
  samples.tokens.push_back(300);
  samples.visual_tokens.push_back(260);
  SampleId id{};
  for (auto& byte : id) byte = static_cast<std::uint8_t>(random.below(256));
  samples.id.push_back(id);
  for (std::int64_t layer = 0; layer < record.model.num_layers; ++layer) {
    const bool measured = layer + 1 < record.model.num_layers;
    const double value = typical(layer, record.model.num_layers, domain, subtask_of_domain) +
                         0.006 * random.normal();
    const auto noted = [&](double number) {
      return measured ? static_cast<float>(std::clamp(number, -1.0, 1.0))
                      : std::numeric_limits<float>::quiet_NaN();
    };
    samples.similarity.push_back(noted(value));
    samples.similarity_visual.push_back(noted(value + 0.004));
    samples.similarity_text.push_back(noted(value - 0.03));
  }
}

/// z-scores over the prunable layers; none elsewhere.
LayerScores standardized(const std::vector<double>& values, const std::vector<std::int64_t>& of) {
  double mean = 0.0;
  double variance = 0.0;
  for (const auto layer : of) mean += values[at(layer)] / static_cast<double>(of.size());
  for (const auto layer : of) {
    variance += std::pow(values[at(layer)] - mean, 2) / static_cast<double>(of.size());
  }
  LayerScores scores(values.size());
  for (const auto layer : of) {
    scores[at(layer)] = (values[at(layer)] - mean) / (std::sqrt(variance) + 1e-8);
  }
  return scores;
}

LayerScores mixed(const LayerScores& first, const LayerScores& second, double alpha) {
  LayerScores scores(first.size());
  for (std::size_t layer = 0; layer < first.size(); ++layer) {
    if (first[layer]) scores[layer] = (1 - alpha) * *first[layer] + alpha * *second[layer];
  }
  return scores;
}

std::vector<std::int64_t> order_of(const LayerScores& scores,
                                   const std::vector<std::int64_t>& prunable) {
  auto order = prunable;
  std::ranges::stable_sort(order, std::ranges::greater{},
                           [&](std::int64_t layer) { return *scores[at(layer)]; });
  return order;
}

std::vector<std::int64_t> top(const LayerScores& scores, const std::vector<std::int64_t>& prunable,
                              std::int64_t k) {
  auto order = order_of(scores, prunable);
  order.resize(at(k));
  std::ranges::sort(order);
  return order;
}

CriterionResult criterion(const std::string& name, LayerScores scores,
                          const std::vector<std::int64_t>& prunable, bool bootstrap) {
  CriterionResult result{.name = name, .parameters = "{}", .scores = std::move(scores)};
  result.order = order_of(result.scores, prunable);
  if (!bootstrap) return result;
  result.rank_interval.resize(result.scores.size());
  const auto ranks = std::ssize(prunable);
  for (std::int64_t rank = 1; rank <= ranks; ++rank) {
    const std::int64_t half = 1 + rank * (ranks - rank) / (2 * ranks);
    result.rank_interval[at(result.order[at(rank - 1)])] = {std::max<std::int64_t>(1, rank - half),
                                                            std::min(ranks, rank + half)};
  }
  return result;
}

Selection selection(const CriterionResult& by, const Budget& budget,
                    const std::vector<std::int64_t>& prunable, std::int64_t k) {
  Selection result{.criterion = by.name, .rule = "topk", .budget = budget, .k = k};
  result.removed.assign(by.order.begin(), by.order.begin() + k);
  std::ranges::sort(result.removed);
  if (by.rank_interval.empty()) return result;
  result.stability = 0.62;
  result.removal_share.resize(by.scores.size());
  for (std::int64_t rank = 1; rank <= std::ssize(prunable); ++rank) {
    const double inside = static_cast<double>(k) + 0.5 - static_cast<double>(rank);
    result.removal_share[at(by.order[at(rank - 1)])] =
        std::round(100 / (1 + std::exp(-1.3 * inside))) / 100;
  }
  return result;
}

/// Sampled at 401 alphas: close enough for a picture.
AlphaDiagram alpha_diagram(const ProbeRecord& record, const LayerScores& first,
                           const LayerScores& second, const std::vector<std::int64_t>& prunable,
                           const Budget& budget, std::int64_t k) {
  AlphaDiagram diagram{.first_domain = record.domains[0].name,
                       .second_domain = record.domains[1].name,
                       .budget = budget,
                       .k = k};
  for (int step = 0; step <= 400; ++step) {
    const double alpha = step / 400.0;
    const auto removed = top(mixed(first, second, alpha), prunable, k);
    if (!diagram.intervals.empty() && diagram.intervals.back().removed == removed) {
      diagram.intervals.back().hi = alpha;
      continue;
    }
    AlphaInterval interval{.lo = alpha, .hi = alpha, .removed = removed, .pareto = true};
    if (!diagram.intervals.empty()) diagram.intervals.back().hi = alpha;
    for (const auto layer : removed) {
      interval.first_score += *first[at(layer)];
      interval.second_score += *second[at(layer)];
    }
    diagram.intervals.push_back(interval);
  }
  return diagram;
}

}  // namespace

std::vector<ProbeDomain> paper_domains() {
  return {{.name = "math",
           .source = "homework",
           .subtasks = {{.name = "cot", .prompt = "Solve it step by step.", .samples = 12},
                        {.name = "direct", .prompt = "Give only the answer.", .samples = 12},
                        {.name = "rephrase", .prompt = "Rephrase it.", .samples = 12},
                        {.name = "formalize", .prompt = "Write it as equations.", .samples = 12},
                        {.name = "verify", .prompt = "Is it solvable?", .samples = 12}}},
          {.name = "nonmath",
           .source = "photographs",
           .subtasks = {
               {.name = "captioning", .prompt = "Describe the image.", .samples = 12},
               {.name = "entity listing", .prompt = "List the main objects.", .samples = 12},
               {.name = "counting", .prompt = "How many objects are there?", .samples = 12},
               {.name = "grounding", .prompt = "Name the most prominent one.", .samples = 12}}}};
}

ProbeRecord sample_probe(const SampleShape& shape) {
  ProbeRecord record{.model = {.fingerprint = std::string(64, 'a'),
                               .architecture = "Qwen3VLForConditionalGeneration",
                               .num_layers = shape.layers,
                               .hidden_size = kWidth},
                     .domains = shape.domains.empty() ? paper_domains() : shape.domains,
                     .skipped = {{.file = "photographs/broken.jpg", .reason = "truncated"}},
                     .options = R"({"dtype":"bfloat16","limit":12,"seed":0})"};
  record.measured_layers.resize(at(shape.layers - 1));
  std::iota(record.measured_layers.begin(), record.measured_layers.end(), 0);
  Random random(7);
  std::int64_t subtask = 0;
  for (std::int64_t domain = 0; domain < std::ssize(record.domains); ++domain) {
    const auto first = std::ssize(record.pictures);
    const auto& subtasks = record.domains[at(domain)].subtasks;
    for (std::int64_t i = 0; i < subtasks.front().samples; ++i) {
      record.pictures.push_back({.domain = domain, .path = fmt::format("{}-{:03}.png", domain, i)});
    }
    for (std::int64_t task = 0; task < std::ssize(subtasks); ++task, ++subtask) {
      for (std::int64_t i = 0; i < subtasks[at(task)].samples; ++i) {
        add_sample(record, domain, subtask, task, first + i % subtasks.front().samples, random);
      }
    }
  }
  record.sums = zero_sums(subtask, shape.layers, kWidth);
  subtask = 0;
  for (const auto& domain : record.domains) {
    for (const auto& one : domain.subtasks) record.sums.count[at(subtask++)] = one.samples;
  }
  return record;
}

Ranking sample_ranking(const ProbeRecord& record, const SampleShape& shape) {
  Ranking ranking{.probe_fingerprint = fingerprint(record),
                  .model = record.model,
                  .protected_layers = {0, shape.layers - 1},
                  .bootstrap = {.resamples = 1000, .seed = 0, .level = 0.95},
                  .options = R"({"alpha":0.7,"bootstrap":1000,"protect":"0,27","seed":0})"};
  for (std::int64_t layer = 1; layer + 1 < shape.layers; ++layer) ranking.prunable.push_back(layer);
  const auto means = domain_similarity(record, TokenGroup::All);
  std::vector<LayerScores> z;
  for (const auto& mean : means) z.push_back(standardized(mean, ranking.prunable));
  for (std::size_t d = 0; d < z.size(); ++d) {
    ranking.criteria.push_back(
        criterion(record.domains[d].name, z[d], ranking.prunable, /*bootstrap=*/true));
  }
  if (z.size() > 1) {
    ranking.criteria.push_back(
        criterion("mixed", mixed(z[0], z[1], 0.7), ranking.prunable, /*bootstrap=*/true));
    ranking.criteria.back().parameters = R"({"alpha":0.7})";
  }
  Random random(3);
  for (const char* name :
       {"cka", "interlace-paper", "random", "cka-debiased", "cka-sample", "block-influence",
        "angular", "norm-ratio", "l2", "tail", "attention-cosine", "mlp-cosine", "adjacent-cosine",
        "interlace", "math:visual", "math:text", "nonmath:visual", "nonmath:text"}) {
    if (std::ssize(ranking.criteria) >= shape.criteria) break;
    LayerScores scores(at(shape.layers));
    for (const auto layer : ranking.prunable) scores[at(layer)] = random.uniform();
    ranking.criteria.push_back(criterion(name, scores, ranking.prunable, /*bootstrap=*/false));
  }
  for (const auto& budget : shape.budgets) {
    const std::int64_t k = std::max<std::int64_t>(
        1, budget.numerator * std::ssize(ranking.prunable) / budget.denominator);
    for (const auto& one : ranking.criteria) {
      ranking.selections.push_back(selection(one, budget, ranking.prunable, k));
    }
    if (z.size() > 1) {
      ranking.alpha.push_back(alpha_diagram(record, z[0], z[1], ranking.prunable, budget, k));
    }
  }
  return ranking;
}

Scoreboard sample_scoreboard(std::int64_t math, std::int64_t scenes) {
  const auto group = [](std::optional<std::string> domain, std::optional<std::string> kind,
                        std::int64_t correct, std::int64_t count) {
    const double share = static_cast<double>(correct) / static_cast<double>(count);
    return ScoreGroup{domain, kind, correct, count, share, share / 2, (1 + share) / 2};
  };
  return {.model = {std::string(64, 'b'), "Qwen3VLForConditionalGeneration", 28, 2048},
          .questions = {{.file = "test.jsonl", .fingerprint = "q", .count = 16}},
          .groups = {group("math", std::nullopt, math, 8), group("math", "sum", math, 8),
                     group("scenes", std::nullopt, scenes, 8), group("scenes", "count", scenes, 8),
                     group(std::nullopt, std::nullopt, math + scenes, 16)},
          .options = R"({"shuffle_pictures":false})"};
}

Plan sample_plan(const Ranking& ranking, const Selection& selection) {
  Plan plan{.base_name = "Qwen3-VL-2B-Instruct",
            .base_fingerprint = ranking.model.fingerprint,
            .num_layers = ranking.model.num_layers,
            .protected_layers = ranking.protected_layers,
            .removed = selection.removed,
            .removed_original = selection.removed,
            .criterion = selection.criterion,
            .rule = selection.rule,
            .budget = selection.budget,
            .k = selection.k,
            .parameters = {2'127'532'032, 2'127'532'032 - 50'337'792 * selection.k},
            .bytes = {4'255'064'064, 4'255'064'064 - 100'675'584 * selection.k},
            .ranking_fingerprint = fingerprint(ranking),
            .options = "{}"};
  for (std::int64_t layer = 0; layer < plan.num_layers; ++layer) {
    if (std::ranges::find(plan.removed, layer) == plan.removed.end()) plan.kept.push_back(layer);
  }
  plan.kept_original = plan.kept;
  return plan;
}

}  // namespace espalier::test
