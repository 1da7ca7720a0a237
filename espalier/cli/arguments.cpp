// SPDX-License-Identifier: Apache-2.0
#include "espalier/cli/arguments.h"

#include <CLI/CLI.hpp>
#include <algorithm>

#include "espalier/base/error.h"

namespace espalier {

namespace {

constexpr const char* kAbout =
    "Espalier makes vision-language models shallower for a chosen domain.\n"
    "It reads and writes Hugging Face checkpoint directories of Qwen3-VL.\n";

/// Letters to change, add or leave out to get from one word to the other.
std::size_t edit_distance(const std::string& from, const std::string& to) {
  std::vector<std::size_t> row(to.size() + 1);
  for (std::size_t j = 0; j <= to.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= from.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= to.size(); ++j) {
      const std::size_t replaced = diagonal + (from[i - 1] == to[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({replaced, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row.back();
}

/// The word of `known` that is most like `word`.
std::string nearest(const std::string& word, const std::vector<std::string>& known) {
  return *std::ranges::min_element(
      known, {}, [&](const std::string& candidate) { return edit_distance(word, candidate); });
}

void add_model(CLI::App& command, std::filesystem::path& model) {
  command.add_option("MODEL", model, "checkpoint directory")->required();
}

void add_prompt(CLI::App& command, PromptArguments& prompt) {
  command.add_option("--image", prompt.images, "picture (JPEG, PNG, WebP); repeat for several")
      ->take_all();
  command.add_option("--prompt", prompt.prompt, "the user's text, after the pictures")->required();
  command.add_option("--system", prompt.system,
                     "system message (default: none, as in the template)");
  command
      .add_option("--special-tokens", prompt.special_tokens,
                  "a special token inside the text: refuse (our default), plain, parse")
      ->check(CLI::IsMember({"refuse", "plain", "parse"}));
}

void add_run(CLI::App& command, RunArguments& run) {
  command.add_option("--device", run.device, "cpu (default), cuda or cuda:N");
  command.add_option("--dtype", run.dtype, "float32 or bfloat16 (default: as stored)")
      ->check(CLI::IsMember({"float32", "bfloat16"}));
  command.add_option("--threads", run.threads, "CPU threads (default: all cores)")
      ->check(CLI::Range(1, 1024));
}

void add_inspect(CLI::App& app, Arguments& chosen) {
  auto* command =
      app.add_subcommand("inspect", "what is in a checkpoint directory, what is wrong with it");
  auto arguments = std::make_shared<InspectArguments>();
  add_model(*command, arguments->model);
  command->add_flag("--json", arguments->json, "print JSON");
  command->footer(
      "Examples:\n  espalier inspect Qwen3-VL-2B-Instruct\n  espalier inspect .demo/model --json");
  command->callback([&chosen, arguments] { chosen = *arguments; });
}

void add_init(CLI::App& app, Arguments& chosen) {
  auto* command = app.add_subcommand("init", "write a checkpoint with seeded random weights");
  auto arguments = std::make_shared<InitArguments>();
  command->add_option("OUT", arguments->out, "directory to write")->required();
  command->add_option("--preset", arguments->preset, "tiny, 2b, 4b or 8b")->required();
  command->add_option("--tokenizer", arguments->tokenizer,
                      "directory whose tokenizer files to copy (default: 256 byte tokens)");
  command->add_option("--seed", arguments->seed, "seed of the weights (default 0)");
  command->add_flag("--force", arguments->force, "replace an existing directory");
  command->add_flag("--quiet", arguments->quiet, "no talk on stderr");
  command->footer(
      "Examples:\n  espalier init tiny --preset tiny\n  espalier init big --preset 2b --tokenizer "
      "Qwen3-VL-2B-Instruct --seed 1");
  command->callback([&chosen, arguments] { chosen = *arguments; });
}

void add_generate(CLI::App& app, Arguments& chosen) {
  auto* command = app.add_subcommand("generate", "answer a prompt about pictures");
  auto arguments = std::make_shared<GenerateArguments>();
  add_model(*command, arguments->model);
  add_prompt(*command, arguments->prompt);
  command
      ->add_option("--max-new-tokens", arguments->max_new_tokens,
                   "longest answer (our default: 128)")
      ->check(CLI::Range(1, 1 << 20));
  auto* greedy =
      command->add_flag("--greedy", arguments->greedy, "take the most likely token at every step");
  command->add_flag("--sample", arguments->sample, "draw each token")->excludes(greedy);
  command->add_option("--temperature", arguments->temperature, "of the draw")->excludes(greedy);
  command->add_option("--top-k", arguments->top_k, "draw from the k most likely; 0: off")
      ->excludes(greedy);
  command->add_option("--top-p", arguments->top_p, "draw from the likeliest that reach p; 1: off")
      ->excludes(greedy);
  command->add_option("--repetition-penalty", arguments->repetition_penalty, "1: off");
  command->add_option("--seed", arguments->seed, "seed of the draw (default 0)");
  add_run(*command, arguments->run);
  command->add_flag("--json", arguments->json, "print one JSON object instead of streaming");
  command->add_flag("--quiet", arguments->quiet, "no talk on stderr");
  command->footer(
      "What is not given comes from the checkpoint's generation_config.json.\n\n"
      "Examples:\n  espalier generate MODEL --image cat.jpg --prompt \"Describe this image.\"\n"
      "  espalier generate MODEL --image a.png --image b.png --prompt \"What changed?\" --greedy");
  command->callback([&chosen, arguments] { chosen = *arguments; });
}

void add_trace(CLI::App& app, Arguments& chosen) {
  auto* command = app.add_subcommand("trace", "save the value after every stage of a pass");
  auto arguments = std::make_shared<TraceArguments>();
  add_model(*command, arguments->model);
  add_prompt(*command, arguments->prompt);
  command->add_option("--out", arguments->out, "safetensors file to write")->required();
  command
      ->add_option("--max-new-tokens", arguments->max_new_tokens,
                   "also generate greedily (default 0)")
      ->check(CLI::Range(0, 1 << 20));
  command->add_flag("--all-logits", arguments->all_logits,
                    "logits of all positions, not the last 8");
  add_run(*command, arguments->run);
  command->add_flag("--force", arguments->force, "replace an existing file");
  command->add_flag("--quiet", arguments->quiet, "no talk on stderr");
  command->footer(
      "Examples:\n  espalier trace MODEL --image a.jpg --prompt \"Hi\" --out trace.safetensors\n"
      "  espalier trace MODEL --prompt \"Hi\" --out t.safetensors --dtype float32 --max-new-tokens "
      "8");
  command->callback([&chosen, arguments] { chosen = *arguments; });
}

/// An unknown word where a command or an option was wanted, with the nearest that there is.
std::string explain_unknown(const CLI::App& app, const std::string& word) {
  std::vector<std::string> known;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    known.push_back(command->get_name());
  }
  for (const CLI::App* command : app.get_subcommands()) {
    known.clear();
    for (const CLI::Option* option : command->get_options()) {
      if (option->nonpositional()) known.push_back(option->get_name());
    }
  }
  return fmt::format("unknown argument {}; did you mean {}? (known: {})", word,
                     nearest(word, known), fmt::join(known, ", "));
}

}  // namespace

Arguments parse_arguments(int argc, const char* const* argv) {
  CLI::App app(kAbout, "espalier");
  app.set_version_flag("--version", "espalier " ESPALIER_VERSION);
  app.require_subcommand(1);
  app.get_formatter()->column_width(32);
  Arguments chosen;
  add_inspect(app, chosen);
  add_init(app, chosen);
  add_generate(app, chosen);
  add_trace(app, chosen);
  app.footer("espalier COMMAND --help says more.");
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    return HelpText{app.help()};
  } catch (const CLI::CallForVersion&) {
    return HelpText{app.version() + "\n"};
  } catch (const CLI::ExtrasError&) {
    const auto remaining = app.remaining(/*recurse=*/true);
    throw InputError(explain_unknown(app, remaining.front()));
  } catch (const CLI::RequiredError& error) {
    if (app.get_subcommands().empty()) {
      const auto remaining = app.remaining();
      if (!remaining.empty()) throw InputError(explain_unknown(app, remaining.front()));
      throw InputError("want a command: inspect, init, generate or trace; see espalier --help");
    }
    throw InputError(fmt::format("{}; see espalier {} --help", error.what(),
                                 app.get_subcommands().front()->get_name()));
  } catch (const CLI::ParseError& error) {
    throw InputError(error.what());
  }
  return chosen;
}

}  // namespace espalier
