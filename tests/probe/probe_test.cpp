// SPDX-License-Identifier: Apache-2.0
#include "espalier/probe/probe.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>

#include <cmath>
#include <cstring>
#include <numbers>

#include "espalier/base/files.h"
#include "espalier/probe/hsic.h"
#include "tests/model/fixture.h"
#include "tests/support.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;
using test::input_error;
using test::TemporaryDirectory;
using ::testing::AllOf;
using ::testing::HasSubstr;

// Float32 sums in another order, and samples packed beside others.
constexpr double kRounding = 1e-5;

/// Pictures of several sizes, in two folders.
class ProbeOf : public testing::TestWithParam<std::string> {
 protected:
  ProbeOf() {
    fs::create_directories(data_ / "problems");
    fs::create_directories(data_ / "photos");
    const auto copy = [&](const char* from, const char* to) {
      fs::copy_file(test::fixture(from), data_ / to);
    };
    copy("images/exif1.jpg", "problems/a.jpg");
    copy("images/cmyk.jpg", "problems/b.jpg");
    copy("images/exif6.png", "problems/c.png");
    copy("models/gqa_tied/tall.png", "photos/tall.png");
    copy("images/exif.webp", "photos/x.webp");
  }

  [[nodiscard]] ProbeSet set() const {
    const auto domain = [&](const char* name, const char* folder) {
      return read_domain(std::string(name) + "=" + (data_ / folder).string());
    };
    return make_probe_set(
        {domain("math", "problems"), domain("nonmath", "photos")},
        {{.name = "math", .subtasks = {{"cot", "Solve it, please."}, {"direct", "Solve: answer?"}}},
         {.name = "nonmath", .subtasks = {{"caption", "Describe."}}}},
        {});
  }

  static ProbeModel model_of(const Session& session) {
    return {.directory = session.directory,
            .model = session.model,
            .tokenizer = session.tokenizer,
            .preprocessor = session.preprocessor};
  }

  ProbeRecord run(const Session& session, const std::string& out,
                  const ProbeOptions& options = {}) {
    return probe(model_of(session), set(), scratch_ / out, options).record;
  }

  const c10::InferenceMode inference_;
  TemporaryDirectory data_;
  TemporaryDirectory scratch_;
};

/// All that a pass over one sample alone shows: the plain way to the record's numbers.
struct Pass {
  std::vector<at::Tensor> input;  ///< [T, H] float64, one a layer
  std::vector<at::Tensor> middle;
  std::vector<at::Tensor> output;
  at::Tensor visual;  ///< [T] bool
};

Pass pass_over(const Session& session, const ProbeItem& item, const ProbeQuestion& question) {
  PromptArguments prompt{.images = item.files, .prompt = question.prompt, .system = {}};
  const ModelInput input = encode_prompt(session, prompt);
  Pass pass;
  pass.visual = input.input_ids == session.model.config.image_token_id;
  forward(session.model, input, {.observe_layer = [&](std::int64_t, const LayerTaps& taps) {
            pass.input.push_back(taps.input.to(at::kDouble));
            pass.middle.push_back(taps.after_attention.to(at::kDouble));
            pass.output.push_back(taps.output.to(at::kDouble));
          }});
  return pass;
}

at::Tensor cosines(const at::Tensor& a, const at::Tensor& b) {
  return (a * b).sum(-1) / (a.norm(2, -1) * b.norm(2, -1));
}

double mean_of(const at::Tensor& x) { return x.mean().item<double>(); }

/// Adds what the passes show, subtask by subtask, and compares it with the record's sums.
class Expected {
 public:
  explicit Expected(const ProbeRecord& record)
      : record_(record),
        layers_(record.model.num_layers),
        sums_(zero_sums(count_subtasks(record), layers_, record.model.hidden_size)) {}

  void add(std::int64_t subtask, const Pass& pass) {
    const auto measured = std::ssize(record_.measured_layers);
    for (std::int64_t l = 0; l < layers_; ++l) {
      if (l < measured) add_layer(subtask, l, pass);
      for (std::int64_t j = l + 1; j < layers_; ++j) {
        const auto of = cosines(pass.input[at(l)], pass.input[at(j)]);
        sums_.window_cosine[at((subtask * layers_ + l) * layers_ + j)] += mean_of(of);
        sums_.last_angle[at((subtask * layers_ + l) * layers_ + j)] += angle(of[-1]);
      }
    }
    ++sums_.count[at(subtask)];
  }

  void compare() const {
    const ProbeSums& found = record_.sums;
    EXPECT_EQ(found.count, sums_.count);
    EXPECT_EQ(found.zero_rows, sums_.zero_rows);
    near("pooled_input", found.pooled_input, sums_.pooled_input);
    near("pooled_output", found.pooled_output, sums_.pooled_output);
    near("window_cosine", found.window_cosine, sums_.window_cosine);
    // Near an angle of zero, arccos turns a rounding of 1e-7 into 5e-4 / pi.
    near("last_angle", found.last_angle, sums_.last_angle, 1e-3);
    near("attention_cosine", found.attention_cosine, sums_.attention_cosine);
    near("mlp_cosine", found.mlp_cosine, sums_.mlp_cosine);
    near("norm_ratio", found.norm_ratio, sums_.norm_ratio);
    near("l2", found.l2, sums_.l2);
  }

 private:
  static std::size_t at(std::int64_t place) { return static_cast<std::size_t>(place); }
  static double angle(const at::Tensor& cosine) {
    return std::acos(std::clamp(cosine.item<double>(), -1.0, 1.0)) / std::numbers::pi;
  }

  void add_layer(std::int64_t subtask, std::int64_t l, const Pass& pass) {
    const auto& x = pass.input[at(l)];
    const auto& u = pass.middle[at(l)];
    const auto& y = pass.output[at(l)];
    const std::int64_t place = subtask * layers_ + l;
    const auto of = cosines(x, y);
    sums_.window_cosine[at(place * layers_ + l)] += mean_of(of);
    sums_.last_angle[at(place * layers_ + l)] += angle(of[-1]);
    sums_.attention_cosine[at(place)] += mean_of(cosines(x, u));
    sums_.mlp_cosine[at(place)] += mean_of(cosines(u, y));
    const auto distance = (y - x).norm(2, -1);
    sums_.norm_ratio[at(place)] += mean_of(distance / y.norm(2, -1));
    sums_.l2[at(place)] += mean_of(distance);
    add_pooled(sums_.pooled_input, place, x);
    add_pooled(sums_.pooled_output, place, y);
  }

  void add_pooled(std::vector<double>& sums, std::int64_t place, const at::Tensor& x) {
    const std::int64_t hidden = x.size(1);
    const std::int64_t step = count_subtasks(record_) * layers_ * hidden;
    const std::vector<at::Tensor> means = {x.mean(0), x.slice(0, 1).mean(0),
                                           (x / x.norm(2, -1, true)).mean(0)};
    for (std::size_t pool = 0; pool < means.size(); ++pool) {
      const double* values = means[pool].const_data_ptr<double>();
      for (std::int64_t i = 0; i < hidden; ++i) {
        sums[pool * at(step) + at(place * hidden + i)] += values[i];
      }
    }
  }

  static void near(const char* name, const std::vector<double>& found,
                   const std::vector<double>& expected, double tolerance = kRounding) {
    ASSERT_EQ(found.size(), expected.size()) << name;
    double largest = 1.0;
    for (const double value : expected) largest = std::max(largest, std::abs(value));
    for (std::size_t i = 0; i < found.size(); ++i) {
      ASSERT_NEAR(found[i], expected[i], tolerance * largest) << name << " at " << i;
    }
  }

  const ProbeRecord& record_;
  std::int64_t layers_;
  ProbeSums sums_;
};

TEST_P(ProbeOf, AddsUpToWhatSeparatePassesShow) {
  const auto fixture = test::open_fixture(GetParam(), "float32");
  const ProbeRecord record = run(fixture.session, "record", {.last_layer = true});
  const ProbeSet set_of = set();
  Expected expected(record);
  std::size_t sample = 0;
  const auto layers = static_cast<std::size_t>(record.model.num_layers);
  for (const ProbeItem& item : set_of.items) {
    for (const ProbeQuestion& question : item.questions) {
      const Pass pass = pass_over(fixture.session, item, question);
      expected.add(question.subtask, pass);
      EXPECT_EQ(record.samples.subtask[sample], question.subtask);
      EXPECT_EQ(record.samples.tokens[sample], pass.visual.size(0));
      EXPECT_EQ(record.samples.visual_tokens[sample], pass.visual.sum().item<std::int64_t>());
      const auto text = pass.visual.logical_not();
      for (std::size_t l = 0; l < layers; ++l) {
        const auto of = cosines(pass.input[l], pass.output[l]);
        const std::size_t place = sample * layers + l;
        EXPECT_NEAR(record.samples.similarity[place], mean_of(of), kRounding);
        EXPECT_NEAR(record.samples.similarity_visual[place], mean_of(of.masked_select(pass.visual)),
                    kRounding);
        EXPECT_NEAR(record.samples.similarity_text[place], mean_of(of.masked_select(text)),
                    kRounding);
      }
      ++sample;
    }
  }
  EXPECT_EQ(record.samples.size(), sample);
  expected.compare();
}

TEST_P(ProbeOf, LeavesTheLastLayerOutUnlessAskedForIt) {
  const auto fixture = test::open_fixture(GetParam(), "float32");
  const ProbeRecord all = run(fixture.session, "all", {.last_layer = true});
  const ProbeRecord record = run(fixture.session, "record");
  const auto layers = static_cast<std::size_t>(record.model.num_layers);
  EXPECT_EQ(record.measured_layers.size(), layers - 1);
  for (std::size_t s = 0; s < record.samples.size(); ++s) {
    EXPECT_TRUE(std::isnan(record.samples.similarity[s * layers + layers - 1]));
    for (std::size_t l = 0; l + 1 < layers; ++l) {
      EXPECT_EQ(record.samples.similarity[s * layers + l], all.samples.similarity[s * layers + l]);
    }
  }
  // Its input is known all the same.
  EXPECT_EQ(record.sums.window_cosine[layers - 1], all.sums.window_cosine[layers - 1]);
}

TEST_P(ProbeOf, DoesNotDependOnHowSamplesArePacked) {
  // In bfloat16 where our own products run, a token's result has the same bits whatever stands
  // beside it; elsewhere sums of float32 come in another order.
  const auto fixture = test::open_fixture(GetParam());
  const bool own =
      __builtin_cpu_supports("avx512bf16") && fixture.session.model.dtype() == at::kBFloat16;
  const auto wide = probe(model_of(fixture.session), set(), scratch_ / "wide", {});
  ASSERT_GT(wide.most_items_a_pass, 1);
  // The least memory that holds one picture: its message names it.
  const std::string error = input_error([&] {
    (void)probe(model_of(fixture.session), set(), scratch_ / "none", {.memory_bytes = 1});
  });
  const std::size_t number = error.find("at least ");
  ASSERT_NE(number, std::string::npos) << error;
  const std::uint64_t least = 1'000'000 * std::stoull(error.substr(number + 9));
  const auto narrow = probe(model_of(fixture.session), set(), scratch_ / "narrow",
                            {.memory_bytes = least + 30'000'000});
  if (own) {
    EXPECT_EQ(fingerprint(narrow.record), fingerprint(wide.record));
  }
  const auto& a = wide.record.samples.similarity;
  const auto& b = narrow.record.samples.similarity;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (std::isnan(a[i])) continue;
    EXPECT_NEAR(a[i], b[i], kRounding);
  }
}

TEST_P(ProbeOf, GoesOnWhereItWasCutOff) {
  const auto fixture = test::open_fixture(GetParam());
  run(fixture.session, "whole", {.most_pictures_a_pass = 1});
  // One picture a pass, saved after each; the callback throws in the place of a kill.
  struct Cut {};
  for (const std::int64_t after : {1, 4}) {
    const std::string name = "cut" + std::to_string(after);
    ProbeOptions options{.save_every_seconds = 0.0};
    options.most_pictures_a_pass = 1;
    options.progress = [&](const ProbeProgress& progress) {
      if (progress.phase == ProbeProgress::Phase::Measuring && progress.items_done == after) {
        throw Cut();
      }
    };
    EXPECT_THROW(run(fixture.session, name, options), Cut);
    EXPECT_THAT(input_error([&] { (void)read_probe_record(scratch_ / name); }),
                HasSubstr("has not ended"));
    options.progress = {};
    run(fixture.session, name, options);
    EXPECT_EQ(test::snapshot(scratch_ / name), test::snapshot(scratch_ / "whole"));
  }
}

TEST_P(ProbeOf, RefusesToGoOnWithAnotherRun) {
  const auto fixture = test::open_fixture(GetParam());
  ProbeOptions options{.described = R"({"limit":null,"seed":0})"};
  options.progress = [](const ProbeProgress& progress) {
    if (progress.phase == ProbeProgress::Phase::Measuring) throw std::runtime_error("cut");
  };
  EXPECT_THROW(run(fixture.session, "record", options), std::runtime_error);
  const auto before = test::snapshot(scratch_ / "record");
  EXPECT_THAT(input_error([&] {
                run(fixture.session, "record", {.described = R"({"limit":3,"seed":0})"});
              }),
              AllOf(HasSubstr("beginning of another probe"), HasSubstr("limit")));
  EXPECT_EQ(test::snapshot(scratch_ / "record"), before);
  run(fixture.session, "record", {.described = R"({"limit":null,"seed":0})"});
  EXPECT_THAT(input_error([&] { run(fixture.session, "record"); }), HasSubstr("finished probe"));
  fs::create_directories(scratch_ / "mine");
  test::write_quickly(scratch_ / "mine" / "thesis.txt", "years of work");
  EXPECT_THAT(input_error([&] { run(fixture.session, "mine", {.force = true}); }),
              HasSubstr("holds no probe"));
  EXPECT_EQ(test::snapshot(scratch_ / "mine").size(), 1U);
}

TEST_P(ProbeOf, CleansUpAfterAKillInItsLastStepsOrInTheFirstOfReplacing) {
  const auto fixture = test::open_fixture(GetParam());
  run(fixture.session, "record");
  const auto whole = test::snapshot(scratch_ / "record");
  fs::create_directories(scratch_ / "record" / "journal");
  test::write_quickly(scratch_ / "record" / ".probe.json.77-0.partial", "{");
  EXPECT_THAT(input_error([&] { run(fixture.session, "record"); }), HasSubstr("finished probe"));
  EXPECT_EQ(test::snapshot(scratch_ / "record"), whole);
  EXPECT_FALSE(fs::exists(scratch_ / "record" / "journal"));
}

TEST_P(ProbeOf, NamesBadPicturesBeforeAnythingRunsOrLeavesThemOut) {
  const auto fixture = test::open_fixture(GetParam());
  test::write_quickly(data_ / "problems" / "bad.png", "no picture");
  fs::copy_file(data_ / "problems" / "a.jpg", data_ / "problems" / "twin.jpg");
  EXPECT_THAT(input_error([&] { run(fixture.session, "record"); }),
              AllOf(HasSubstr("1 of 7 pictures"), HasSubstr("bad.png"), HasSubstr("--skip-bad")));
  EXPECT_FALSE(fs::exists(scratch_ / "record"));
  const ProbeRecord record = run(fixture.session, "record", {.skip_bad = true});
  EXPECT_EQ(record.pictures.size(), 5U);
  ASSERT_EQ(record.skipped.size(), 2U);
  EXPECT_EQ(record.skipped[0].file, "bad.png");
  EXPECT_EQ(record.skipped[1].file, "twin.jpg");
  EXPECT_THAT(record.skipped[1].reason, HasSubstr("same picture and prompt as a.jpg"));
}

INSTANTIATE_TEST_SUITE_P(Models, ProbeOf, testing::Values("gqa_tied", "sharded_bf16"),
                         [](const auto& instance) { return instance.param; });

}  // namespace
}  // namespace espalier
