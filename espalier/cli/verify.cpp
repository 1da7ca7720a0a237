// SPDX-License-Identifier: Apache-2.0
#include "espalier/eval/verify.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "espalier/base/error.h"
#include "espalier/base/files.h"
#include "espalier/checkpoint/folder.h"
#include "espalier/cli/commands.h"
#include "espalier/cli/output.h"
#include "espalier/cli/session.h"
#include "espalier/prune/model_card.h"

namespace espalier {

namespace {

namespace fs = std::filesystem;

// Shown of a check that finds the same thing a thousand times over.
constexpr std::size_t kShownProblems = 10;

/// A picture that is the same everywhere: coloured bands that cross, so that no two patches agree.
Image drawn_picture() {
  constexpr int kWidth = 320;
  constexpr int kHeight = 256;
  Image picture{.width = kWidth, .height = kHeight, .rgb = {}};
  for (int y = 0; y < kHeight; ++y) {
    for (int x = 0; x < kWidth; ++x) {
      picture.rgb.push_back(static_cast<std::uint8_t>(x * 255 / kWidth));
      picture.rgb.push_back(static_cast<std::uint8_t>(y * 255 / kHeight));
      picture.rgb.push_back(static_cast<std::uint8_t>((x * y / 32 + 8 * (x / 16)) % 256));
    }
  }
  return picture;
}

/// The prompt with its pictures, and the same words without.
std::vector<VerifySample> samples_of(const Session& session, const VerifyArguments& arguments) {
  PromptArguments text{.prompt = arguments.prompt};
  PromptArguments picture = text;
  picture.images = arguments.images;
  std::vector<VerifySample> samples;
  samples.push_back({.name = "text prompt", .input = encode_prompt(session, text)});
  samples.push_back({.name = "picture prompt",
                     .input = arguments.images.empty()
                                  ? encode_prompt(session, text, {drawn_picture()}, {"(drawn)"})
                                  : encode_prompt(session, picture)});
  return samples;
}

/// How the base is opened: `--base` is of the pruned plan, unless the base is a plan itself.
RunArguments run_of_base(const VerifyArguments& arguments) {
  RunArguments run = arguments.run;
  if (fs::is_directory(arguments.against)) run.base.clear();
  return run;
}

/// How the pruned model is opened: a plan's base is the one it is held against, wherever it lies.
RunArguments run_of_pruned(const VerifyArguments& arguments) {
  RunArguments run = arguments.run;
  const bool is_plan = !fs::is_directory(arguments.pruned);
  if (is_plan && run.base.empty() && fs::is_directory(arguments.against)) {
    run.base = arguments.against;
  }
  return run;
}

/// One model after the other, so that only one need be in memory.
std::vector<Check> verify_model(const VerifyArguments& arguments, const Plan& plan) {
  std::vector<VerifySample> samples;
  std::vector<ModelAnswer> skipping;
  {
    const Session base = open_session(arguments.against, run_of_base(arguments));
    samples = samples_of(base, arguments);
    skipping = answer(keep_layers(base.model, plan.kept), samples);
  }
  const Session pruned = open_session(arguments.pruned, run_of_pruned(arguments));
  return verify_answers(samples, skipping, answer(pruned.model, samples));
}

/// Whether all checks passed.
bool all_passed(const std::vector<Check>& checks) {
  return std::ranges::all_of(checks, &Check::passed);
}

/// The checks of the files and, where these can be opened, of what they compute.
std::vector<Check> run_checks(const VerifyArguments& arguments, const ModelDirectory& base,
                              const Plan& plan) {
  const bool is_file = !fs::is_directory(arguments.pruned);
  std::vector<Check> checks = is_file ? std::vector<Check>{verify_base(base, plan)}
                                      : verify_files(arguments.pruned, base, plan);
  if (!checks.front().passed()) return checks;
  try {
    open_model_directory(arguments.pruned, {.base = run_of_pruned(arguments).base});
    std::vector<Check> model = verify_model(arguments, plan);
    checks.insert(checks.end(), model.begin(), model.end());
  } catch (const InputError& error) {
    // With broken files that is a finding; else the command line or the base is at fault.
    if (all_passed(checks)) throw;
    checks.push_back({.name = "logits", .problems = {fmt::format("not run: {}", error.what())}});
  }
  return checks;
}

void print_check(const Check& check) {
  const std::string note = check.note.empty() ? "" : fmt::format(" ({})", check.note);
  fmt::print("{:<28}  {}\n", check.name, check.passed() ? "ok" + note : std::string("FAILED"));
  for (std::size_t i = 0; i < std::min(check.problems.size(), kShownProblems); ++i) {
    fmt::print("  - {}\n", check.problems[i]);
  }
  if (check.problems.size() > kShownProblems) {
    fmt::print("  - and {} more like these\n", check.problems.size() - kShownProblems);
  }
}

/// Under which the speed was measured.
std::string conditions(const VerifyArguments& arguments, const Session& session,
                       const VerifySample& sample) {
  return fmt::format("Medians of runs in turn: {}, {}, {} threads, a prompt of {} tokens.",
                     arguments.run.device,
                     session.model.dtype() == at::kFloat ? "float32" : "bfloat16",
                     at::get_num_threads(), sample.input.input_ids.size(0));
}

CardSpeed measure(const VerifyArguments& arguments) {
  const Session base = open_session(arguments.against, run_of_base(arguments));
  const Session pruned = open_session(arguments.pruned, run_of_pruned(arguments));
  const VerifySample sample = samples_of(base, arguments).back();
  const SpeedComparison speed = compare_speed(base.model, pruned.model, sample.input);
  return {.conditions = conditions(arguments, base, sample),
          .first_token_seconds_before = speed.first_token_seconds_before,
          .first_token_seconds_after = speed.first_token_seconds_after,
          .tokens_per_second_before = speed.tokens_per_second_before,
          .tokens_per_second_after = speed.tokens_per_second_after};
}

void print_speed(const CardSpeed& speed) {
  fmt::print("first token                   {:.3f} s -> {:.3f} s ({:.2f} times as fast)\n",
             speed.first_token_seconds_before, speed.first_token_seconds_after,
             speed.first_token_seconds_before / speed.first_token_seconds_after);
  fmt::print("tokens a second               {:.2f} -> {:.2f} ({:.2f} times as fast)\n",
             speed.tokens_per_second_before, speed.tokens_per_second_after,
             speed.tokens_per_second_after / speed.tokens_per_second_before);
  fmt::print("  {}\n", speed.conditions);
}

nlohmann::json to_json(const std::vector<Check>& checks) {
  auto list = nlohmann::json::array();
  for (const Check& check : checks) {
    list.push_back({{"name", check.name},
                    {"ok", check.passed()},
                    {"note", check.note},
                    {"problems", check.problems}});
  }
  return {{"ok", all_passed(checks)}, {"checks", std::move(list)}};
}

nlohmann::json to_json(const CardSpeed& speed) {
  return {
      {"conditions", speed.conditions},
      {"seconds_to_first_token",
       {{"before", speed.first_token_seconds_before}, {"after", speed.first_token_seconds_after}}},
      {"tokens_per_second",
       {{"before", speed.tokens_per_second_before}, {"after", speed.tokens_per_second_after}}}};
}

}  // namespace

int run_verify(const VerifyArguments& arguments) {
  const c10::InferenceMode inference;
  const bool is_folder = fs::is_directory(arguments.pruned);
  const fs::path plan_path = is_folder ? arguments.pruned / kPlanName : arguments.pruned;
  require(path_exists(plan_path),
          "{}: wanted a directory that espalier prune wrote, with {}, or a plan; found none",
          arguments.pruned.string(), kPlanName);
  require(is_folder || !arguments.update_card, "{}: a plan has no card: leave --update-card out",
          arguments.pruned.string());
  const Plan plan = read_plan(plan_path);
  const ModelDirectory base =
      open_model_directory(arguments.against, {.base = run_of_base(arguments).base});

  const std::vector<Check> checks = run_checks(arguments, base, plan);
  const bool ok = all_passed(checks);
  nlohmann::json report = to_json(checks);
  if (!arguments.json) {
    for (const Check& check : checks) print_check(check);
  }
  if (ok && arguments.time) {
    const CardSpeed speed = measure(arguments);
    if (arguments.update_card) {
      update_card(arguments.pruned,
                  [&](const std::string& card) { return with_speed(card, speed); });
    }
    report["speed"] = to_json(speed);
    if (!arguments.json) print_speed(speed);
  }
  if (arguments.json) print_json(report);
  if (!ok && !arguments.quiet) {
    fmt::print(stderr, "{} is not {} without those layers\n", arguments.pruned.string(),
               arguments.against.string());
  }
  return ok ? 0 : 1;
}

}  // namespace espalier
