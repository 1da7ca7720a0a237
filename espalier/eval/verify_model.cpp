// SPDX-License-Identifier: Apache-2.0
#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "espalier/base/error.h"
#include "espalier/eval/verify.h"
#include "espalier/model/generate.h"

namespace espalier {

namespace {

// What two ways of adding the same numbers may differ by, as a share of the largest logit.
constexpr double kTieInFloat32 = 1e-4;
constexpr double kTieInBfloat16 = 1.0 / 32;  // a few of its steps of 1/256

at::Tensor all_logits(const Qwen3VL& model, const ModelInput& input) {
  return head(model, final_norm(model, forward(model, input)));
}

/// The sample with one token more.
ModelInput extended(const ModelInput& input, std::int64_t id) {
  ModelInput longer = input;
  const ModelInput next = next_input(
      {{.id = id, .cached = input.input_ids.size(0), .rope_delta = input.rope_delta.front()}});
  longer.input_ids = at::cat({input.input_ids, next.input_ids});
  longer.position_ids = at::cat({input.position_ids, next.position_ids}, 1);
  longer.segments.front().end += 1;
  return longer;
}

/// What is wrong with a token that the cached pass chose, by the logits of one without a cache.
std::string cache_fault(const at::Tensor& logits, std::int64_t chosen, std::int64_t step) {
  const bool is_float32 = logits.scalar_type() == at::kFloat;
  const at::Tensor values = logits.to(at::kCPU, at::kFloat);
  const double best = values.max().item<double>();
  const double found = values[chosen].item<double>();
  const double scale = values.abs().max().item<double>();
  if (best - found <= scale * (is_float32 ? kTieInFloat32 : kTieInBfloat16)) return {};
  return fmt::format("token {}: the cache gives {} (logit {:.4f}), without it {} (logit {:.4f})",
                     step, chosen, found, values.argmax().item<std::int64_t>(), best);
}

ModelAnswer answer(const Qwen3VL& model, const ModelInput& sample, const AnswerOptions& options) {
  ModelAnswer result;
  result.logits = all_logits(model, sample);
  result.ids = generate(model, sample, {.max_new_tokens = options.new_tokens});
  ModelInput input = sample;
  at::Tensor last = result.logits[-1];
  for (std::size_t step = 0; step < result.ids.size(); ++step) {
    std::string fault = cache_fault(last, result.ids[step], static_cast<std::int64_t>(step));
    if (!fault.empty()) result.cache_faults.push_back(std::move(fault));
    if (step + 1 == result.ids.size()) break;
    input = extended(input, result.ids[step]);
    last = all_logits(model, input)[-1];
  }
  return result;
}

Check compare(const VerifySample& sample, const ModelAnswer& skipping, const ModelAnswer& pruned) {
  Check check{.name = "logits of the " + sample.name};
  if (!at::equal(skipping.logits, pruned.logits)) {
    const double difference = skipping.logits.sizes() == pruned.logits.sizes()
                                  ? (skipping.logits.to(at::kFloat) - pruned.logits.to(at::kFloat))
                                        .abs()
                                        .max()
                                        .item<double>()
                                  : INFINITY;
    check.problems.push_back(
        fmt::format("other logits than the base with those layers skipped: up to {}", difference));
  }
  if (skipping.ids != pruned.ids) check.problems.emplace_back("another greedy answer");
  check.note = fmt::format("{} x {}, bit for bit", pruned.logits.size(0), pruned.logits.size(1));
  return check;
}

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double median(std::vector<double> values) {
  const auto middle = values.begin() + std::ssize(values) / 2;
  std::ranges::nth_element(values, middle);
  return *middle;
}

/// The times of one model's runs.
struct Times {
  std::vector<double> first_token_seconds;
  std::vector<double> tokens_per_second;
};

void run_once(const Qwen3VL& model, const ModelInput& input, std::int64_t new_tokens,
              Times& times) {
  const auto start = std::chrono::steady_clock::now();
  double first = 0.0;
  generate(model, input, {.max_new_tokens = new_tokens, .on_token = [&](std::int64_t) {
                            if (first == 0.0) first = seconds_since(start);
                            return true;
                          }});
  times.first_token_seconds.push_back(first);
  times.tokens_per_second.push_back(static_cast<double>(new_tokens - 1) /
                                    (seconds_since(start) - first));
}

}  // namespace

std::vector<ModelAnswer> answer(const Qwen3VL& model, std::span<const VerifySample> samples,
                                const AnswerOptions& options) {
  std::vector<ModelAnswer> answers;
  for (const VerifySample& sample : samples) {
    answers.push_back(answer(model, sample.input, options));
  }
  return answers;
}

std::vector<Check> verify_answers(std::span<const VerifySample> samples,
                                  std::span<const ModelAnswer> skipping,
                                  std::span<const ModelAnswer> pruned) {
  assume(samples.size() == skipping.size() && samples.size() == pruned.size(),
         "both models answered every sample");
  std::vector<Check> checks;
  Check cache{.name = "cache"};
  std::size_t tokens = 0;
  for (std::size_t i = 0; i < samples.size(); ++i) {
    checks.push_back(compare(samples[i], skipping[i], pruned[i]));
    for (const std::string& fault : pruned[i].cache_faults) {
      cache.problems.push_back(fmt::format("{}: {}", samples[i].name, fault));
    }
    tokens += pruned[i].ids.size();
  }
  cache.note = fmt::format("{} greedy tokens, with and without", tokens);
  checks.push_back(std::move(cache));
  return checks;
}

SpeedComparison compare_speed(const Qwen3VL& base, const Qwen3VL& pruned, const ModelInput& input,
                              const SpeedOptions& options) {
  Times warm_up;
  run_once(base, input, options.new_tokens, warm_up);
  run_once(pruned, input, options.new_tokens, warm_up);
  Times before;
  Times after;
  for (int run = 0; run < options.runs; ++run) {
    run_once(base, input, options.new_tokens, before);
    run_once(pruned, input, options.new_tokens, after);
  }
  return {.first_token_seconds_before = median(before.first_token_seconds),
          .first_token_seconds_after = median(after.first_token_seconds),
          .tokens_per_second_before = median(before.tokens_per_second),
          .tokens_per_second_after = median(after.tokens_per_second)};
}

}  // namespace espalier
