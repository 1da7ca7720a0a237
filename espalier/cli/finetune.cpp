// SPDX-License-Identifier: Apache-2.0
#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>

#include "espalier/base/error.h"
#include "espalier/base/files.h"
#include "espalier/base/hash.h"
#include "espalier/base/json.h"
#include "espalier/base/words.h"
#include "espalier/checkpoint/copy_weights.h"
#include "espalier/cli/commands.h"
#include "espalier/cli/output.h"
#include "espalier/cli/progress_line.h"
#include "espalier/cli/session.h"
#include "espalier/data/questions.h"
#include "espalier/data/training_set.h"
#include "espalier/eval/evaluate.h"
#include "espalier/train/adapter_files.h"
#include "espalier/train/teacher.h"
#include "espalier/train/trainer.h"

namespace espalier {

namespace {

using nlohmann::json;

constexpr std::uint64_t kCacheBytes = std::uint64_t{10} << 30;

/// Numbers that the command line takes, and no training can use.
void check_numbers(const FinetuneArguments& arguments) {
  const auto check = [](const char* option, std::optional<double> found, bool good,
                        const char* wanted) {
    require(!found || good, "{}: wanted {}, found {}", option, wanted, found.value_or(0.0));
  };
  const auto not_negative = [&](const char* option, std::optional<double> found) {
    check(option, found, found >= 0.0, "a number from 0");
  };
  const auto share = [&](const char* option, std::optional<double> found) {
    check(option, found, found >= 0.0 && found <= 1.0, "a share from 0 to 1");
  };
  const auto beta = [&](const char* option, double found) {
    check(option, found, found >= 0.0 && found < 1.0, "a number from 0 up to, but not, 1");
  };
  not_negative("--learning-rate", arguments.learning_rate);
  not_negative("--muon-rate", arguments.muon_rate);
  not_negative("--weight-decay", arguments.weight_decay);
  not_negative("--clip", arguments.clip);
  not_negative("--hidden-weight", arguments.hidden_weight);
  not_negative("--save-every", arguments.save_every_seconds);
  share("--warmup", arguments.warmup);
  share("--floor", arguments.floor);
  beta("--beta1", arguments.beta1);
  beta("--beta2", arguments.beta2);
  check("--lora-alpha", arguments.lora_alpha, arguments.lora_alpha > 0.0, "a number above 0");
}

bool is_high_rate(const FinetuneArguments& arguments) { return arguments.preset == "high-rate"; }

LoraOptions lora_of(const FinetuneArguments& arguments) {
  LoraOptions lora;
  lora.rank = arguments.lora_rank.value_or(lora.rank);
  lora.alpha = arguments.lora_alpha.value_or(lora.alpha);
  lora.dropout = arguments.lora_dropout.value_or(lora.dropout);
  if (!arguments.lora_targets.empty()) lora.targets = split_at_commas(arguments.lora_targets);
  return lora;
}

Objective objective_of(const FinetuneArguments& arguments) {
  if (arguments.loss == "sft") return {};
  Objective objective{.head = {.teacher_share = arguments.teacher_share.value_or(1.0),
                               .temperature = arguments.temperature.value_or(1.0),
                               .top_k = arguments.top_k.value_or(0)},
                      .balance = arguments.balance};
  require(objective.head.teacher_share > 0.0 && objective.head.teacher_share <= 1.0,
          "--kd-share: want a number above 0 and up to 1, found {}", objective.head.teacher_share);
  require(objective.head.temperature > 0.0, "--temperature: want a number above 0");
  if (arguments.loss == "kd+hidden") {
    objective.hidden_weight = arguments.hidden_weight.value_or(1.0);
  }
  return objective;
}

OptimizerOptions optimizer_of(const FinetuneArguments& arguments) {
  OptimizerOptions options{.adamw = {.beta1 = arguments.beta1,
                                     .beta2 = arguments.beta2,
                                     .weight_decay = arguments.weight_decay},
                           .max_gradient_norm = arguments.clip};
  if (arguments.optimizer == "muon") {
    options.muon.emplace();
    options.muon->learning_rate = arguments.muon_rate.value_or(options.muon->learning_rate);
  }
  return options;
}

double rate_of(const FinetuneArguments& arguments) {
  return arguments.learning_rate.value_or(is_high_rate(arguments) ? 1e-4 : 2e-5);
}

double warmup_of(const FinetuneArguments& arguments) {
  return arguments.warmup.value_or(is_high_rate(arguments) ? 0.03 : 0.0);
}

TrainingSet read_set(const std::vector<std::filesystem::path>& files, const Session& session,
                     const FinetuneArguments& arguments) {
  TrainingSet set = open_training_set(
      files, session.tokenizer,
      {.encoder = encoder_options(session.model.config, session.preprocessor),
       .max_length = arguments.max_length,
       .long_samples = arguments.long_samples == "drop" ? LongSamples::Drop : LongSamples::Error,
       .image_root = arguments.image_root,
       .skip_bad = arguments.skip_bad});
  if (arguments.quiet) return set;
  const TrainingSetCounts& counts = set.counts;
  for (const std::string& row : set.dropped) fmt::print(stderr, "left out: {}\n", row);
  fmt::print(stderr,
             "{} samples ({} read, {} too long, {} bad): {} tokens, of which {} visual and {} "
             "labels; the longest has {}\n",
             counts.kept, counts.read, counts.dropped_long, counts.dropped_bad, counts.tokens,
             counts.visual_tokens, counts.label_tokens, counts.longest);
  return set;
}

json to_json(const TrainingSet& set) {
  return {{"fingerprint", set.fingerprint},
          {"samples", set.counts.kept},
          {"dropped_long", set.counts.dropped_long},
          {"dropped_bad", set.counts.dropped_bad},
          {"tokens", set.counts.tokens},
          {"label_tokens", set.counts.label_tokens}};
}

/// Everything that decides the result; memory, threads and cadences do not.
json options_of(const FinetuneArguments& arguments, const TrainedModel& trained) {
  const LoraOptions lora = lora_of(arguments);
  const Objective objective = objective_of(arguments);
  const OptimizerOptions optimizer = optimizer_of(arguments);
  return {{"train", arguments.train},
          {"lora", trained.part.lora ? json{{"rank", lora.rank},
                                            {"alpha", lora.alpha},
                                            {"dropout", lora.dropout},
                                            {"targets", lora.targets}}
                                     : json(nullptr)},
          {"loss", arguments.loss},
          {"control", arguments.control},
          {"kd_share", objective.head.teacher_share},
          {"temperature", objective.head.temperature},
          {"kd_top_k", objective.head.top_k},
          {"hidden_weight", objective.hidden_weight},
          {"balance", objective.balance},
          {"optimizer", arguments.optimizer},
          {"muon_rate", optimizer.muon ? json(optimizer.muon->learning_rate) : json(nullptr)},
          {"learning_rate", rate_of(arguments)},
          {"warmup", warmup_of(arguments)},
          {"schedule", arguments.schedule},
          {"floor", arguments.floor},
          {"weight_decay", arguments.weight_decay},
          {"betas", {arguments.beta1, arguments.beta2}},
          {"epsilon", optimizer.adamw.epsilon},
          {"clip", arguments.clip},
          {"batch", arguments.batch},
          {"epochs", arguments.steps ? json(nullptr) : json(arguments.epochs)},
          {"steps", arguments.steps ? json(*arguments.steps) : json(nullptr)},
          {"normalize", arguments.normalize},
          {"max_length", arguments.max_length},
          {"pack_tokens", arguments.pack_tokens},
          {"workers", arguments.workers},
          {"seed", arguments.seed},
          {"dtype", trained.model.dtype() == at::kFloat ? "float32" : "bfloat16"},
          {"device", trained.model.device().is_cpu() ? "cpu" : "cuda"}};
}

/// The held-out questions, opened, and how to ask them.
class HeldOutQuestions {
 public:
  HeldOutQuestions(const Session& session, const FinetuneArguments& arguments)
      : session_(session),
        prepared_(prepare_questions(
            answering(session.model),
            read_question_files(arguments.questions, arguments.question_limit, arguments.seed)
                .questions,
            {.max_new_tokens = 64})) {}

  [[nodiscard]] ExactMatch ask(const Qwen3VL& model) const {
    const c10::NoGradGuard no_grad;
    const Evaluation evaluation = evaluate(answering(model), prepared_);
    const ScoreGroup& all = evaluation.groups.back();
    return {.value = all.accuracy, .count = all.count};
  }

  [[nodiscard]] json to_json() const {
    const std::size_t count = prepared_.questions.size();
    return {{"fingerprint", fingerprint(prepared_, 0, count)}, {"count", count}};
  }

 private:
  [[nodiscard]] AnsweringModel answering(const Qwen3VL& model) const {
    return {.model = model,
            .tokenizer = session_.tokenizer,
            .preprocessor = session_.preprocessor,
            .eos_token_ids = session_.generation.eos_token_ids};
  }

  const Session& session_;
  PreparedQuestions prepared_;
};

std::string gib(std::uint64_t bytes) {
  return fmt::format("{:.2f} GiB", static_cast<double>(bytes) / (1 << 30));
}

void tell_plan(const MemoryPlan& plan) {
  fmt::print(stderr,
             "memory planned: {} (weights {}, trained {}, layers {}, head {}, vision {}, data {}, "
             "program {}); {} of {} layers keep what their backward needs\n",
             gib(plan.total()), gib(plan.weights), gib(plan.trained), gib(plan.layers),
             gib(plan.head), gib(plan.vision), gib(plan.data), gib(plan.program), plan.kept_layers,
             plan.trained_layers);
}

/// One line that says how far a training is.
class StepReporter {
 public:
  explicit StepReporter(bool quiet) : line_(quiet) {}

  void operator()(const TrainingStep& step, std::int64_t steps, std::int64_t first) {
    seconds_ += step.seconds;
    const double each = seconds_ / static_cast<double>(step.step - first);
    std::string text = fmt::format("step {} of {}, loss {:.4f}, {:.0f} tokens/s", step.step, steps,
                                   step.loss, step.tokens_per_second);
    if (step.validation_loss) text += fmt::format(", held out {:.4f}", *step.validation_loss);
    if (step.exact_match) text += fmt::format(", exact {:.1f} %", 100.0 * step.exact_match->value);
    const auto left = static_cast<double>(steps - step.step);
    text += fmt::format(", {} left", human_seconds(left * each));
    line_.show(text, step.step == steps);
  }

 private:
  ProgressLine line_;
  double seconds_ = 0.0;
};

/// What a model card calls a training: the same for the same training alone.
std::string name_of_training(const json& header) {
  Sha256 hash;
  hash.update(header.dump());
  return fmt::format("training `{}`", hash.finish().substr(0, 16));
}

std::string card_of(const FinetuneArguments& arguments, const json& header,
                    const TrainingResult& result, const TrainingSet& set) {
  return fmt::format(
      "## Trained\n\n`espalier finetune --train {} --loss {}`: {} steps of {} samples over {} "
      "conversations (data fingerprint `{}`). Loss at the end {:.4f}{}. This is {}.\n",
      arguments.train, arguments.loss, result.steps, arguments.batch, set.counts.kept,
      set.fingerprint, result.loss,
      result.validation_loss ? fmt::format(", held out {:.4f}", *result.validation_loss) : "",
      name_of_training(header));
}

/// Whether the trained checkpoint may replace what stands in its place: if told to, or if it is
/// this very training's, which was killed between writing it and saying that all is done.
bool may_replace(const FinetuneArguments& arguments, const json& header) {
  const std::filesystem::path card = arguments.merge_to / "README.md";
  return arguments.force ||
         (path_exists(card) && read_file(card).find(name_of_training(header)) != std::string::npos);
}

/// That the checkpoint cannot be written is said before the first step, not after the last.
void check_merge_to(const FinetuneArguments& arguments, const json& header,
                    const std::filesystem::path& base) {
  const std::filesystem::path& to = arguments.merge_to;
  if (to.empty()) return;
  check_apart(base, to);
  require(std::filesystem::weakly_canonical(to) != std::filesystem::weakly_canonical(arguments.out),
          "--merge-to {} is --out; choose another folder", to.string());
  const OutputDirectory is_possible(to, may_replace(arguments, header));  // and gone again
}

/// A run and what it was made from.
struct Prepared {
  Session session;
  std::optional<Session> teacher_session;
  std::optional<Teacher> teacher;
};

/// With --control the teacher itself is trained, from itself.
Prepared open_models(const FinetuneArguments& arguments) {
  Prepared prepared{.session = open_session(arguments.control ? arguments.teacher : arguments.model,
                                            arguments.run)};
  if (arguments.teacher.empty()) return prepared;
  RunArguments run = arguments.run;
  run.base.clear();
  prepared.teacher_session.emplace(open_session(arguments.teacher, run));
  if (arguments.loss == "sft") return prepared;
  prepared.teacher.emplace(make_teacher(prepared.teacher_session->directory,
                                        prepared.teacher_session->model, prepared.session.directory,
                                        prepared.session.model));
  return prepared;
}

}  // namespace

int run_finetune(const FinetuneArguments& arguments) {
  check_numbers(arguments);
  Prepared prepared = open_models(arguments);
  const Session& session = prepared.session;
  const TrainedPart part =
      parse_trained_part(arguments.train, session.model.config.text.num_hidden_layers);
  const TrainingSet set = read_set(arguments.data, session, arguments);
  std::optional<TrainingSet> validation;
  if (!arguments.validation.empty()) {
    validation.emplace(read_set(arguments.validation, session, arguments));
  }
  std::optional<HeldOutQuestions> questions;
  if (!arguments.questions.empty()) questions.emplace(session, arguments);
  TrainedModel trained =
      make_trained_model(session.model, part, lora_of(arguments), arguments.seed);
  if (prepared.teacher) share_vision(*prepared.teacher, trained);

  const std::string base = fingerprint(session.directory);
  const json header = {
      {"schema", 1},
      {"kind", "training"},
      {"tool_version", ESPALIER_VERSION},
      {"model", {{"fingerprint", base}}},
      {"teacher", prepared.teacher_session ? json(fingerprint(prepared.teacher_session->directory))
                                           : json(nullptr)},
      {"data", to_json(set)},
      {"validation", validation ? to_json(*validation) : json(nullptr)},
      {"questions", questions ? questions->to_json() : json(nullptr)},
      {"options", options_of(arguments, trained)}};
  check_merge_to(arguments, header, session.directory.folder);
  std::optional<VisionCache> cache;
  if (!arguments.cache_vision.empty()) {
    require(
        !part.vision && !part.projector,
        "--cache-vision keeps what a frozen vision tower makes, but --train {} trains it; leave "
        "one out",
        arguments.train);
    cache.emplace(arguments.cache_vision, arguments.cache_bytes.value_or(kCacheBytes),
                  session.model);
  }
  StepReporter reporter(arguments.quiet);
  TrainingOptions options{
      .optimizer = optimizer_of(arguments),
      .learning_rate = rate_of(arguments),
      .floor = arguments.floor,
      .warmup = warmup_of(arguments),
      .constant = arguments.schedule == "constant",
      .batch = arguments.batch,
      .epochs = arguments.epochs,
      .steps = arguments.steps,
      .normalizer =
          arguments.normalize == "tokens" ? LossNormalizer::Tokens : LossNormalizer::Samples,
      .objective = objective_of(arguments),
      .seed = arguments.seed,
      .pack_tokens = arguments.pack_tokens,
      .workers = arguments.workers,
      .memory_bytes = arguments.memory_bytes,
      .validate_every = arguments.validate_every,
      .save_every_seconds = arguments.save_every_seconds,
      .force = arguments.force,
      .header = header.dump(),
      .progress = [&](const TrainingStep& step, std::int64_t steps,
                      std::int64_t first) { reporter(step, steps, first); },
      .finish =
          [&](const TrainingResult& result) {
            if (part.lora) {
              write_adapter(arguments.out, trained, session.directory.path.string(), base);
            }
            if (arguments.merge_to.empty()) return;
            write_trained(session.directory, trained, arguments.merge_to,
                          card_of(arguments, header, result, set), may_replace(arguments, header));
          }};
  if (!arguments.quiet) options.plan = tell_plan;
  if (questions) {
    options.exact_match = [&](const Qwen3VL& model) { return questions->ask(model); };
  }
  const TrainingResult result = train({.trained = trained,
                                       .teacher = prepared.teacher ? &*prepared.teacher : nullptr,
                                       .preprocessor = session.preprocessor,
                                       .set = set,
                                       .validation = validation ? &*validation : nullptr,
                                       .vision_cache = cache ? &*cache : nullptr},
                                      arguments.out, options);
  if (cache && !arguments.quiet) {
    const VisionCache::Counts counts = cache->counts();
    fmt::print(stderr, "pictures' features: {} read, {} made{}\n", counts.read, counts.made,
               counts.not_kept == 0
                   ? ""
                   : fmt::format(", {} of these not kept: --cache-size or the disk is full",
                                 counts.not_kept));
  }
  if (arguments.json) print_json(read_json(arguments.out / "training.json"));
  if (!arguments.quiet) {
    fmt::print(stderr, "{} steps in {}; peak memory {} of {} planned; in {}\n", result.steps,
               human_seconds(result.seconds),
               gib(static_cast<std::uint64_t>(result.peak_memory_bytes)), gib(result.plan.total()),
               arguments.out.string());
  }
  return 0;
}

}  // namespace espalier
