// SPDX-License-Identifier: Apache-2.0
// The measured side of benchmarks/run.py: opens a checkpoint once, then measures what each line of
// stdin names and answers with one number a line. Its peer, peer.py, speaks the same language.
//
//   pass           seconds of one pass over the picture and the prompt to the last layer's output
//   vision         seconds of the vision tower alone
//   decode N       seconds a token of greedy generation: N tokens after the prompt, prefill left
//                  out
//   batch N        seconds a token and sample of greedy generation for N samples at once, likewise
//   read           seconds to read the decoder's and the head's weights once, all threads
//   gemm           GFLOP/s of a bfloat16 product of 2048 x 2048 by 2048 x 6144
//   peak           the process's peak resident memory in bytes
//   weights        bytes of the mapped weights
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <sys/resource.h>

#include <chrono>
#include <iostream>
#include <sstream>

#include "espalier/cli/guard.h"
#include "espalier/cli/session.h"
#include "espalier/model/generate.h"

namespace espalier {
namespace {

using Clock = std::chrono::steady_clock;

template <typename Action>
double seconds_of(const Action& action) {
  const auto start = Clock::now();
  action();
  return std::chrono::duration<double>(Clock::now() - start).count();
}

double gemm_rate() {
  const auto x = at::randn({2048, 2048}, at::kBFloat16);
  const auto weight = at::randn({6144, 2048}, at::kBFloat16);
  at::linear(x, weight);
  const double seconds = seconds_of([&] {
    for (int repeat = 0; repeat < 5; ++repeat) at::linear(x, weight);
  });
  return 5 * 2.0 * 2048 * 2048 * 6144 / seconds / 1e9;
}

/// The tensors that every generated token reads.
std::vector<at::Tensor> decode_weights(const Qwen3VL& model) {
  std::vector<at::Tensor> weights = {model.lm_head.weight};
  for (const DecoderLayer& layer : model.language_model.layers) {
    const auto& a = layer.self_attn;
    for (const Linear* linear : {&a.q_proj, &a.k_proj, &a.v_proj, &a.o_proj, &layer.mlp.gate_proj,
                                 &layer.mlp.up_proj, &layer.mlp.down_proj}) {
      weights.push_back(linear->weight);
    }
  }
  return weights;
}

double read_seconds(const std::vector<at::Tensor>& weights) {
  std::uint64_t sum = 0;
  const double seconds = seconds_of([&] {
    for (const auto& weight : weights) {
      const auto* words = static_cast<const std::uint64_t*>(weight.const_data_ptr());
      const auto count = static_cast<std::int64_t>(weight.nbytes() / 8);
      at::parallel_for(0, count, 1 << 16, [&](std::int64_t begin, std::int64_t end) {
        std::uint64_t own = 0;
        for (std::int64_t i = begin; i < end; ++i) own += words[i];
        __atomic_fetch_add(&sum, own, __ATOMIC_RELAXED);
      });
    }
  });
  return sum == 1 ? 0.0 : seconds;  // the sum is used, so that nothing is optimized away
}

double peak_bytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) * 1024;
}

/// The same sample so many times, packed.
ModelInput repeated(const ModelInput& input, std::int64_t samples) {
  ModelInput packed;
  const std::int64_t tokens = input.input_ids.size(0);
  packed.input_ids = input.input_ids.repeat({samples});
  packed.position_ids = input.position_ids.repeat({1, samples});
  packed.pixel_values = input.pixel_values.repeat({samples, 1});
  for (std::int64_t i = 0; i < samples; ++i) {
    packed.grids.insert(packed.grids.end(), input.grids.begin(), input.grids.end());
    packed.segments.push_back({.begin = i * tokens, .end = (i + 1) * tokens});
    packed.rope_delta.push_back(input.rope_delta.front());
  }
  return packed;
}

double batch_seconds(const Session& session, const ModelInput& input, std::int64_t samples) {
  constexpr std::int64_t kTokens = 64;
  const ModelInput packed = repeated(input, samples);
  const auto seconds = [&](std::int64_t tokens) {
    return seconds_of([&] { generate_batch(session.model, packed, {.max_new_tokens = tokens}); });
  };
  return (seconds(kTokens + 1) - seconds(1)) / static_cast<double>(kTokens * samples);
}

double decode_seconds(const Session& session, const ModelInput& input, std::int64_t tokens) {
  std::vector<Clock::time_point> times;
  generate(session.model, input, {.max_new_tokens = tokens, .on_token = [&](std::int64_t) {
                                    times.push_back(Clock::now());
                                    return true;
                                  }});
  return std::chrono::duration<double>(times.back() - times.front()).count() /
         static_cast<double>(times.size() - 1);
}

std::uint64_t mapped_bytes(const Session& session) {
  return static_cast<std::uint64_t>(count_parameters(session.model.config)) *
         session.model.language_model.embed_tokens.element_size();
}

double measure(const std::string& line, const Session& session, const ModelInput& input) {
  std::istringstream words(line);
  std::string what;
  std::int64_t count = 0;
  words >> what >> count;
  const Qwen3VL& model = session.model;
  if (what == "pass") return seconds_of([&] { forward(model, input); });
  if (what == "vision") {
    return seconds_of(
        [&] { encode_images(model.visual, model.config.vision, input.pixel_values, input.grids); });
  }
  if (what == "decode") return decode_seconds(session, input, count);
  if (what == "batch") return batch_seconds(session, input, count);
  if (what == "read") return read_seconds(decode_weights(model));
  if (what == "gemm") return gemm_rate();
  if (what == "peak") return peak_bytes();
  if (what == "weights") return static_cast<double>(mapped_bytes(session));
  throw std::runtime_error("bench_model: unknown measurement " + line);
}

int run(int argc, char** argv) {
  if (argc != 5 && argc != 6) {
    throw std::runtime_error("usage: bench_model MODEL PICTURE PROMPT THREADS [DTYPE]");
  }
  const c10::InferenceMode inference;
  const Session session =
      open_session(argv[1], {.dtype = argc == 6 ? argv[5] : "", .threads = std::stoi(argv[4])});
  const ModelInput input = encode_prompt(session, {.images = {argv[2]}, .prompt = argv[3]});
  const Linear& patch_embed = session.model.visual.patch_embed;
  apply(patch_embed, input.pixel_values.to(session.model.dtype()));
  fmt::print("ready {} tokens\n", input.input_ids.size(0));  // the first product is done
  std::fflush(stdout);
  for (std::string line; std::getline(std::cin, line);) {
    fmt::print("{}\n", measure(line, session, input));
    std::fflush(stdout);
  }
  return 0;
}

}  // namespace
}  // namespace espalier

int main(int argc, char** argv) {
  return espalier::guarded_main([&] { return espalier::run(argc, argv); });
}
