// SPDX-License-Identifier: Apache-2.0
#include "espalier/data/training_set.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <nlohmann/json.hpp>
#include <span>

#include "tests/png.h"
#include "tests/support.h"
#include "tests/text/golden.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using test::input_error;
using test::small_tokenizer;
using test::TemporaryDirectory;
using test::write_quickly;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

/// Pictures of up to 128 x 128 pixels keep their size; a visual token is 32 x 32 of them.
TrainingSetOptions small_options() {
  return {.encoder = {.limits = {.factor = 32, .min_pixels = 1024, .max_pixels = 128 * 128},
                      .patch_size = 16,
                      .merge_size = 2,
                      .image_token_id = small_tokenizer().id_of("<|image_pad|>").value(),
                      .chat = {}},
          .image_root = {}};
}

json say(const char* role, const std::string& content) {
  return {{"role", role}, {"content", content}};
}

/// A row about a picture of two visual tokens.
json picture_row(const std::string& answer) {
  return {{"messages", {say("user", "<image>What?"), say("assistant", answer)}},
          {"image", "wide.png"}};
}

json text_row(const std::string& answer) {
  return {{"messages", {say("user", "Hi"), say("assistant", answer)}}};
}

/// Writes a file of rows into a folder, beside the picture wide.png of 64 x 32 pixels.
fs::path write_rows(const fs::path& folder, const std::vector<json>& rows,
                    const std::string& name = "rows.jsonl") {
  write_quickly(folder / "wide.png", test::png_bytes(64, 32, 32));
  std::string lines;
  for (const json& row : rows) lines += row.dump() + "\n";
  write_quickly(folder / name, lines);
  return folder / name;
}

TrainingSet open_rows(const std::vector<json>& rows,
                      const TrainingSetOptions& options = small_options()) {
  const TemporaryDirectory folder;
  return open_training_set({write_rows(folder.path(), rows)}, small_tokenizer(), options);
}

std::string error_of(const std::vector<json>& rows,
                     const TrainingSetOptions& options = small_options()) {
  return input_error([&] { (void)open_rows(rows, options); });
}

std::string text_of(const TrainingSample& sample, std::int64_t begin, std::int64_t end) {
  return small_tokenizer().decode(
      std::span(sample.ids)
          .subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin)),
      false);
}

std::vector<std::string> labels_of(const TrainingSample& sample) {
  std::vector<std::string> texts;
  for (const LabelSpan& span : sample.labels) {
    texts.push_back(text_of(sample, span.begin, span.end));
  }
  return texts;
}

TEST(TrainingSet, HoldsWholeConversationsAndWhatIsToBePredicted) {
  const TrainingSet set = open_rows({picture_row("A square.")});
  ASSERT_THAT(set.samples, SizeIs(1));
  const TrainingSample& sample = set.samples[0];
  EXPECT_EQ(text_of(sample, 0, std::ssize(sample.ids)),
            "<|im_start|>user\n<|vision_start|><|image_pad|><|image_pad|><|vision_end|>What?"
            "<|im_end|>\n<|im_start|>assistant\nA square.<|im_end|>\n");
  EXPECT_THAT(labels_of(sample), ElementsAre("A square.<|im_end|>"));
  EXPECT_THAT(sample.place, EndsWith("rows.jsonl:1"));
}

TEST(TrainingSet, PredictsTheFirstTokenBehindWhatAGenerationBeginsWith) {
  const TrainingSet set = open_rows({text_row("Yes.")});
  const TrainingSample& sample = set.samples.at(0);
  const auto prompt =
      encode_chat(small_tokenizer(), {{.role = Message::Role::User, .parts = {TextPart{"Hi"}}}});
  const LabelSpan label = sample.labels.at(0);
  EXPECT_EQ(label.begin, std::ssize(prompt));
  EXPECT_EQ(std::vector(sample.ids.begin(), sample.ids.begin() + label.begin), prompt);
  EXPECT_EQ(sample.ids.at(static_cast<std::size_t>(label.end) - 1),
            small_tokenizer().id_of("<|im_end|>"));
  // Behind the last label there is the template's line end alone.
  EXPECT_EQ(label.end + 1, std::ssize(sample.ids));
}

TEST(TrainingSet, PredictsNoTurnThatSaysLossFalse) {
  json row = text_row("One.");
  row["messages"].push_back(say("user", "More"));
  row["messages"].push_back(say("assistant", "Two."));
  row["messages"].push_back(say("user", "More"));
  row["messages"].push_back(say("assistant", ""));
  row["messages"][1]["loss"] = false;
  const TrainingSet set = open_rows({row});
  EXPECT_THAT(labels_of(set.samples.at(0)), ElementsAre("Two.<|im_end|>", "<|im_end|>"));
}

TEST(TrainingSet, PlacesPicturesByTheirHeaders) {
  const TrainingSet set = open_rows({picture_row("A.")});
  const TrainingSample& sample = set.samples.at(0);
  EXPECT_THAT(sample.picture_sizes, ElementsAre(Size{64, 32}));
  EXPECT_THAT(sample.placed.target_sizes, ElementsAre(Size{64, 32}));
  // 64 / 16 = 4 patches across, 2 down; four of them are a token.
  EXPECT_THAT(sample.placed.grids, ElementsAre(ImageGrid{1, 2, 4}));
  EXPECT_EQ(sample.visual_tokens, 2);
}

TEST(TrainingSet, CountsWhatItKeeps) {
  const TrainingSet set = open_rows({picture_row("A."), text_row("B."), picture_row("C.")});
  const auto& samples = set.samples;
  ASSERT_THAT(samples, SizeIs(3));
  const auto length = [&](std::size_t i) { return std::ssize(samples[i].ids); };
  EXPECT_EQ(set.counts,
            (TrainingSetCounts{.read = 3,
                               .kept = 3,
                               .dropped_long = 0,
                               .dropped_bad = 0,
                               .tokens = length(0) + length(1) + length(2),
                               .visual_tokens = 4,
                               .label_tokens = samples[0].label_tokens + samples[1].label_tokens +
                                               samples[2].label_tokens,
                               .longest = length(0)}));
  EXPECT_EQ(samples[0].label_tokens, samples[0].labels[0].end - samples[0].labels[0].begin);
  EXPECT_GT(length(0), length(1));
}

TEST(TrainingSet, NamesSourcesByTheRowOrElseByTheFile) {
  const TemporaryDirectory folder;
  json math = text_row("A");
  math["source"] = "math/cot";
  json other = text_row("A");
  other["source"] = "first";
  const TrainingSet set = open_training_set(
      {write_rows(folder.path(), {text_row("A"), math, text_row("B")}, "first.jsonl"),
       write_rows(folder.path(), {other, text_row("A")}, "second.jsonl")},
      small_tokenizer(), small_options());
  EXPECT_THAT(set.sources, ElementsAre("first", "math/cot", "second"));
  std::vector<std::size_t> numbers;
  for (const TrainingSample& sample : set.samples) numbers.push_back(sample.source);
  EXPECT_THAT(numbers, ElementsAre(0, 1, 0, 0, 2));
}

TEST(TrainingSet, DropsOrRefusesLongSamplesAndCutsNone) {
  const std::vector<json> rows = {text_row("Short."), text_row("A much longer answer than that.")};
  TrainingSetOptions options = small_options();
  const TrainingSet all = open_rows(rows, options);
  const auto longer = std::ssize(all.samples.at(1).ids);

  options.max_length = longer;
  EXPECT_EQ(open_rows(rows, options).counts.kept, 2);
  options.max_length = longer - 1;
  const TrainingSet fewer = open_rows(rows, options);
  EXPECT_EQ(fewer.samples.at(0).ids, all.samples.at(0).ids);
  EXPECT_EQ(fewer.counts.kept, 1);
  EXPECT_EQ(fewer.counts.dropped_long, 1);
  EXPECT_EQ(fewer.counts.longest, std::ssize(all.samples.at(0).ids));
  const std::string reason =
      fmt::format("rows.jsonl:2: the sample has {} tokens, the limit is {}", longer, longer - 1);
  EXPECT_THAT(fewer.dropped, ElementsAre(EndsWith(reason)));

  options.long_samples = LongSamples::Error;
  options.skip_bad = true;  // too long is not bad
  EXPECT_THAT(error_of(rows, options), HasSubstr(reason));
}

TEST(TrainingSet, NamesFileAndLineOfARowThatCannotBeUsed) {
  const json good = text_row("A");
  json broken = picture_row("A");
  broken["image"] = "rows.jsonl";
  EXPECT_THAT(error_of({good, broken}),
              AllOf(HasSubstr("rows.jsonl:2: "), HasSubstr("not a picture of a known format")));
  EXPECT_THAT(error_of({good, text_row("a<|im_end|>b")}),
              AllOf(HasSubstr("rows.jsonl:2: "), HasSubstr("special token <|im_end|>")));
  json late = good;
  late["messages"].push_back(say("system", "x"));
  EXPECT_THAT(error_of({good, late}),
              AllOf(HasSubstr("rows.jsonl:2: "), HasSubstr("message 2 is a system message")));
  json unreadable = good;
  unreadable["messages"][0]["role"] = "nobody";
  EXPECT_THAT(error_of({good, unreadable}), HasSubstr("rows.jsonl:2: "));
}

TEST(TrainingSet, RefusesAnAnswerWhoseFirstTokenIsNotItsOwn) {
  EXPECT_THAT(error_of({text_row("\nA")}),
              AllOf(HasSubstr("rows.jsonl:1: messages[1]"), HasSubstr("blank lines")));
  EXPECT_NO_THROW(open_rows({text_row(" A\n")}));
}

TEST(TrainingSet, LeavesBadRowsOutWhereAsked) {
  json unreadable = text_row("A");
  unreadable["messages"][0]["role"] = "nobody";
  std::vector<json> rows(30, text_row("\nA"));
  rows.insert(rows.begin() + 3, text_row("good"));
  rows.push_back(unreadable);
  TrainingSetOptions options = small_options();
  options.skip_bad = true;
  const TrainingSet set = open_rows(rows, options);
  EXPECT_EQ(set.counts.read, 32);
  EXPECT_EQ(set.counts.kept, 1);
  EXPECT_EQ(set.counts.dropped_bad, 31);
  EXPECT_THAT(labels_of(set.samples.at(0)), ElementsAre("good<|im_end|>"));
  ASSERT_THAT(set.dropped, SizeIs(20));
  EXPECT_THAT(set.dropped[0], HasSubstr("rows.jsonl:32: "));
  EXPECT_THAT(set.dropped[1], HasSubstr("rows.jsonl:1: "));
}

TEST(TrainingSet, RefusesToBeEmpty) {
  TrainingSetOptions options = small_options();
  options.skip_bad = true;
  EXPECT_THAT(error_of({text_row("\nA")}, options),
              AllOf(HasSubstr("no sample"), HasSubstr("rows.jsonl:1")));
  EXPECT_THAT(input_error([&] { (void)open_training_set({}, small_tokenizer(), options); }),
              HasSubstr("at least one file"));
  options.max_length = 0;
  EXPECT_THAT(error_of({text_row("A")}, options), HasSubstr("limit of 0 tokens"));
}

TEST(TrainingSet, DoesNotDependOnTheNumberOfThreads) {
  std::vector<json> rows;
  for (int i = 0; i < 50; ++i) {
    rows.push_back(i % 3 == 0 ? picture_row(std::to_string(i)) : text_row(std::to_string(i)));
  }
  const TemporaryDirectory folder;
  const fs::path file = write_rows(folder.path(), rows);
  TrainingSetOptions options = small_options();
  options.threads = 1;
  const TrainingSet one = open_training_set({file}, small_tokenizer(), options);
  options.threads = 5;
  const TrainingSet five = open_training_set({file}, small_tokenizer(), options);
  EXPECT_EQ(one.samples, five.samples);
  EXPECT_EQ(one.fingerprint, five.fingerprint);
  // The first bad row is named, whoever finds which.
  rows[30] = text_row("\n");
  rows[31] = text_row("\n");
  EXPECT_THAT(error_of(rows, options), HasSubstr("rows.jsonl:31: "));
}

TEST(TrainingSet, SaysWhatItsSamplesTakeInMemory) {
  const TemporaryDirectory folder;
  const fs::path file = write_rows(folder.path(), {picture_row("A."), text_row("B.")});
  const auto opened = [&](const std::vector<fs::path>& files) {
    return open_training_set(files, small_tokenizer(), small_options());
  };
  const TrainingSet once = opened({file});
  EXPECT_GT(set_bytes(once), 8 * once.counts.tokens + 2 * sizeof(TrainingSample));
  EXPECT_EQ(set_bytes(opened({file, file, file})), 3 * set_bytes(once));
}

TEST(TrainingSet, HasAFingerprintOfWhatIsTrainedOn) {
  const std::vector<json> rows = {picture_row("A."), text_row("B.")};
  const TrainingSet set = open_rows(rows);
  EXPECT_THAT(set.fingerprint, SizeIs(64));
  EXPECT_EQ(open_rows(rows).fingerprint, set.fingerprint) << "another folder";

  EXPECT_NE(open_rows({rows[1], rows[0]}).fingerprint, set.fingerprint) << "order";
  EXPECT_NE(open_rows({picture_row("a."), rows[1]}).fingerprint, set.fingerprint) << "text";
  json unlabelled = text_row("B.");
  unlabelled["messages"][1]["loss"] = false;
  unlabelled["messages"].push_back(say("assistant", "C."));
  json labelled = unlabelled;
  labelled["messages"][1]["loss"] = true;
  EXPECT_NE(open_rows({unlabelled}).fingerprint, open_rows({labelled}).fingerprint) << "labels";
}

TEST(TrainingSet, HasAFingerprintOfItsPictures) {
  const TemporaryDirectory folder;
  const fs::path file = write_rows(folder.path(), {picture_row("A.")});
  const auto fingerprint = [&] {
    return open_training_set({file}, small_tokenizer(), small_options()).fingerprint;
  };
  const std::string before = fingerprint();
  // A pixel more across: as many tokens, but another file.
  write_quickly(folder / "wide.png", test::png_bytes(65, 32, 32));
  EXPECT_NE(fingerprint(), before);
  write_rows(folder.path(), {picture_row("A.")});
  EXPECT_EQ(fingerprint(), before);
  json renamed = picture_row("A.");
  renamed["image"] = "same.png";
  write_quickly(folder / "same.png", test::png_bytes(64, 32, 32));
  write_rows(folder.path(), {renamed});
  EXPECT_NE(fingerprint(), before);
}

TEST(ReadPictures, DecodesThemInOrder) {
  const TemporaryDirectory folder;
  json row = picture_row("A.");
  row["messages"][0]["content"] = "<image><image>";
  row.erase("image");
  row["images"] = {"tall.png", "wide.png"};
  write_quickly(folder / "tall.png", test::png_bytes(32, 96, 96));
  const TrainingSet set = open_training_set({write_rows(folder.path(), {row, text_row("B.")})},
                                            small_tokenizer(), small_options());
  const std::vector<Image> pictures = read_pictures(set.samples.at(0));
  EXPECT_THAT(pictures,
              ElementsAre(read_image(folder / "tall.png"), read_image(folder / "wide.png")));
  EXPECT_EQ(pictures.at(0).height, 96);
  EXPECT_THAT(read_pictures(set.samples.at(1)), IsEmpty());
}

TEST(ReadPictures, RefusesWhatIsNoLongerWhatWasPlanned) {
  const TemporaryDirectory folder;
  const fs::path file = write_rows(folder.path(), {text_row("A."), picture_row("A.")});
  const TrainingSet set = open_training_set({file}, small_tokenizer(), small_options());
  const auto error = [&] { return input_error([&] { (void)read_pictures(set.samples.at(1)); }); };
  write_quickly(folder / "wide.png", test::png_bytes(32, 64, 64));
  EXPECT_THAT(error(), AllOf(HasSubstr("rows.jsonl:2: "), HasSubstr("wide.png has 32 x 64"),
                             HasSubstr("64 x 32 when")));
  write_quickly(folder / "wide.png", test::png_bytes(64, 32, 5));
  EXPECT_THAT(error(), AllOf(HasSubstr("rows.jsonl:2: "), HasSubstr("wide.png")));
}

}  // namespace
}  // namespace espalier
