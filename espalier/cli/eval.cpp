// SPDX-License-Identifier: Apache-2.0
#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "espalier/base/error.h"
#include "espalier/base/files.h"
#include "espalier/checkpoint/folder.h"
#include "espalier/cli/commands.h"
#include "espalier/cli/output.h"
#include "espalier/cli/progress_line.h"
#include "espalier/cli/session.h"
#include "espalier/eval/evaluate.h"
#include "espalier/eval/evaluation_folder.h"
#include "espalier/prune/model_card.h"
#include "espalier/train/adapter_files.h"

namespace espalier {

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// ---- what is asked ----

/// Everything that decides the answers; what only decides how they are reached (the batch, threads)
/// is left out.
std::string describe(const EvalArguments& arguments, const Session& session) {
  const json options = {{"limit", arguments.limit ? json(*arguments.limit) : json(nullptr)},
                        {"seed", arguments.seed},
                        {"max_new_tokens", arguments.max_new_tokens},
                        {"shuffle_pictures", arguments.shuffle_pictures},
                        {"dtype", session.model.dtype() == at::kFloat ? "float32" : "bfloat16"},
                        {"device", session.model.device().is_cpu() ? "cpu" : "cuda"}};
  return options.dump();
}

std::optional<ScoredPlan> plan_of(const ModelDirectory& model) {
  if (!model.plan) return std::nullopt;
  const Plan& plan = *model.plan;
  return ScoredPlan{.base_fingerprint = plan.base_fingerprint,
                    .criterion = plan.criterion,
                    .budget = plan.budget,
                    .removed = plan.k};
}

/// The scoreboard before the first answer.
Scoreboard empty_scoreboard(const EvalArguments& arguments, const Session& session,
                            const PreparedQuestions& prepared,
                            const std::vector<std::size_t>& ends) {
  const TextConfig& text = session.model.config.text;
  Scoreboard scoreboard{.model = {.fingerprint = fingerprint(session.directory),
                                  .architecture = kArchitecture,
                                  .num_layers = text.num_hidden_layers,
                                  .hidden_size = text.hidden_size},
                        .plan = plan_of(session.directory),
                        .options = describe(arguments, session)};
  std::size_t begin = 0;
  for (std::size_t file = 0; file < ends.size(); ++file) {
    scoreboard.questions.push_back({.file = arguments.questions[file].filename().string(),
                                    .fingerprint = fingerprint(prepared, begin, ends[file]),
                                    .count = static_cast<std::int64_t>(ends[file] - begin)});
    begin = ends[file];
  }
  return scoreboard;
}

/// Puts the adapter on the model, and tells its fingerprint; empty without one.
std::string attach(const fs::path& folder, Session& session) {
  if (folder.empty()) return "";
  const Adapter adapter = read_adapter(folder);
  attach_adapter(session.model, adapter, folder, fingerprint(session.directory));
  return adapter.fingerprint;
}

/// How an adapter was trained; nothing where no record of it lies beside it.
std::optional<ScoredTraining> training_of(const fs::path& adapter) {
  const fs::path record = adapter / "training.json";
  if (adapter.empty() || !path_exists(record)) return std::nullopt;
  return read_scored_training(record);
}

// ---- another evaluation beside this one ----

/// What another model answered to the same questions.
struct OtherEvaluation {
  std::vector<ScoredQuestions> questions;
  std::vector<ScoreGroup> groups;
  std::vector<Prediction> predictions;
};

std::optional<OtherEvaluation> read_other(const fs::path& folder) {
  if (folder.empty()) return std::nullopt;
  Scoreboard scoreboard = read_scoreboard(folder / kScoreboardName);
  return OtherEvaluation{.questions = std::move(scoreboard.questions),
                         .groups = std::move(scoreboard.groups),
                         .predictions = read_predictions(folder / kPredictionsName)};
}

/// The accuracy of the same group in another evaluation.
std::optional<double> accuracy_of(const std::vector<ScoreGroup>& groups, const ScoreGroup& like) {
  const auto same = std::ranges::find_if(groups, [&](const ScoreGroup& group) {
    return group.domain == like.domain && group.kind == like.kind;
  });
  return same == groups.end() ? std::nullopt : std::optional(same->accuracy);
}

/// \throws InputError  unless both were asked the same
void check_comparable(const Scoreboard& scoreboard, const std::vector<Question>& questions,
                      const OtherEvaluation& other, const fs::path& folder) {
  bool same = other.predictions.size() == questions.size() &&
              other.questions.size() == scoreboard.questions.size();
  for (std::size_t i = 0; same && i < other.questions.size(); ++i) {
    same = other.questions[i].fingerprint == scoreboard.questions[i].fingerprint;
  }
  for (std::size_t i = 0; same && i < questions.size(); ++i) {
    same = other.predictions[i].id == questions[i].id;
  }
  require(same,
          "--against: {} answered other questions; paired differences need the same files with the "
          "same --limit and --seed",
          folder.string());
}

bool belongs(const Question& question, const ScoreGroup& group) {
  return (!group.domain || question.domain == *group.domain) &&
         (!group.kind || question.kind == *group.kind);
}

/// One comparison a group of the scoreboard.
std::vector<PairedComparison> compare(const std::vector<Question>& questions,
                                      const Evaluation& evaluation,
                                      const std::vector<Prediction>& other) {
  // By the question's own pictures: a shuffle changes what was shown, not what belongs together.
  const std::vector<std::int64_t> clusters = picture_clusters(questions);
  std::vector<PairedComparison> comparisons;
  for (const ScoreGroup& group : evaluation.groups) {
    std::vector<bool> first;
    std::vector<bool> second;
    std::vector<std::int64_t> own;
    for (std::size_t i = 0; i < questions.size(); ++i) {
      if (!belongs(questions[i], group)) continue;
      first.push_back(evaluation.predictions[i].correct);
      second.push_back(other[i].correct);
      own.push_back(clusters[i]);
    }
    comparisons.push_back(compare_paired(first, second, own));
  }
  return comparisons;
}

// ---- the model card ----

/// That the card has no place is said before the first question, not after the last.
void check_card(const EvalArguments& arguments) {
  if (!arguments.update_card) return;
  require(fs::is_directory(arguments.model), "{}: a plan has no card: leave --update-card out",
          arguments.model.string());
  require(arguments.adapter.empty() && !arguments.shuffle_pictures,
          "--update-card writes what the model itself can do: leave --adapter and "
          "--shuffle-pictures out");
  const fs::path card = arguments.model / "README.md";
  require(path_exists(card), "{}: there is no card; espalier prune writes one", card.string());
  (void)with_scores(read_file(card), {});
  (void)read_checksums(arguments.model);
}

CardScores card_scores(const EvalArguments& arguments, const Scoreboard& scoreboard,
                       const std::optional<OtherEvaluation>& other) {
  CardScores scores;
  std::int64_t asked = 0;
  for (const ScoredQuestions& file : scoreboard.questions) {
    asked += file.count;
    scores.conditions += fmt::format("{}{} ({} questions, `{}`)", asked == file.count ? "" : ", ",
                                     file.file, file.count, file.fingerprint.substr(0, 16));
  }
  scores.conditions = fmt::format(
      "Exact match of greedy answers of at most {} tokens; intervals are Wilson's. Questions: {}. "
      "Measured on the model with the fingerprint `{}`.",
      arguments.max_new_tokens, scores.conditions, scoreboard.model.fingerprint);
  for (const ScoreGroup& group : scoreboard.groups) {
    if (group.kind) continue;
    CardScores::Row row{.domain = group.domain.value_or("all"),
                        .correct = group.correct,
                        .count = group.count,
                        .accuracy = group.accuracy,
                        .low = group.low,
                        .high = group.high};
    if (other) row.before = accuracy_of(other->groups, group);
    scores.rows.push_back(std::move(row));
  }
  return scores;
}

// ---- what is shown ----

/// Shows how far the evaluation is, with its rate and the time that is left.
class EvalReporter {
 public:
  explicit EvalReporter(bool quiet) : line_(quiet) {}

  void operator()(const EvaluateProgress& progress) {
    if (progress.phase == EvaluateProgress::Phase::Checking) {
      line_.show(fmt::format("checking questions: {} of {}", progress.done, progress.count));
      return;
    }
    const double seconds = std::chrono::duration<double>(Clock::now() - start_).count();
    std::string text = fmt::format("{} of {} questions, {} right", progress.done, progress.count,
                                   progress.correct);
    if (progress.done > progress.resumed && seconds > 0.0) {
      const double rate = static_cast<double>(progress.done - progress.resumed) / seconds;
      text +=
          fmt::format(", {:.1f} questions/s, {} left", rate,
                      human_seconds(static_cast<double>(progress.count - progress.done) / rate));
    }
    line_.show(text, progress.done == progress.count);
  }

  void start() { start_ = Clock::now(); }

 private:
  using Clock = std::chrono::steady_clock;
  ProgressLine line_;
  Clock::time_point start_ = Clock::now();
};

std::string name_of(const std::optional<std::string>& name) { return name.value_or("all"); }

/// Widths of the table's first two columns.
std::pair<std::size_t, std::size_t> name_widths(const std::vector<ScoreGroup>& groups) {
  std::pair<std::size_t, std::size_t> widths = {6, 4};  // "domain", "kind"
  for (const ScoreGroup& group : groups) {
    widths.first = std::max(widths.first, name_of(group.domain).size());
    widths.second = std::max(widths.second, name_of(group.kind).size());
  }
  return widths;
}

void print_table(const std::vector<ScoreGroup>& groups) {
  const auto [domain, kind] = name_widths(groups);
  fmt::print("{:<{}}  {:<{}}  {:>13}  accuracy   95 %\n", "domain", domain, "kind", kind,
             "right/asked");
  for (const ScoreGroup& group : groups) {
    fmt::print("{:<{}}  {:<{}}  {:>13}  {:>7.2f}%   {:.2f} to {:.2f}\n", name_of(group.domain),
               domain, name_of(group.kind), kind, fmt::format("{}/{}", group.correct, group.count),
               100 * group.accuracy, 100 * group.low, 100 * group.high);
  }
}

void print_comparisons(const std::vector<ScoreGroup>& groups,
                       const std::vector<PairedComparison>& comparisons, const fs::path& against) {
  const auto [domain, kind] = name_widths(groups);
  fmt::print("\nagainst {}, in points, paired\n{:<{}}  {:<{}}  {:>10}   {:<18}  {:>6}  {:>6}  p\n",
             against.string(), "domain", domain, "kind", kind, "difference", "95 %", "gained",
             "lost");
  for (std::size_t i = 0; i < groups.size(); ++i) {
    const PairedComparison& pair = comparisons[i];
    fmt::print("{:<{}}  {:<{}}  {:>+10.2f}   {:<18}  {:>6}  {:>6}  {:.2g}\n",
               name_of(groups[i].domain), domain, name_of(groups[i].kind), kind,
               100 * pair.difference,
               fmt::format("{:+.2f} to {:+.2f}", 100 * pair.interval.low, 100 * pair.interval.high),
               pair.first_only, pair.second_only, pair.p_value);
  }
}

json to_json(const ScoreGroup& group, const PairedComparison& pair) {
  return {{"domain", group.domain ? json(*group.domain) : json(nullptr)},
          {"kind", group.kind ? json(*group.kind) : json(nullptr)},
          {"count", pair.count},
          {"gained", pair.first_only},
          {"lost", pair.second_only},
          {"difference", pair.difference},
          {"low", pair.interval.low},
          {"high", pair.interval.high},
          {"p", pair.p_value}};
}

void print_result(const Scoreboard& scoreboard, const std::vector<PairedComparison>& comparisons,
                  const fs::path& against) {
  json result = json::parse(to_json_text(scoreboard));
  if (!comparisons.empty()) {
    result["against"] = {{"folder", against.string()}, {"differences", json::array()}};
    for (std::size_t i = 0; i < comparisons.size(); ++i) {
      result["against"]["differences"].push_back(to_json(scoreboard.groups[i], comparisons[i]));
    }
  }
  print_json(result);
}

}  // namespace

int run_eval(const EvalArguments& arguments) {
  const c10::InferenceMode inference;
  QuestionFiles asked = read_question_files(arguments.questions, arguments.limit,
                                            arguments.seed);  // the cheap and fallible part first
  const auto other = read_other(arguments.against);
  const auto training = training_of(arguments.adapter);
  check_card(arguments);
  Session session = open_session(arguments.model, arguments.run);
  const std::string adapter = attach(arguments.adapter, session);
  const AnsweringModel model{.model = session.model,
                             .tokenizer = session.tokenizer,
                             .preprocessor = session.preprocessor,
                             .eos_token_ids = session.generation.eos_token_ids};
  EvalReporter reporter(arguments.quiet);
  const auto report = [&](const EvaluateProgress& progress) { reporter(progress); };
  const PreparedQuestions prepared =
      prepare_questions(model, asked.questions,
                        {.max_new_tokens = arguments.max_new_tokens,
                         .shuffle_pictures = arguments.shuffle_pictures,
                         .seed = arguments.seed,
                         .on_progress = report});
  Scoreboard scoreboard = empty_scoreboard(arguments, session, prepared, asked.ends);
  scoreboard.adapter_fingerprint = adapter;
  scoreboard.training = training;
  if (other) check_comparable(scoreboard, asked.questions, *other, arguments.against);

  EvaluationFolder folder(arguments.out, scoreboard, arguments.force);
  std::vector<Prediction> done = folder.former_answers(asked.questions);
  done.resize(answers_of_whole_batches(prepared, arguments.batch, done.size()));
  folder.begin(done);
  reporter.start();
  const Evaluation evaluation =
      evaluate(model, prepared,
               {.batch = arguments.batch,
                .done = std::move(done),
                .on_batch = [&](std::span<const Prediction> batch) { folder.append(batch); },
                .on_progress = report});
  scoreboard.groups = evaluation.groups;
  folder.finish(scoreboard, evaluation.predictions);

  if (arguments.update_card) {
    const CardScores scores = card_scores(arguments, scoreboard, other);
    update_card(arguments.model,
                [&](const std::string& card) { return with_scores(card, scores); });
  }
  std::vector<PairedComparison> comparisons;
  if (other) comparisons = compare(asked.questions, evaluation, other->predictions);
  if (arguments.json) {
    print_result(scoreboard, comparisons, arguments.against);
  } else {
    print_table(scoreboard.groups);
    if (other) print_comparisons(scoreboard.groups, comparisons, arguments.against);
  }
  if (!arguments.quiet) fmt::print(stderr, "wrote {}\n", arguments.out.string());
  return 0;
}

}  // namespace espalier
