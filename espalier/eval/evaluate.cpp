// SPDX-License-Identifier: Apache-2.0
#include "espalier/eval/evaluate.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <mutex>
#include <nlohmann/json.hpp>

#include "espalier/base/error.h"
#include "espalier/base/file_bytes.h"
#include "espalier/base/hash.h"
#include "espalier/model/generate.h"
#include "espalier/model/tasks.h"

namespace espalier {

namespace {

// ---- looking at everything before anything is asked ----

/// What is known of a question once it was opened.
struct OpenedQuestion {
  std::vector<std::int64_t> ids;
  PlacedPictures placed;
  std::array<std::uint8_t, 16> hash{};
  std::string sizes;  ///< of its pictures, as they are
  std::string error;  ///< why it cannot be asked; empty if it can
};

std::vector<Message> messages_of(const Question& question) {
  Message user{.role = Message::Role::User, .parts = {}};
  for (std::size_t i = 0; i < question.images.size(); ++i) user.parts.emplace_back(ImagePart{});
  user.parts.emplace_back(TextPart{question.prompt});
  return {std::move(user)};
}

std::string text_of(const Question& question) {
  const nlohmann::json text = {
      {"id", question.id},           {"prompt", question.prompt},
      {"answers", question.answers}, {"domain", question.domain},
      {"kind", question.kind},       {"final", question.match == AnswerMatch::Final}};
  return text.dump();
}

OpenedQuestion open(const AnsweringModel& of, const Question& question,
                    const PrepareOptions& options) {
  const EncoderOptions encoder = encoder_options(of.model.config, of.preprocessor);
  OpenedQuestion opened;
  std::string bytes = text_of(question);
  std::vector<Size> sizes;
  std::vector<std::string> names;
  for (const auto& path : question.images) {
    const FileBytes file(path);
    const Image image = decode_image(file.bytes(), path.string());
    sizes.push_back({.width = image.width, .height = image.height});
    names.push_back(path.string());
    opened.sizes +=
        fmt::format("{}{}x{}", opened.sizes.empty() ? "" : ", ", image.width, image.height);
    bytes += '\0';
    bytes.append(reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size());
  }
  opened.hash = xxh3_128({std::as_bytes(std::span(bytes))});
  opened.placed = place_pictures(sizes, names, encoder);
  opened.ids = encode_ids(of.tokenizer, messages_of(question), opened.placed.grids, encoder);
  const std::int64_t most = of.model.config.text.max_position_embeddings;
  require(std::ssize(opened.ids) + options.max_new_tokens <= most,
          "{} prompt tokens and {} new ones exceed the model's {} positions; lower "
          "--max-new-tokens or use smaller pictures",
          opened.ids.size(), options.max_new_tokens, most);
  return opened;
}

std::vector<OpenedQuestion> open_all(const AnsweringModel& of,
                                     const std::vector<Question>& questions,
                                     const PrepareOptions& options) {
  std::vector<OpenedQuestion> opened(questions.size());
  EvaluateProgress progress{.count = std::ssize(questions)};
  std::mutex mutex;
  for_each_task(std::ssize(questions), 0, [&](std::int64_t i, void*) {
    const auto place = static_cast<std::size_t>(i);
    try {
      opened[place] = open(of, questions[place], options);
    } catch (const InputError& error) {
      opened[place].error = fmt::format("{}: {}", questions[place].place, error.what());
    }
    const std::lock_guard lock(mutex);
    ++progress.done;
    if (options.on_progress) options.on_progress(progress);
  });
  return opened;
}

void refuse_bad(const std::vector<OpenedQuestion>& opened) {
  std::string messages;
  std::int64_t bad = 0;
  for (const OpenedQuestion& question : opened) {
    if (question.error.empty()) continue;
    if (++bad <= 5) messages += "\n  " + question.error;
  }
  require(bad == 0, "{} of {} questions cannot be asked:{}{}", bad, opened.size(), messages,
          bad > 5 ? "\n  ..." : "");
}

// ---- batches ----

/// Questions [begin, end) that are answered together.
struct Batch {
  std::size_t begin;
  std::size_t end;
};

std::vector<Batch> plan_batches(const PreparedQuestions& questions, std::int64_t most) {
  std::vector<Batch> batches;
  std::int64_t tokens = 0;
  for (std::size_t i = 0; i < questions.ids.size(); ++i) {
    const std::int64_t own = std::ssize(questions.ids[i]) + questions.max_new_tokens;
    const bool fits = !batches.empty() && tokens + own <= kMostBatchTokens &&
                      std::cmp_less(i - batches.back().begin, most);
    if (!fits) {
      batches.push_back({.begin = i, .end = i});
      tokens = 0;
    }
    batches.back().end = i + 1;
    tokens += own;
  }
  return batches;
}

std::vector<EncodedExample> read_examples(const PreparedQuestions& questions, const Batch& batch) {
  std::vector<EncodedExample> examples;
  for (std::size_t i = batch.begin; i < batch.end; ++i) {
    EncodedExample example{.ids = questions.ids[i],
                           .images = {},
                           .target_sizes = questions.placed[i].target_sizes,
                           .grids = questions.placed[i].grids};
    for (const auto& path : questions.questions[i].images) {
      example.images.push_back(read_image(path));
    }
    examples.push_back(std::move(example));
  }
  return examples;
}

std::vector<Prediction> answer(const AnsweringModel& of, const PreparedQuestions& questions,
                               const Batch& batch) {
  const ModelInput input =
      to_input(read_examples(questions, batch), of.model.config, of.preprocessor);
  const auto answers = generate_batch(
      of.model, input,
      {.max_new_tokens = questions.max_new_tokens, .eos_token_ids = of.eos_token_ids});
  std::vector<Prediction> predictions;
  for (std::size_t i = 0; i < answers.size(); ++i) {
    const Question& question = questions.questions[batch.begin + i];
    std::string text = of.tokenizer.decode(answers[i], /*skip_special_tokens=*/true);
    const bool correct = is_correct(question, text);
    predictions.push_back({.id = question.id,
                           .answer = std::move(text),
                           .correct = correct,
                           .expected = question.answers});
  }
  return predictions;
}

std::int64_t count_correct(const std::vector<Prediction>& predictions) {
  return std::ranges::count(predictions, true, &Prediction::correct);
}

}  // namespace

PreparedQuestions prepare_questions(const AnsweringModel& model, std::vector<Question> questions,
                                    const PrepareOptions& options) {
  std::vector<OpenedQuestion> opened = open_all(model, questions, options);
  refuse_bad(opened);
  PreparedQuestions prepared{.max_new_tokens = options.max_new_tokens};
  std::vector<std::string> sizes;
  for (OpenedQuestion& question : opened) {
    sizes.push_back(question.sizes);
    prepared.ids.push_back(std::move(question.ids));
    prepared.placed.push_back(std::move(question.placed));
    prepared.hashes.push_back(question.hash);
  }
  prepared.questions = questions;
  if (options.shuffle_pictures) {
    const auto others = shuffled_pictures(questions, sizes, options.seed);
    for (std::size_t i = 0; i < questions.size(); ++i) {
      prepared.questions[i].images = questions[others[i]].images;
    }
  }
  return prepared;
}

std::string fingerprint(const PreparedQuestions& questions, std::size_t begin, std::size_t end) {
  Sha256 hash;
  for (std::size_t i = begin; i < end; ++i) {
    hash.update(std::as_bytes(std::span(questions.hashes[i])));
  }
  return hash.finish();
}

std::size_t answers_of_whole_batches(const PreparedQuestions& questions, std::int64_t batch,
                                     std::size_t answers) {
  std::size_t whole = 0;
  for (const Batch& planned : plan_batches(questions, batch)) {
    if (planned.end <= answers) whole = planned.end;
  }
  return whole;
}

Evaluation evaluate(const AnsweringModel& model, const PreparedQuestions& questions,
                    const EvaluateOptions& options) {
  const c10::InferenceMode inference;
  assume(!questions.questions.empty(), "there is something to ask");
  Evaluation evaluation{.predictions = options.done};
  for (const Batch& batch : plan_batches(questions, options.batch)) {
    if (batch.end > evaluation.predictions.size()) {
      assume(batch.begin == evaluation.predictions.size(), "former answers are whole batches");
      const auto predictions = answer(model, questions, batch);
      if (options.on_batch) options.on_batch(predictions);
      evaluation.predictions.insert(evaluation.predictions.end(), predictions.begin(),
                                    predictions.end());
    }
    if (options.on_progress) {
      options.on_progress({.phase = EvaluateProgress::Phase::Answering,
                           .done = std::ssize(evaluation.predictions),
                           .count = std::ssize(questions.questions),
                           .resumed = std::ssize(options.done),
                           .correct = count_correct(evaluation.predictions)});
    }
  }
  evaluation.groups = score(questions.questions, evaluation.predictions);
  return evaluation;
}

}  // namespace espalier
