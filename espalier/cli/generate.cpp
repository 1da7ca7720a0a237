// SPDX-License-Identifier: Apache-2.0
#include "espalier/model/generate.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "espalier/base/error.h"
#include "espalier/cli/commands.h"
#include "espalier/cli/output.h"
#include "espalier/cli/session.h"

namespace espalier {

namespace {

/// What the user asked for, over what the checkpoint's generation_config.json says.
///
/// \throws InputError  for an option of a draw where nothing is drawn
SamplingOptions sampling_of(const GenerateArguments& asked, const GenerationConfig& stored) {
  const bool draws = !asked.greedy && (asked.sample || stored.do_sample);
  require(draws || option_of_a_draw(asked).empty(),
          "{} is of the draw, but the most likely token is taken: generation_config.json does not "
          "ask for a draw; give --sample too",
          option_of_a_draw(asked));
  return {.do_sample = draws,
          .temperature = asked.temperature.value_or(stored.temperature),
          .top_k = asked.top_k.value_or(stored.top_k),
          .top_p = asked.top_p.value_or(stored.top_p),
          .repetition_penalty = asked.repetition_penalty.value_or(stored.repetition_penalty)};
}

double seconds_between(std::chrono::steady_clock::time_point from,
                       std::chrono::steady_clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

}  // namespace

int run_generate(const GenerateArguments& arguments) {
  const c10::InferenceMode inference;
  const Session session = open_session(arguments.model, arguments.run);
  const SamplingOptions sampling = sampling_of(arguments, session.generation);
  const ModelInput input = encode_prompt(session, arguments.prompt);

  StreamDecoder decoder(session.tokenizer, /*skip_special_tokens=*/true);
  std::string answer;
  const auto emit = [&](const std::string& text) {
    answer += text;
    if (arguments.json) return;
    fmt::print("{}", text);
    std::fflush(stdout);
  };
  const auto start = std::chrono::steady_clock::now();
  auto first = start;
  std::vector<std::int64_t> ids;
  GenerateOptions options;
  options.max_new_tokens = arguments.max_new_tokens;
  options.eos_token_ids = session.generation.eos_token_ids;
  options.sampling = sampling;
  options.seed = arguments.seed;
  options.on_token = [&](std::int64_t id) {
    if (ids.empty()) first = std::chrono::steady_clock::now();
    ids.push_back(id);
    emit(decoder.next(id));
    return true;
  };
  generate(session.model, input, options);
  emit(decoder.finish());
  const double first_seconds = seconds_between(start, first);
  const double rest_seconds = seconds_between(first, std::chrono::steady_clock::now());
  const double rate = ids.size() > 1 ? static_cast<double>(ids.size() - 1) / rest_seconds : 0.0;

  if (arguments.json) {
    const nlohmann::json result = {{"text", answer},
                                   {"ids", ids},
                                   {"prompt_tokens", input.input_ids.size(0)},
                                   {"seconds_to_first_token", first_seconds},
                                   {"tokens_per_second", rate}};
    print_json(result);
  } else {
    fmt::print("\n");
    std::fflush(stdout);  // before the line on stderr, wherever both go
  }
  if (!arguments.quiet && !arguments.json) {
    fmt::print(stderr,
               "{} prompt tokens, first token after {:.2f} s, then {} tokens at {:.1f} a second\n",
               input.input_ids.size(0), first_seconds, ids.size() - 1, rate);
  }
  return 0;
}

}  // namespace espalier
