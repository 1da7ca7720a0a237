// SPDX-License-Identifier: Apache-2.0
#include "espalier/model/generate.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <utility>

#include "espalier/base/error.h"

namespace espalier {

namespace {

/// A sample whose answer is being made.
struct Answer {
  std::size_t sample;
  std::int64_t prompt_tokens;
  std::int64_t rope_delta;
  std::vector<std::int64_t> seen;  ///< prompt and answer so far
  Random random;
};

/// Called with each token of each sample; false ends that sample.
using OnToken = std::function<bool(std::size_t sample, std::int64_t id)>;

std::vector<Answer> begin_answers(const ModelInput& input, std::uint64_t seed) {
  std::vector<Answer> answers;
  const auto* ids = input.input_ids.const_data_ptr<std::int64_t>();
  for (std::size_t i = 0; i < input.segments.size(); ++i) {
    const Segment& rows = input.segments[i];
    answers.push_back({.sample = i,
                       .prompt_tokens = rows.end - rows.begin,
                       .rope_delta = input.rope_delta[i],
                       .seen = {ids + rows.begin, ids + rows.end},
                       .random = Random(seed)});
  }
  return answers;
}

std::vector<std::int64_t> capacities(const Qwen3VL& model, const std::vector<Answer>& answers,
                                     std::int64_t max_new_tokens) {
  const std::int64_t most = model.config.text.max_position_embeddings;
  std::vector<std::int64_t> result;
  for (const Answer& answer : answers) {
    result.push_back(answer.prompt_tokens + max_new_tokens);
    require(result.back() <= most,
            "generate: {} prompt tokens and {} new ones exceed the model's {} positions; lower "
            "--max-new-tokens or use smaller pictures",
            answer.prompt_tokens, max_new_tokens, most);
  }
  return result;
}

/// The rows whose logits say what comes next: the last of each sample.
at::Tensor last_rows(const at::Tensor& hidden, const std::vector<Segment>& segments) {
  if (std::ssize(segments) == hidden.size(0)) return hidden;
  std::vector<std::int64_t> rows;
  for (const Segment& segment : segments) rows.push_back(segment.end - 1);
  return hidden.index_select(
      0, at::tensor(at::ArrayRef<std::int64_t>(rows), at::kLong).to(hidden.device()));
}

/// Appends the next token to each answer.
void append_next(const Qwen3VL& model, const at::Tensor& last, const SamplingOptions& options,
                 std::vector<Answer>& answers) {
  auto logits = head(model, final_norm(model, last)).to(at::kCPU, at::kFloat).contiguous();
  auto* values = logits.mutable_data_ptr<float>();
  const std::int64_t size = logits.size(1);
  at::parallel_for(0, std::ssize(answers), 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      Answer& answer = answers[static_cast<std::size_t>(i)];
      answer.seen.push_back(next_token({values + i * size, static_cast<std::size_t>(size)},
                                       answer.seen, options, answer.random));
    }
  });
}

/// Takes those that are done off both lists.
template <typename Done>
void drop_done(std::vector<Answer>& answers, std::vector<CachedSample>& cached, const Done& done) {
  std::vector<Answer> others;
  std::vector<CachedSample> others_cached;
  for (std::size_t i = 0; i < answers.size(); ++i) {
    if (done(answers[i])) continue;
    others.push_back(std::move(answers[i]));
    others_cached.push_back(cached[i]);
  }
  answers = std::move(others);
  cached = std::move(others_cached);
}

ModelInput next_input(const std::vector<Answer>& answers) {
  std::vector<NextToken> tokens;
  for (const Answer& answer : answers) {
    tokens.push_back({.id = answer.seen.back(),
                      .cached = std::ssize(answer.seen) - 1,
                      .rope_delta = answer.rope_delta});
  }
  return next_input(tokens);
}

/// \param on_token  may be empty
std::vector<std::vector<std::int64_t>> generate_all(const Qwen3VL& model, const ModelInput& input,
                                                    const GenerateOptions& options,
                                                    const OnToken& on_token) {
  check(options.sampling);
  std::vector<std::vector<std::int64_t>> results(input.segments.size());
  std::vector<Answer> answers = begin_answers(input, options.seed);
  KvCache cache = make_kv_cache(model.config.text, model.language_model.layers.size(),
                                capacities(model, answers, options.max_new_tokens), model.dtype(),
                                model.device());
  if (options.max_new_tokens == 0) return results;

  const ForwardOptions pass{.cache = &cache};
  const auto done = [&](const Answer& answer) {
    auto& result = results[answer.sample];
    const std::int64_t id = answer.seen.back();
    result.push_back(id);
    const bool go_on = !on_token || on_token(answer.sample, id);
    return !go_on || std::ranges::find(options.eos_token_ids, id) != options.eos_token_ids.end() ||
           std::ssize(result) == options.max_new_tokens;
  };
  at::Tensor last = last_rows(forward(model, input, pass), input.segments);
  while (true) {
    append_next(model, last, options.sampling, answers);
    drop_done(answers, cache.samples, done);
    if (answers.empty()) return results;
    last = forward(model, next_input(answers), pass);
  }
}

}  // namespace

ModelInput next_input(const std::vector<NextToken>& tokens) {
  ModelInput input;
  std::vector<std::int64_t> ids;
  std::vector<std::int64_t> positions;
  for (const NextToken& token : tokens) {
    input.segments.push_back({.begin = std::ssize(ids), .end = std::ssize(ids) + 1});
    input.rope_delta.push_back(token.rope_delta);
    ids.push_back(token.id);
    positions.push_back(token.cached + token.rope_delta);
  }
  const auto row = [](const std::vector<std::int64_t>& values) {
    return at::tensor(at::ArrayRef<std::int64_t>(values), at::kLong);
  };
  input.input_ids = row(ids);
  input.position_ids = row(positions).expand({3, -1});  // a text token is alike on all axes
  return input;
}

std::vector<std::int64_t> generate(const Qwen3VL& model, const ModelInput& input,
                                   const GenerateOptions& options) {
  assume(input.segments.size() == 1, "generate takes one sample");
  OnToken on_token;
  if (options.on_token) {
    on_token = [&](std::size_t, std::int64_t id) { return options.on_token(id); };
  }
  return std::move(generate_all(model, input, options, on_token).front());
}

std::vector<std::vector<std::int64_t>> generate_batch(const Qwen3VL& model, const ModelInput& input,
                                                      const GenerateOptions& options) {
  assume(!options.on_token, "a batch calls nobody with its tokens");
  assume(!input.segments.empty() && input.segments.size() == input.rope_delta.size(),
         "a batch has samples, without shared prefixes");
  return generate_all(model, input, options, {});
}

}  // namespace espalier
