// SPDX-License-Identifier: Apache-2.0
#include "espalier/probe/probe.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <chrono>
#include <nlohmann/json.hpp>

#include "espalier/base/error.h"
#include "espalier/base/files.h"
#include "espalier/cli/commands.h"
#include "espalier/cli/output.h"
#include "espalier/cli/progress_line.h"
#include "espalier/cli/session.h"
#include "espalier/data/domain_source.h"
#include "espalier/data/prompts.h"
#include "espalier/records/probe_record.h"

namespace espalier {

namespace {

using nlohmann::json;

/// Everything that decides the result; what only decides how it is reached (memory, threads) is
/// left out, so that it makes no difference to the record.
std::string describe(const ProbeArguments& arguments, const Session& session) {
  const json options = {
      {"domains", arguments.domains},
      {"prompts", arguments.prompts.empty() ? "paper" : arguments.prompts.filename().string()},
      {"pairing", arguments.pairing},
      {"limit", arguments.limit ? json(*arguments.limit) : json(nullptr)},
      {"seed", arguments.seed},
      {"last_layer", arguments.last_layer},
      {"skip_bad", arguments.skip_bad},
      {"dtype", session.model.dtype() == at::kFloat ? "float32" : "bfloat16"},
      {"device", session.model.device().is_cpu() ? "cpu" : "cuda"}};
  return options.dump();
}

ProbeSet read_set(const ProbeArguments& arguments) {
  const auto prompts = arguments.prompts.empty()
                           ? parse_prompts(paper_prompts(), "the paper's prompts")
                           : read_prompts(arguments.prompts);
  std::vector<DomainSource> sources;
  for (const std::string& domain : arguments.domains) {
    sources.push_back(read_domain(domain));
    const DomainSource& source = sources.back();
    if (source.ignored_files > 0 && !arguments.quiet) {
      fmt::print(stderr, "domain {}: {} files that are no JPEG, PNG or WebP were passed over\n",
                 source.name, source.ignored_files);
    }
  }
  return make_probe_set(sources, prompts,
                        {.pairing = arguments.pairing == "all" ? Pairing::All : Pairing::RoundRobin,
                         .limit = arguments.limit,
                         .seed = arguments.seed});
}

/// Shows how far the probe is, with its rate and the time that is left.
class ProbeReporter {
 public:
  explicit ProbeReporter(bool quiet) : line_(quiet) {}

  void operator()(const ProbeProgress& progress) {
    if (progress.phase == ProbeProgress::Phase::Checking) {
      line_.show(fmt::format("checking pictures: {} of {}", progress.items_done, progress.items));
      return;
    }
    if (!start_) start_ = Clock::now();
    const double seconds = std::chrono::duration<double>(Clock::now() - *start_).count();
    const auto rows = static_cast<double>(progress.rows_done - progress.rows_resumed);
    std::string text = fmt::format("{} of {} pictures", progress.items_done, progress.items);
    if (rows > 0.0) {
      const auto left = static_cast<double>(progress.rows - progress.rows_done);
      text += fmt::format(", {:.0f} tokens/s, {} left", rows / seconds,
                          human_seconds(left * seconds / rows));
    } else if (progress.rows_resumed > 0) {
      text += ", going on";
    }
    line_.show(text, progress.items_done == progress.items);
  }

 private:
  using Clock = std::chrono::steady_clock;
  ProgressLine line_;
  std::optional<Clock::time_point> start_;
};

json summary(const ProbeRecord& record) {
  json domains = json::array();
  for (const ProbeDomain& domain : record.domains) {
    json subtasks = json::object();
    for (const ProbeSubtask& subtask : domain.subtasks) subtasks[subtask.name] = subtask.samples;
    domains.push_back({{"name", domain.name}, {"samples", std::move(subtasks)}});
  }
  return {{"samples", record.samples.size()}, {"pictures", record.pictures.size()},
          {"skipped", record.skipped.size()}, {"layers", record.measured_layers.size()},
          {"domains", std::move(domains)},    {"fingerprint", fingerprint(record)}};
}

void tell(const ProbeRecord& record, const std::filesystem::path& out) {
  for (const SkippedSample& sample : record.skipped) {
    fmt::print(stderr, "left out: {}: {}\n", sample.file, sample.reason);
  }
  fmt::print(stderr, "{} samples of {} pictures over {} layers, in {}\n", record.samples.size(),
             record.pictures.size(), record.measured_layers.size(), out.string());
  fmt::print(stderr, "next: espalier rank {} --out ranking.json\n", out.string());
}

int merge_records(const ProbeArguments& arguments) {
  OutputDirectory out(arguments.out, arguments.force);
  ProbeRecord record = read_probe_record(arguments.merge.front());
  for (std::size_t i = 1; i < arguments.merge.size(); ++i) {
    record = merge(record, read_probe_record(arguments.merge[i]));
  }
  write_probe_record(out.path(), record, /*force=*/false);
  out.commit();
  if (arguments.json) print_json(summary(record));
  if (!arguments.quiet) tell(record, arguments.out);
  return 0;
}

}  // namespace

int run_probe(const ProbeArguments& arguments) {
  if (!arguments.merge.empty()) return merge_records(arguments);
  const c10::InferenceMode inference;
  const ProbeSet set = read_set(arguments);  // the cheap and fallible part first
  const Session session = open_session(arguments.model, arguments.run);
  ProbeReporter reporter(arguments.quiet);
  const ProbeResult result =
      probe({.directory = session.directory,
             .model = session.model,
             .tokenizer = session.tokenizer,
             .preprocessor = session.preprocessor},
            set, arguments.out,
            {.last_layer = arguments.last_layer,
             .skip_bad = arguments.skip_bad,
             .force = arguments.force,
             .memory_bytes = arguments.memory_bytes,
             .save_every_seconds = arguments.save_every_seconds,
             .described = describe(arguments, session),
             .progress = [&](const ProbeProgress& progress) { reporter(progress); }});
  if (arguments.json) {
    json report = summary(result.record);
    report["seconds"] = result.seconds;
    report["tokens"] = result.rows;
    report["pictures_a_pass"] = result.most_items_a_pass;
    report["weights_streamed"] = result.streamed;
    print_json(report);
  }
  if (!arguments.quiet) tell(result.record, arguments.out);
  return 0;
}

}  // namespace espalier
