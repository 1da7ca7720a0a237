// SPDX-License-Identifier: Apache-2.0
#include "espalier/synth/samples.h"

#include <fmt/format.h>

#include <numeric>

#include "espalier/base/error.h"
#include "espalier/base/hash.h"
#include "espalier/base/words.h"
#include "espalier/synth/painter.h"
#include "espalier/synth/problem_answers.h"
#include "espalier/synth/scenes.h"
#include "espalier/synth/style.h"

namespace espalier {

namespace {

/// A stream of random numbers for each picture of each split and seed.
Random random_of(std::string_view domain, const SampleSource& source) {
  const std::string key =
      fmt::format("{} {} {} {}", domain, name_of(source.split), source.seed, source.index);
  const auto hash = xxh3_128({std::as_bytes(std::span(key.data(), key.size()))});
  std::uint64_t seed = 0;
  std::uint64_t stream = 0;
  for (std::size_t i = 0; i < 8; ++i) {
    seed = seed << 8 | hash[i];
    stream = stream << 8 | hash[i + 8];
  }
  return Random(seed, stream);
}

ProblemKind draw_kind(const std::vector<KindWeight>& kinds, Random& random) {
  const std::uint64_t sum = std::accumulate(
      kinds.begin(), kinds.end(), std::uint64_t{0},
      [](std::uint64_t so_far, const KindWeight& kind) { return so_far + kind.weight; });
  std::uint64_t place = random.below(sum);
  for (const auto& [kind, weight] : kinds) {
    if (place < weight) return kind;
    place -= weight;
  }
  throw std::logic_error("a place beyond all weights");
}

const std::string& prompt_of(const SynthPrompts& prompts, const std::string& name) {
  const auto prompt = prompts.find(name);
  assume(prompt != prompts.end(), "every prompted subtask has a prompt");
  return prompt->second;
}

}  // namespace

const std::vector<std::string>& subtasks_of(std::string_view domain) {
  static const std::vector<std::string> math = {"cot", "direct", "rephrase", "formalize", "verify"};
  static const std::vector<std::string> scenes = {"caption",   "entities",       "counting",
                                                  "grounding", "count-by-shape", "count-by-colour"};
  if (domain == "math") return math;
  if (domain == "scenes") return scenes;
  throw InputError(unknown_word("domain", std::string(domain), {"math", "scenes"}));
}

std::vector<std::string> prompted_subtasks_of(std::string_view domain) {
  std::vector<std::string> names = subtasks_of(domain);
  std::erase_if(names, [](const std::string& name) { return name.starts_with("count-by-"); });
  return names;
}

SynthSample draw_math_sample(const SampleSource& source, const std::vector<KindWeight>& kinds,
                             const SynthPrompts& prompts, const Typesetter* typesetter, int scale) {
  Random random = random_of("math", source);
  const Problem problem = draw_problem(draw_kind(kinds, random), source.split, random);
  SynthSample sample{.kind = std::string(name_of(problem.kind))};
  std::string in_text;
  if (typesetter != nullptr) {
    const ProblemStyle style = draw_problem_style(random);
    sample.image = draw(problem, style, *typesetter, scale);
    add_noise(sample.image, style.noise, random);
  } else {
    in_text = "\n" + question_of(problem);
  }
  const ProblemAnswers answers = answers_of(problem);
  const auto say = [&](const std::string& subtask, const std::string& answer) {
    sample.turns.push_back({subtask, prompt_of(prompts, "math/" + subtask) + in_text, answer});
  };
  say("cot", answers.cot);
  say("direct", answers.direct);
  say("rephrase", answers.rephrase);
  say("formalize", answers.formalize);
  say("verify", answers.verify);
  const auto& cot = sample.turns[0];
  const auto& direct = sample.turns[1];
  sample.questions = {{"direct", sample.kind, direct.prompt, answers.direct, "exact"},
                      {"cot", sample.kind, cot.prompt, answers.direct, "final"}};
  return sample;
}

SynthSample draw_scene_sample(const SampleSource& source, const SynthPrompts& prompts, int scale) {
  Random random = random_of("scenes", source);
  const Scene scene = draw_scene(source.split, random);
  const SceneStyle style = draw_scene_style(scene, random);
  const std::size_t count = scene.objects.size();
  SynthSample sample{.kind = fmt::format("{} object{}", count, count == 1 ? "" : "s"),
                     .image = draw(scene, style, scale)};
  add_noise(sample.image, style.noise, random);
  const SceneAnswers answers = answers_of(scene);
  const std::string& caption = prompt_of(prompts, "scenes/caption");
  const std::string& counting = prompt_of(prompts, "scenes/counting");
  const std::string by_shape = shape_question_of(scene);
  const std::string by_colour = colour_question_of(scene);
  sample.turns = {{"caption", caption, answers.caption},
                  {"entities", prompt_of(prompts, "scenes/entities"), answers.entities},
                  {"counting", counting, answers.counting},
                  {"grounding", prompt_of(prompts, "scenes/grounding"), answers.grounding},
                  {"count-by-shape", by_shape, answers.count_by_shape},
                  {"count-by-colour", by_colour, answers.count_by_colour}};
  sample.questions = {
      {"counting", "count", counting, answers.counting, "exact"},
      {"caption", "caption", caption, answers.caption, "exact"},
      {"count-by-shape", "count by shape", by_shape, answers.count_by_shape, "exact"},
      {"count-by-colour", "count by colour", by_colour, answers.count_by_colour, "exact"}};
  return sample;
}

}  // namespace espalier
