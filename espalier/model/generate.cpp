// SPDX-License-Identifier: Apache-2.0
#include "espalier/model/generate.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "espalier/base/error.h"

namespace espalier {

ModelInput next_input(std::int64_t id, std::int64_t cached, std::int64_t rope_delta) {
  ModelInput input;
  input.input_ids = at::full({1}, id, at::kLong);
  input.position_ids = at::full({3, 1}, cached + rope_delta, at::kLong);
  input.segments = {{.begin = 0, .end = 1}};
  input.rope_delta = {rope_delta};
  return input;
}

std::vector<std::int64_t> generate(const Qwen3VL& model, const ModelInput& input,
                                   const GenerateOptions& options) {
  assume(input.segments.size() == 1, "generate takes one sample");
  check(options.sampling);
  const std::int64_t prompt_tokens = input.input_ids.size(0);
  const std::int64_t capacity = prompt_tokens + options.max_new_tokens;
  require(capacity <= model.config.text.max_position_embeddings,
          "generate: {} prompt tokens and {} new ones exceed the model's {} positions; lower "
          "--max-new-tokens or use smaller pictures",
          prompt_tokens, options.max_new_tokens, model.config.text.max_position_embeddings);

  KvCache cache = make_kv_cache(model.config.text, model.language_model.layers.size(), capacity,
                                model.dtype(), model.device());
  const ForwardOptions pass{.cache = &cache};
  at::Tensor hidden = forward(model, input, pass);

  Random random(options.seed);
  const auto* prompt_ids = input.input_ids.const_data_ptr<std::int64_t>();
  std::vector<std::int64_t> seen(prompt_ids, prompt_ids + prompt_tokens);
  while (std::ssize(seen) < capacity) {
    auto last = head(model, final_norm(model, hidden.narrow(0, hidden.size(0) - 1, 1)))
                    .to(at::kCPU, at::kFloat)
                    .contiguous();
    const std::span<float> values(last.mutable_data_ptr<float>(),
                                  static_cast<std::size_t>(last.numel()));
    const std::int64_t id = next_token(values, seen, options.sampling, random);
    seen.push_back(id);
    const bool go_on = !options.on_token || options.on_token(id);
    if (!go_on || std::ranges::find(options.eos_token_ids, id) != options.eos_token_ids.end() ||
        std::ssize(seen) == capacity) {
      break;
    }
    hidden = forward(model, next_input(id, cache.length, input.rope_delta.front()), pass);
  }
  return {seen.begin() + prompt_tokens, seen.end()};
}

}  // namespace espalier
