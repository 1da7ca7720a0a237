// SPDX-License-Identifier: Apache-2.0
#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "espalier/base/files.h"
#include "espalier/cli/commands.h"
#include "espalier/cli/output.h"
#include "espalier/cli/session.h"
#include "espalier/model/generate.h"

namespace espalier {

namespace {

/// Positions whose logits are kept unless all are asked for.
constexpr std::int64_t kLastLogits = 8;

/// The values of a pass by name, in the order in which they were made.
class Trace {
 public:
  /// Keeps a copy: float32 on the CPU, ids as int64.
  void add(std::string_view name, const at::Tensor& value) {
    const auto dtype = at::isIntegralType(value.scalar_type(), false) ? at::kLong : at::kFloat;
    values_.emplace_back(
        name, value.to(at::kCPU, dtype, /*non_blocking=*/false, /*copy=*/true).contiguous());
  }

  void write(const std::filesystem::path& path, bool force) const {
    std::vector<TensorSpec> specs;
    for (const auto& [name, value] : values_) {
      specs.push_back({.name = name,
                       .dtype = value.scalar_type() == at::kLong ? DType::I64 : DType::F32,
                       .shape = value.sizes().vec()});
    }
    SafetensorsWriter writer(path, specs, force);
    for (const auto& [name, value] : values_) {
      writer.write({static_cast<const std::byte*>(value.const_data_ptr()), value.nbytes()});
    }
    writer.finish();
  }

  [[nodiscard]] std::size_t size() const { return values_.size(); }

 private:
  std::vector<std::pair<std::string, at::Tensor>> values_;
};

at::Tensor grids_of(const ModelInput& input) {
  auto grids = at::empty({std::ssize(input.grids), 3}, at::kLong);
  for (std::int64_t i = 0; i < grids.size(0); ++i) {
    const ImageGrid& grid = input.grids[static_cast<std::size_t>(i)];
    grids[i].copy_(at::tensor({grid.t, grid.h, grid.w}, at::kLong));
  }
  return grids;
}

}  // namespace

int run_trace(const TraceArguments& arguments) {
  const c10::InferenceMode inference;
  { const OutputFile refuses_early(arguments.out, arguments.force); }
  const Session session = open_session(arguments.model, arguments.run);
  const ModelInput input = encode_prompt(session, arguments.prompt);

  Trace trace;
  if (input.pixel_values.defined()) {
    trace.add("pixel_values", input.pixel_values);
    trace.add("grid_thw", grids_of(input));
  }
  trace.add("input_ids", input.input_ids);
  trace.add("position_ids", input.position_ids);
  trace.add("rope_delta", at::tensor(at::ArrayRef<std::int64_t>(input.rope_delta), at::kLong));
  const auto observe = [&](std::string_view stage, const at::Tensor& value) {
    trace.add(stage, value);
  };
  const ForwardOptions options{.cache = nullptr,
                               .observe_layer =
                                   [&](std::int64_t layer, const LayerTaps& taps) {
                                     trace.add(fmt::format("layers.{}.input", layer), taps.input);
                                     trace.add(fmt::format("layers.{}.output", layer), taps.output);
                                   },
                               .observe_stage = observe};
  const at::Tensor hidden = forward(session.model, input, options);
  const at::Tensor normalized = final_norm(session.model, hidden);
  trace.add("norm", normalized);
  const std::int64_t rows =
      arguments.all_logits ? hidden.size(0) : std::min(hidden.size(0), kLastLogits);
  trace.add("logits", head(session.model, normalized.narrow(0, hidden.size(0) - rows, rows)));
  if (arguments.max_new_tokens > 0) {
    const auto ids = generate(session.model, input,
                              {.max_new_tokens = arguments.max_new_tokens,
                               .eos_token_ids = session.generation.eos_token_ids});
    trace.add("generated", at::tensor(at::ArrayRef<std::int64_t>(ids), at::kLong));
  }
  trace.write(arguments.out, arguments.force);
  if (arguments.json) {
    print_json({{"out", arguments.out.string()},
                {"tensors", trace.size()},
                {"prompt_tokens", input.input_ids.size(0)}});
  } else if (!arguments.quiet) {
    fmt::print(stderr, "{} tensors written to {}\n", trace.size(), arguments.out.string());
  }
  return 0;
}

}  // namespace espalier
