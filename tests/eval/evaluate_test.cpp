// SPDX-License-Identifier: Apache-2.0
#include "espalier/eval/evaluate.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>

#include <algorithm>

#include "espalier/model/generate.h"
#include "tests/model/fixture.h"
#include "tests/png.h"
#include "tests/support.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;
using test::input_error;
using test::write_quickly;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

/// A picture of one of several shades of grey.
void write_picture(const fs::path& path, std::uint32_t width, std::uint32_t height, int number) {
  write_quickly(path, test::png_bytes(width, height, height, static_cast<char>(10 + 30 * number)));
}

/// A small checkpoint in float32, and questions of several lengths, with and without pictures.
class Evaluate : public testing::Test {
 protected:
  Evaluate() {
    for (int i = 0; i < 4; ++i) {
      write_picture(picture(i), 64, i < 3 ? 64 : 32, i);
    }
    for (int i = 0; i < 9; ++i) {
      Question question{.id = std::to_string(i),
                        .prompt = "What is this" + std::string(static_cast<std::size_t>(i), '?'),
                        .answers = {"63"},
                        .domain = i % 2 == 0 ? "math" : "scenes",
                        .kind = "k",
                        .place = "rows.jsonl:" + std::to_string(i + 1)};
      if (i < 6) question.images = {picture(i / 2)};
      questions_.push_back(std::move(question));
    }
  }

  [[nodiscard]] fs::path picture(int i) const {
    return scratch_ / ("picture" + std::to_string(i) + ".png");
  }
  [[nodiscard]] AnsweringModel model() const {
    const Session& session = fixture_.session;
    return {.model = session.model,
            .tokenizer = session.tokenizer,
            .preprocessor = session.preprocessor,
            .eos_token_ids = session.generation.eos_token_ids};
  }
  [[nodiscard]] PreparedQuestions prepare(const std::vector<Question>& questions,
                                          PrepareOptions options = {}) const {
    options.max_new_tokens = 6;
    return prepare_questions(model(), questions, options);
  }
  [[nodiscard]] std::vector<std::string> answers_to(const std::vector<Question>& questions) const {
    std::vector<std::string> answers;
    for (const auto& prediction : evaluate(model(), prepare(questions)).predictions) {
      answers.push_back(prediction.answer);
    }
    return answers;
  }

  const test::TemporaryDirectory scratch_;
  const test::ModelFixture fixture_ = test::open_fixture("sharded_bf16", "float32");
  std::vector<Question> questions_;
};

TEST_F(Evaluate, AnswersAsGenerateDoes) {
  const auto answers = answers_to(questions_);
  const c10::InferenceMode inference;
  for (std::size_t i = 0; i < questions_.size(); ++i) {
    const ModelInput input = encode_prompt(
        fixture_.session, {.images = questions_[i].images, .prompt = questions_[i].prompt});
    const auto ids = generate(model().model, input,
                              {.max_new_tokens = 6, .eos_token_ids = model().eos_token_ids});
    EXPECT_EQ(answers[i], model().tokenizer.decode(ids, true)) << i;
  }
  EXPECT_NE(answers[0], answers[4]);  // pictures matter
}

TEST_F(Evaluate, DoesNotDependOnTheBatch) {
  const PreparedQuestions prepared = prepare(questions_);
  const Evaluation together = evaluate(model(), prepared);
  for (const std::int64_t batch : {1, 2, 4}) {
    EXPECT_EQ(evaluate(model(), prepared, {.batch = batch}), together) << batch;
  }
}

TEST_F(Evaluate, CountsWhatIsRight) {
  const auto answers = answers_to(questions_);
  questions_[1].answers = {"no", std::string(without_outer_space(answers[1]))};
  questions_[2].answers = {std::string(without_outer_space(answers[2]))};
  const Evaluation evaluation = evaluate(model(), prepare(questions_));
  EXPECT_TRUE(evaluation.predictions[1].correct);
  EXPECT_EQ(evaluation.predictions[1].expected, questions_[1].answers);
  EXPECT_FALSE(evaluation.predictions[8].correct);
  EXPECT_EQ(evaluation.groups, score(questions_, evaluation.predictions));
  EXPECT_GE(evaluation.groups.back().correct, 2);
}

TEST_F(Evaluate, GoesOnAfterAnyWholeBatchWithTheSameAnswers) {
  const PreparedQuestions prepared = prepare(questions_);
  const Evaluation whole = evaluate(model(), prepared, {.batch = 4});
  for (std::size_t answered = 0; answered <= questions_.size(); ++answered) {
    const std::size_t kept = answers_of_whole_batches(prepared, 4, answered);
    EXPECT_EQ(kept, answered == 9 ? 9 : answered / 4 * 4);
    std::vector<Prediction> later;
    const Evaluation resumed =
        evaluate(model(), prepared,
                 {.batch = 4,
                  .done = {whole.predictions.begin(),
                           whole.predictions.begin() + static_cast<std::ptrdiff_t>(kept)},
                  .on_batch = [&](std::span<const Prediction> batch) {
                    later.insert(later.end(), batch.begin(), batch.end());
                  }});
    EXPECT_EQ(resumed, whole);
    EXPECT_EQ(later.size(), questions_.size() - kept);
  }
}

TEST_F(Evaluate, SaysHowFarItIs) {
  std::vector<std::int64_t> done;
  (void)evaluate(model(), prepare(questions_),
                 {.batch = 4, .on_progress = [&](const EvaluateProgress& progress) {
                    EXPECT_EQ(progress.count, 9);
                    done.push_back(progress.done);
                  }});
  EXPECT_THAT(done, testing::ElementsAre(4, 8, 9));
}

TEST_F(Evaluate, ShowsAnotherPictureWhereTheyAreShuffled) {
  const PreparedQuestions shuffled = prepare(questions_, {.shuffle_pictures = true, .seed = 3});
  std::vector<Question> others = questions_;
  for (std::size_t i = 0; i < 6; ++i) {
    others[i].images = shuffled.questions[i].images;
    EXPECT_NE(others[i].images, questions_[i].images);
  }
  const Evaluation evaluation = evaluate(model(), shuffled);
  EXPECT_EQ(evaluation, evaluate(model(), prepare(others)));
  EXPECT_NE(evaluation, evaluate(model(), prepare(questions_)));
}

TEST_F(Evaluate, FingerprintsWhatIsAskedWhateverIsShown) {
  const auto fingerprint_of = [&](const PrepareOptions& options = {}) {
    return fingerprint(prepare(questions_, options), 0, 4);
  };
  const std::string before = fingerprint_of();
  EXPECT_EQ(fingerprint_of({.shuffle_pictures = true}), before);
  questions_[5].prompt += " More.";  // beyond the range
  EXPECT_EQ(fingerprint_of(), before);
  const Question first = questions_[0];
  questions_[0].answers = {"64"};
  EXPECT_NE(fingerprint_of(), before);
  questions_[0] = first;
  questions_[0].prompt += "!";
  EXPECT_NE(fingerprint_of(), before);
  questions_[0] = first;
  write_picture(picture(0), 64, 64, 3);
  EXPECT_NE(fingerprint_of(), before);
}

TEST_F(Evaluate, NamesTheQuestionsThatCannotBeAsked) {
  write_quickly(picture(1), "no picture");
  questions_[7].prompt = "What is <|im_end|>?";
  EXPECT_THAT(
      input_error([&] { (void)prepare(questions_); }),
      AllOf(HasSubstr("3 of 9 questions"), HasSubstr("rows.jsonl:3"), HasSubstr("rows.jsonl:4"),
            HasSubstr("rows.jsonl:8"), Not(HasSubstr("rows.jsonl:5"))));
}

TEST_F(Evaluate, RefusesPromptsThatAreTooLong) {
  const std::int64_t most = model().model.config.text.max_position_embeddings;
  EXPECT_THAT(input_error([&] {
                (void)prepare_questions(model(), questions_, {.max_new_tokens = most - 10});
              }),
              AllOf(HasSubstr("9 of 9"), HasSubstr("prompt tokens"), HasSubstr("..."),
                    HasSubstr(std::to_string(most))));
}

TEST_F(Evaluate, RefusesToShuffleAPictureThatHasNoPartner) {
  questions_[0].images = {picture(3)};  // of another size
  EXPECT_THAT(input_error([&] { (void)prepare(questions_, {.shuffle_pictures = true}); }),
              AllOf(HasSubstr("rows.jsonl:1"), HasSubstr("64x32")));
}

}  // namespace
}  // namespace espalier
