// SPDX-License-Identifier: Apache-2.0
#include "espalier/cli/arguments.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cmath>
#include <utility>

#include "espalier/base/error.h"
#include "espalier/base/words.h"

namespace espalier {

namespace {

constexpr const char* kAbout =
    "Espalier makes vision-language models shallower for a chosen domain.\n"
    "It reads and writes Hugging Face checkpoint directories of Qwen3-VL.\n";

// What a value must be. CLI11 has such checks too, but says "not in range" and lets -1 be a seed.

CLI::Validator one_of(const std::vector<std::string>& words) {
  return {[words](const std::string& found) {
            if (std::ranges::find(words, found) != words.end()) return std::string();
            return fmt::format("wanted {}, found {}", alternatives(words), found);
          },
          /*validator_desc=*/""};
}

/// \return  whether all of a text is one number
template <typename Number>
bool read_number(const std::string& text, Number& number) {
  const auto* end = text.data() + text.size();
  const auto [last, error] = std::from_chars(text.data(), end, number);
  return error == std::errc() && last == end;
}

CLI::Validator whole_number(std::uint64_t least, std::uint64_t most) {
  return {[=](const std::string& found) {
            std::uint64_t number = 0;
            if (read_number(found, number) && least <= number && number <= most) {
              return std::string();
            }
            return fmt::format("wanted a whole number from {} to {}, found {}", least, most, found);
          },
          /*validator_desc=*/""};
}

CLI::Validator number() {
  return {[](const std::string& found) {
            double value = 0.0;
            if (read_number(found, value) && std::isfinite(value)) return std::string();
            return fmt::format("wanted a number, found {}", found);
          },
          /*validator_desc=*/""};
}

constexpr std::uint64_t kMany = 1 << 20;
constexpr std::uint64_t kMostWorkers = 1024;

constexpr double kMostBytes = 1e15;
/// Upper case: 5gb means the same, and a bare K is 1024, as in tar or dd.
constexpr auto kByteUnits = std::to_array<std::pair<std::string_view, double>>({{"", 1.0},
                                                                                {"B", 1.0},
                                                                                {"K", 0x1p10},
                                                                                {"KB", 1e3},
                                                                                {"KIB", 0x1p10},
                                                                                {"M", 0x1p20},
                                                                                {"MB", 1e6},
                                                                                {"MIB", 0x1p20},
                                                                                {"G", 0x1p30},
                                                                                {"GB", 1e9},
                                                                                {"GIB", 0x1p30}});

/// A command and its arguments, which are the chosen ones once it is given.
template <typename Command>
std::pair<CLI::App&, Command&> add_command(CLI::App& app, Arguments& chosen, const char* name,
                                           const char* about, const char* footer) {
  auto arguments = std::make_shared<Command>();
  CLI::App* command = app.add_subcommand(name, about);
  command->group("Commands");
  command->footer(footer);
  command->callback([&chosen, arguments] { chosen = *arguments; });
  return {*command, *arguments};
}

void add_flag(CLI::App& command, const char* name, bool& flag, const char* about) {
  command.add_flag(name, flag, about)->disable_flag_override();
}

void add_model(CLI::App& command, std::filesystem::path& model) {
  command.add_option("MODEL", model, "checkpoint directory, or a plan file")->required();
}

void add_base(CLI::App& command, std::filesystem::path& base) {
  command.add_option("--base", base, "where a plan's base lies now (default: where the plan says)");
}

/// A number of bytes: "1.5GiB", "400MB", "2g" or plain; none for anything else.
std::optional<std::uint64_t> read_bytes(const std::string& text) {
  double value = 0.0;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, value, std::chars_format::fixed);
  std::string unit(rest, end);
  std::ranges::transform(unit, unit.begin(), [](unsigned char letter) {
    return static_cast<char>(std::toupper(letter));
  });
  const auto* const scale =
      std::ranges::find(kByteUnits, unit, &std::pair<std::string_view, double>::first);
  if (error != std::errc() || scale == kByteUnits.end()) return std::nullopt;
  const double bytes = value * scale->second;
  if (!(bytes >= 1.0 && bytes <= kMostBytes)) return std::nullopt;
  return static_cast<std::uint64_t>(bytes);
}

/// An option that takes a number of bytes.
CLI::Option* add_bytes(CLI::App& command, const char* name, std::optional<std::uint64_t>& bytes,
                       const char* about) {
  const auto read = [&bytes, name](const std::string& found) {
    bytes = read_bytes(found);
    if (!bytes) {
      throw CLI::ValidationError(
          name, fmt::format("wanted a size such as 1.5GiB or 400MB, found {}", found));
    }
  };
  return command.add_option_function<std::string>(name, read, about)->type_name("SIZE");
}

void add_prompt(CLI::App& command, PromptArguments& prompt) {
  command.add_option("--image", prompt.images, "picture (JPEG, PNG, WebP); repeat for several")
      ->allow_extra_args(false);
  command.add_option("--prompt", prompt.prompt, "the user's text, after the pictures")->required();
  command.add_option("--system", prompt.system,
                     "system message (default: none, as in the template)");
  command
      .add_option("--special-tokens", prompt.special_tokens,
                  "a special token inside the text: refuse (our default), plain, parse")
      ->check(one_of({"refuse", "plain", "parse"}));
}

void add_run(CLI::App& command, RunArguments& run) {
  command.add_option("--device", run.device, "cpu (default), cuda or cuda:N");
  command.add_option("--dtype", run.dtype, "float32 or bfloat16 (default: as stored)")
      ->check(one_of({"float32", "bfloat16"}));
  command.add_option("--threads", run.threads, "CPU threads (default: all cores)")
      ->check(whole_number(1, 1024));
  add_base(command, run.base);
}

void add_inspect(CLI::App& app, Arguments& chosen) {
  const auto [command, arguments] = add_command<InspectArguments>(
      app, chosen, "inspect", "what is in a checkpoint directory, what is wrong with it",
      "Examples:\n  espalier inspect Qwen3-VL-2B-Instruct\n"
      "  espalier inspect .demo/model --json");
  add_model(command, arguments.model);
  add_base(command, arguments.base);
  add_flag(command, "--json", arguments.json, "print one JSON object");
}

void add_init(CLI::App& app, Arguments& chosen) {
  const auto [command, arguments] = add_command<InitArguments>(
      app, chosen, "init", "write a checkpoint with seeded random weights",
      "Examples:\n  espalier init tiny --preset tiny\n  espalier init big --preset 2b --tokenizer "
      "Qwen3-VL-2B-Instruct --seed 1");
  command.add_option("OUT", arguments.out, "directory to write")->required();
  command.add_option("--preset", arguments.preset, "tiny, small, 2b, 4b or 8b")->required();
  command.add_option("--tokenizer", arguments.tokenizer,
                     "directory whose tokenizer files to copy (default: 256 byte tokens)");
  command.add_option("--seed", arguments.seed, "seed of the weights (default 0)")
      ->check(whole_number(0, UINT64_MAX));
  add_flag(command, "--force", arguments.force, "replace an existing directory");
  add_flag(command, "--json", arguments.json, "print one JSON object about what was written");
  add_flag(command, "--quiet", arguments.quiet, "no talk on stderr");
}

void add_generate(CLI::App& app, Arguments& chosen) {
  const auto [command, arguments] = add_command<GenerateArguments>(
      app, chosen, "generate", "answer a prompt about pictures",
      "What is not given comes from the checkpoint's generation_config.json.\n\n"
      "Examples:\n  espalier generate MODEL --image cat.jpg --prompt \"Describe this image.\"\n"
      "  espalier generate MODEL --image a.png --image b.png --prompt \"What changed?\" --greedy");
  add_model(command, arguments.model);
  add_prompt(command, arguments.prompt);
  command
      .add_option("--max-new-tokens", arguments.max_new_tokens, "longest answer (our default: 128)")
      ->check(whole_number(1, kMany));
  add_flag(command, "--greedy", arguments.greedy, "take the most likely token at every step");
  add_flag(command, "--sample", arguments.sample, "draw each token");
  command.add_option("--temperature", arguments.temperature, "of the draw")->check(number());
  command.add_option("--top-k", arguments.top_k, "draw from the k most likely; 0: off")
      ->check(whole_number(0, kMany));
  command.add_option("--top-p", arguments.top_p, "draw from the likeliest that reach p; 1: off")
      ->check(number());
  command.add_option("--repetition-penalty", arguments.repetition_penalty, "1: off")
      ->check(number());
  command.add_option("--seed", arguments.seed, "seed of the draw (default 0)")
      ->check(whole_number(0, UINT64_MAX));
  add_run(command, arguments.run);
  add_flag(command, "--json", arguments.json, "print one JSON object instead of streaming");
  add_flag(command, "--quiet", arguments.quiet, "no talk on stderr");
}

void add_trace(CLI::App& app, Arguments& chosen) {
  const auto [command, arguments] = add_command<TraceArguments>(
      app, chosen, "trace", "save the value after every stage of a pass",
      "Examples:\n  espalier trace MODEL --image a.jpg --prompt \"Hi\" --out trace.safetensors\n"
      "  espalier trace MODEL --prompt \"Hi\" --out t.safetensors --dtype float32 --max-new-tokens "
      "8");
  add_model(command, arguments.model);
  add_prompt(command, arguments.prompt);
  command.add_option("--out", arguments.out, "safetensors file to write")->required();
  command
      .add_option("--max-new-tokens", arguments.max_new_tokens,
                  "also generate greedily (default 0)")
      ->check(whole_number(0, kMany));
  add_flag(command, "--all-logits", arguments.all_logits,
           "logits of all positions, not the last 8");
  add_run(command, arguments.run);
  add_flag(command, "--force", arguments.force, "replace an existing file");
  add_flag(command, "--json", arguments.json, "print one JSON object about what was written");
  add_flag(command, "--quiet", arguments.quiet, "no talk on stderr");
}

void add_probe(CLI::App& app, Arguments& chosen) {
  const auto [command, arguments] = add_command<ProbeArguments>(
      app, chosen, "probe", "measure the layers on pictures of your own",
      "Without --prompts, domains `math` and `nonmath` have the paper's nine prompts; a domain of "
      "another\nname needs a prompts file, or JSONL rows with prompts.\n"
      "The same command again goes on with a run that was cut off.\n\n"
      "Examples:\n  espalier probe MODEL --domain math=problems/ --domain nonmath=photos/ --out "
      "run/probe\n  espalier probe MODEL --domain charts=charts.jsonl --prompts my.toml --limit "
      "200 "
      "--out run/probe\n  espalier probe --merge run/a run/b --out run/probe");
  command.add_option("MODEL", arguments.model, "checkpoint directory");
  command
      .add_option("--domain", arguments.domains,
                  "NAME=FOLDER of pictures or NAME=FILE.jsonl; repeat for several")
      ->allow_extra_args(false);
  command.add_option("--merge", arguments.merge, "join records over different pictures instead")
      ->expected(2, static_cast<int>(kMany));
  command.add_option("--prompts", arguments.prompts,
                     "TOML file of domains, subtasks and prompts (default: the paper's nine)");
  command
      .add_option("--pairing", arguments.pairing,
                  "all: every prompt for every picture (default); round-robin: one each, in turn")
      ->check(one_of({"all", "round-robin"}));
  command
      .add_option("--limit", arguments.limit, "pictures a domain, drawn with --seed (default: all)")
      ->check(whole_number(1, kMany << 10));
  command.add_option("--seed", arguments.seed, "seed of the draw (default 0)")
      ->check(whole_number(0, UINT64_MAX));
  add_flag(command, "--last-layer", arguments.last_layer,
           "also measure the last layer, which is never removed");
  add_flag(command, "--skip-bad", arguments.skip_bad,
           "leave out pictures that cannot be used, and say which");
  add_bytes(command, "--memory", arguments.memory_bytes,
            "most memory of the whole program, e.g. 1.5GiB (default: the weights and 0.4 GB)");
  command
      .add_option("--save-every", arguments.save_every_seconds,
                  "seconds of work that a kill may cost (default 30)")
      ->check(number());
  add_run(command, arguments.run);
  command.add_option("--out", arguments.out, "folder for the record")->required();
  add_flag(command, "--force", arguments.force, "replace an existing record");
  add_flag(command, "--json", arguments.json, "print one JSON object about what was measured");
  add_flag(command, "--quiet", arguments.quiet, "no talk on stderr");
}

/// What CLI11 cannot say of a probe: a model with domains, or records to join.
void check_probe(const ProbeArguments& arguments) {
  constexpr const char* kHelp = "see espalier probe --help";
  if (!arguments.merge.empty()) {
    require(arguments.model.empty() && arguments.domains.empty(),
            "--merge joins records and runs no model: leave MODEL and --domain out; {}", kHelp);
    return;
  }
  require(!arguments.model.empty(), "wanted MODEL, a checkpoint directory; {}", kHelp);
  require(!arguments.domains.empty(), "wanted at least one --domain NAME=SOURCE; {}", kHelp);
}

/// A whole number of at least 1 that is counted as signed.
template <typename Target>
CLI::Option* add_count(CLI::App& command, const char* name, Target& target, const char* about) {
  return command.add_option(name, target, about)->check(whole_number(1, kMany));
}

void add_rank(CLI::App& app, Arguments& chosen) {
  const auto [command, arguments] = add_command<RankArguments>(
      app, chosen, "rank", "rank the layers of a probe record, choose those that go",
      "Examples:\n  espalier rank R --out ranking.json\n"
      "  espalier rank R --all --budget 25% --protect 0-2 --out ranking.json");
  command.add_option("PROBE", arguments.probe, "folder that espalier probe wrote")->required();
  command
      .add_option("--criterion", arguments.criteria,
                  "repeat for several (default: the paper's: each domain, mixed, cka, "
                  "interlace-paper, random)")
      ->allow_extra_args(false);
  add_flag(command, "--all", arguments.all, "every criterion that the record supports");
  command
      .add_option("--alpha", arguments.alpha, "Eq. 9: weight of the second domain (default 0.7)")
      ->check(number());
  command.add_option("--weights", arguments.weights, "of mixed, instead: math=0.3,nonmath=0.7");
  command
      .add_option("--average", arguments.average,
                  "a domain's mean is over its samples (default, Eq. 7) or subtasks")
      ->check(one_of({"samples", "subtasks"}));
  command.add_option("--rule", arguments.rule,
                     "topk, contiguous, min-gap, max-run or triplets (default: the criterion's)");
  add_count(command, "--min-gap", arguments.min_gap,
            "rule min-gap: layers kept between two removed ones (our default 1)");
  add_count(command, "--max-run", arguments.max_run,
            "rule max-run: most neighbours removed in a row (our default 2)");
  command
      .add_option("--overflow", arguments.overflow,
                  "where triplets do not reach K: stages (our default), gap-dp, error")
      ->check(one_of({"stages", "gap-dp", "error"}));
  command
      .add_option("--budget", arguments.budgets,
                  "share of the prunable layers; repeat (default 10%, 25%, 40%)")
      ->allow_extra_args(false);
  add_count(command, "--remove", arguments.remove, "number of layers instead; repeat")
      ->allow_extra_args(false);
  command.add_option("--protect", arguments.protect,
                     "layers that stay beside the first and the last: 0-2,17");
  command.add_option("--bootstrap", arguments.bootstrap, "resamples (our default 1000); 0: none")
      ->check(whole_number(0, kMany));
  command.add_option("--seed", arguments.seed, "of random and the bootstrap (default 0)")
      ->check(whole_number(0, UINT64_MAX));
  command.add_option("--out", arguments.out, "JSON file to write")->required();
  add_flag(command, "--force", arguments.force, "replace an existing file");
  add_flag(command, "--json", arguments.json, "print what is written instead of tables");
  add_flag(command, "--quiet", arguments.quiet, "no talk on stderr");
}

void add_prune(CLI::App& app, Arguments& chosen) {
  const auto [command, arguments] = add_command<PruneArguments>(
      app, chosen, "prune", "write a checkpoint, or a plan, without some decoder layers",
      "Examples:\n  espalier prune MODEL --ranking ranking.json --budget 25% --out PRUNED\n"
      "  espalier prune MODEL --layers 3,7-9 --map-only --out plan.json");
  add_model(command, arguments.model);
  add_base(command, arguments.base);
  command.add_option("--ranking", arguments.ranking, "what espalier rank wrote");
  command.add_option("--criterion", arguments.criterion,
                     "of the ranking (our default: mixed, or the only one)");
  command.add_option("--rule", arguments.rule,
                     "how scores become layers (default: the ranking's, else topk)");
  command.add_option("--budget", arguments.budget, "share of the prunable layers: 25%, 0.25, 1/4");
  command.add_option("--remove", arguments.remove, "number of layers instead")
      ->check(whole_number(1, kMany));
  command.add_option("--layers", arguments.layers, "the layers to remove: 3,7-9");
  command.add_option("--protect", arguments.protect,
                     "layers that stay, beside the first and the last: 1-2");
  command.add_option("--out", arguments.out, "directory (with --map-only: file) to write");
  add_flag(command, "--map-only", arguments.map_only, "write the plan alone, no weights");
  add_flag(command, "--dry-run", arguments.dry_run, "write nothing, say what would be");
  add_bytes(command, "--shard-size", arguments.shard_bytes,
            "most bytes of weights in a file: 5GB (default: as the base)");
  command.add_option("--base-name", arguments.base_name,
                     "the base's name for the model card (default: its directory's)");
  add_flag(command, "--force", arguments.force, "replace an existing output");
  add_flag(command, "--json", arguments.json, "print one JSON object: the plan");
  add_flag(command, "--quiet", arguments.quiet, "no talk on stderr");
}

/// \throws InputError  for options of `prune` that miss or exclude one another
void check_prune(const PruneArguments& prune) {
  constexpr const char* kHelp = "see espalier prune --help";
  require(prune.ranking.empty() != prune.layers.empty(),
          "wanted --ranking or --layers, found {}; {}", prune.layers.empty() ? "neither" : "both",
          kHelp);
  require(prune.out.empty() != !prune.dry_run, "{}; {}",
          prune.dry_run ? "--dry-run writes nothing: leave --out out" : "--out is required", kHelp);
  const bool has_budget = !prune.budget.empty();
  if (!prune.layers.empty()) {
    const char* surplus = !prune.criterion.empty() ? "--criterion"
                          : !prune.rule.empty()    ? "--rule"
                          : has_budget             ? "--budget"
                          : prune.remove           ? "--remove"
                                                   : "";
    require(*surplus == '\0', "--layers and {} exclude each other; leave one out; {}", surplus,
            kHelp);
  } else {
    require(has_budget != prune.remove.has_value(),
            "--ranking: wanted --budget or --remove, found {}; {}", has_budget ? "both" : "neither",
            kHelp);
  }
  require(!prune.map_only || prune.dry_run || prune.out.extension() == ".json",
          "--map-only: wanted --out with a name that ends in .json, found {}", prune.out.string());
  require(!prune.map_only || !prune.shard_bytes,
          "--map-only writes no weights: leave --shard-size out; {}", kHelp);
}

/// What is trained, and from what.
void add_objective(CLI::App& command, FinetuneArguments& arguments) {
  command.add_option("--train", arguments.train,
                     "lora (default), all, or a list of decoder, vision, projector, embedding, "
                     "layers:4-9; lora:4-9 for some layers");
  command.add_option("--teacher", arguments.teacher, "the unpruned parent to learn from");
  command
      .add_option("--loss", arguments.loss,
                  "sft: next token (default); kd: the teacher's distribution; kd+hidden: its "
                  "hidden states across gaps too")
      ->check(one_of({"sft", "kd", "kd+hidden"}));
  add_flag(command, "--control", arguments.control,
           "train the unpruned teacher by the same recipe: what does the recipe itself cost?");
  command
      .add_option("--kd-share", arguments.teacher_share,
                  "share of the divergence in the loss, the rest is next token (default 1)")
      ->check(number());
  command.add_option("--temperature", arguments.temperature, "of the divergence (default 1)")
      ->check(number());
  command
      .add_option("--kd-top-k", arguments.top_k,
                  "the teacher's likeliest tokens by themselves, the rest as one class "
                  "(default: all by themselves)")
      ->check(whole_number(1, kMany << 20));
  command
      .add_option("--hidden-weight", arguments.hidden_weight,
                  "what hidden states count with kd+hidden (default 1)")
      ->check(number());
  add_flag(command, "--balance", arguments.balance,
           "scale the hidden states' loss to the divergence");
  command.add_option("--lora-rank", arguments.lora_rank, "default 32")
      ->check(whole_number(1, kMany));
  command.add_option("--lora-alpha", arguments.lora_alpha, "default 64")->check(number());
  command.add_option("--lora-dropout", arguments.lora_dropout, "default 0.05")->check(number());
  command.add_option("--lora-targets", arguments.lora_targets,
                     "products that get adapters, with commas (default: all seven of a layer)");
}

/// How it is trained.
void add_recipe(CLI::App& command, FinetuneArguments& arguments) {
  command
      .add_option("--preset", arguments.preset,
                  "paper: rate 2e-5, no warm-up (default); high-rate: 1e-4, 3 % warm-up")
      ->check(one_of({"paper", "high-rate"}));
  command.add_option("--optimizer", arguments.optimizer, "adamw (default), or muon for matrices")
      ->check(one_of({"adamw", "muon"}));
  command.add_option("--learning-rate", arguments.learning_rate, "AdamW's, at the peak")
      ->check(number());
  command.add_option("--muon-rate", arguments.muon_rate, "Muon's, at the peak (default 0.015)")
      ->check(number());
  command.add_option("--warmup", arguments.warmup, "share of the steps")->check(number());
  command.add_option("--schedule", arguments.schedule, "cosine (default) or constant")
      ->check(one_of({"cosine", "constant"}));
  command.add_option("--floor", arguments.floor, "share of the rate at the end (default 0)")
      ->check(number());
  command.add_option("--weight-decay", arguments.weight_decay, "default 0.1")->check(number());
  command.add_option("--beta1", arguments.beta1, "default 0.9")->check(number());
  command.add_option("--beta2", arguments.beta2, "default 0.999")->check(number());
  command.add_option("--clip", arguments.clip, "norm of the gradient (default 1; 0: none)")
      ->check(number());
  command.add_option("--batch", arguments.batch, "samples a step (default 64)")
      ->check(whole_number(1, kMany << 10));
  command.add_option("--epochs", arguments.epochs, "default 1")->check(whole_number(1, kMany));
  command.add_option("--steps", arguments.steps, "in the place of epochs")
      ->check(whole_number(1, kMany << 10));
  command
      .add_option("--normalize", arguments.normalize,
                  "tokens: each label counts alike (default); samples: each sample does")
      ->check(one_of({"tokens", "samples"}));
  command.add_option("--seed", arguments.seed, "of adapters, order and dropout (default 0)")
      ->check(whole_number(0, UINT64_MAX));
}

void add_finetune(CLI::App& app, Arguments& chosen) {
  const auto [command, arguments] = add_command<FinetuneArguments>(
      app, chosen, "finetune", "heal a pruned model, or train any part of one",
      "Rank, alpha, dropout, rate, decay, schedule and batch are the paper's; the rest is ours.\n"
      "The same command again goes on with a run that was cut off.\n\n"
      "Examples:\n  espalier finetune PRUNED --data train.jsonl --out run/adapter\n"
      "  espalier finetune PRUNED --teacher MODEL --loss kd+hidden --data train.jsonl "
      "--out run/adapter --merge-to HEALED");
  command.add_option("MODEL", arguments.model, "checkpoint directory or plan")->required();
  command.add_option("--data", arguments.data, "JSONL of conversations; repeat for several")
      ->required()
      ->allow_extra_args(false);
  command.add_option("--val", arguments.validation, "the same, held out")->allow_extra_args(false);
  command
      .add_option("--questions", arguments.questions,
                  "questions as eval asks them, held out: exact match")
      ->allow_extra_args(false);
  command
      .add_option("--question-limit", arguments.question_limit,
                  "questions a file, drawn with --seed (default: all)")
      ->check(whole_number(1, kMany << 10));
  command.add_option("--image-root", arguments.image_root,
                     "what pictures' paths are relative to (default: their file)");
  add_objective(command, arguments);
  add_recipe(command, arguments);
  command.add_option("--max-length", arguments.max_length, "tokens of a sample (default 8192)")
      ->check(whole_number(1, kMany << 10));
  command
      .add_option("--long-samples", arguments.long_samples,
                  "drop: leave longer samples out, counted (default); error")
      ->check(one_of({"drop", "error"}));
  add_flag(command, "--skip-bad", arguments.skip_bad, "leave out rows that cannot be used");
  command
      .add_option("--pack-tokens", arguments.pack_tokens, "tokens that run together (default 4096)")
      ->check(whole_number(1, kMany << 10));
  command
      .add_option("--workers", arguments.workers,
                  "packs that run at a time, a thread each: faster for models of a few million "
                  "parameters (default 1: one pack on all threads)")
      ->check(whole_number(1, kMostWorkers));
  add_bytes(command, "--memory", arguments.memory_bytes,
            "most memory of the whole program; layers run again as it asks");
  command.add_option(
      "--cache-vision", arguments.cache_vision,
      "folder for what the frozen vision tower makes of each picture; runs may share "
      "it");
  add_bytes(command, "--cache-size", arguments.cache_bytes,
            "most that folder may hold (default 10GiB)");
  command
      .add_option("--validate-every", arguments.validate_every, "steps (default: at the end alone)")
      ->check(whole_number(1, kMany << 10));
  command
      .add_option("--save-every", arguments.save_every_seconds,
                  "seconds of work that a kill may cost (default 60)")
      ->check(number());
  add_run(command, arguments.run);
  command.add_option("--out", arguments.out, "folder of the run, and of the adapter")->required();
  command.add_option("--merge-to", arguments.merge_to, "also write the trained checkpoint");
  add_flag(command, "--force", arguments.force, "replace what a former run left");
  add_flag(command, "--json", arguments.json, "print one JSON object about the run");
  add_flag(command, "--quiet", arguments.quiet, "no talk on stderr");
}

void add_merge(CLI::App& app, Arguments& chosen) {
  const auto [command, arguments] = add_command<MergeArguments>(
      app, chosen, "merge", "write a model with its adapter merged into the weights",
      "Examples:\n  espalier merge PRUNED run/adapter --out HEALED");
  command.add_option("MODEL", arguments.model, "the model that the adapter was trained on")
      ->required();
  command.add_option("ADAPTER", arguments.adapter, "folder of the adapter")->required();
  command.add_option("--base", arguments.base, "where a plan's base lies now");
  command.add_option("--out", arguments.out, "folder for the checkpoint")->required();
  add_flag(command, "--force", arguments.force, "replace an existing folder");
  add_flag(command, "--json", arguments.json, "print one JSON object");
  add_flag(command, "--quiet", arguments.quiet, "no talk on stderr");
}

/// What CLI11 cannot say of a training.
void check_finetune(const FinetuneArguments& arguments) {
  constexpr const char* kHelp = "see espalier finetune --help";
  const bool distills = arguments.loss != "sft";
  require(!distills || !arguments.teacher.empty(), "--loss {} needs a --teacher; {}",
          arguments.loss, kHelp);
  // A teacher whom nobody listens to is a --loss that was forgotten.
  require(distills || arguments.control || arguments.teacher.empty(),
          "--teacher with --loss sft teaches nothing: give --loss kd or kd+hidden; {}", kHelp);
  require(!arguments.control || !arguments.teacher.empty(),
          "--control trains the --teacher: give one; {}", kHelp);
  require(distills || (!arguments.teacher_share && !arguments.temperature && !arguments.top_k),
          "--kd-share, --temperature and --kd-top-k belong to --loss kd; {}", kHelp);
  require(arguments.loss == "kd+hidden" || (!arguments.hidden_weight && !arguments.balance),
          "--hidden-weight and --balance belong to --loss kd+hidden; {}", kHelp);
  const bool lora = arguments.train.starts_with("lora");
  require(lora || (!arguments.lora_rank && !arguments.lora_alpha && !arguments.lora_dropout &&
                   arguments.lora_targets.empty()),
          "--lora-rank, --lora-alpha, --lora-dropout and --lora-targets belong to --train lora; {}",
          kHelp);
  require(lora || !arguments.merge_to.empty(),
          "--train {} makes no adapter: give --merge-to for the checkpoint; {}", arguments.train,
          kHelp);
  require(!arguments.cache_bytes || !arguments.cache_vision.empty(),
          "--cache-size belongs to --cache-vision; {}", kHelp);
  require(!arguments.question_limit || !arguments.questions.empty(),
          "--question-limit belongs to --questions; {}", kHelp);
  require(arguments.optimizer == "muon" || !arguments.muon_rate,
          "--muon-rate belongs to --optimizer muon; {}", kHelp);
}

void add_verify(CLI::App& app, Arguments& chosen) {
  const auto [command, arguments] = add_command<VerifyArguments>(
      app, chosen, "verify", "prove that a pruned checkpoint is the base without those layers",
      "Examples:\n  espalier verify PRUNED --against MODEL\n"
      "  espalier verify PRUNED --against MODEL --time --update-card");
  command.add_option("PRUNED", arguments.pruned, "pruned checkpoint directory, or a plan file")
      ->required();
  command.add_option("--against", arguments.against, "the base it was pruned from")->required();
  command
      .add_option("--image", arguments.images,
                  "picture of the prompts; repeat for several (default: a drawn one)")
      ->allow_extra_args(false);
  command.add_option("--prompt", arguments.prompt,
                     "text of the prompts (default: \"Describe this "
                     "image.\")");
  add_flag(command, "--time", arguments.time, "also measure the speed of both");
  add_flag(command, "--update-card", arguments.update_card,
           "write the speed into PRUNED's README.md (with --time)");
  add_run(command, arguments.run);
  add_flag(command, "--json", arguments.json, "print one JSON object");
  add_flag(command, "--quiet", arguments.quiet, "no talk on stderr");
}

void add_report(CLI::App& app, Arguments& chosen) {
  const auto [command, arguments] = add_command<ReportArguments>(
      app, chosen, "report", "tables and figures of a run, as one HTML page and as files",
      "Needs gnuplot (Debian: gnuplot-nox).\n\n"
      "Examples:\n  espalier report run\n"
      "  espalier report run --out pruning.html --figures paper/figures --formats pdf");
  command.add_option("RUN", arguments.run, "folder with probe/, ranking.json or plans")->required();
  command.add_option("--out", arguments.out, "page to write (default: RUN/report.html)");
  command.add_option("--figures", arguments.figures,
                     "folder of figures and tables (default: report_figures beside the page)");
  command.add_option("--formats", arguments.formats, "of the figures (default: svg,pdf,png)");
  add_flag(command, "--force", arguments.force, "replace an existing page and its figures");
  add_flag(command, "--json", arguments.json, "print one JSON object about what was written");
  add_flag(command, "--quiet", arguments.quiet, "no talk on stderr");
}

void add_eval(CLI::App& app, Arguments& chosen) {
  const auto [command, arguments] = add_command<EvalArguments>(
      app, chosen, "eval", "ask a model questions with known answers, and count",
      "The same command again goes on with a run that was cut off.\n\n"
      "Examples:\n  espalier eval MODEL --questions test.jsonl --out run/eval\n"
      "  espalier eval PRUNED --questions test.jsonl --out run/eval-25 --against run/eval\n"
      "  espalier eval PRUNED --adapter run/adapter --questions test.jsonl --out run/eval-healed");
  add_model(command, arguments.model);
  command.add_option("--adapter", arguments.adapter,
                     "LoRA adapter of `espalier finetune` or PEFT, trained on MODEL");
  command
      .add_option("--questions", arguments.questions,
                  "JSONL file of questions and answers; repeat for several")
      ->allow_extra_args(false)
      ->required();
  command
      .add_option("--limit", arguments.limit, "questions a file, drawn with --seed (default: all)")
      ->check(whole_number(1, kMany << 10));
  command.add_option("--seed", arguments.seed, "of the draw and the shuffle (default 0)")
      ->check(whole_number(0, UINT64_MAX));
  command.add_option("--batch", arguments.batch, "questions answered together (our default: 64)")
      ->check(whole_number(1, kMany));
  command
      .add_option("--max-new-tokens", arguments.max_new_tokens, "longest answer (our default: 64)")
      ->check(whole_number(1, kMany));
  command.add_option("--against", arguments.against,
                     "folder of an evaluation over the same questions: compare, paired");
  add_flag(command, "--shuffle-pictures", arguments.shuffle_pictures,
           "control: each question gets another one's picture of the same size");
  add_flag(command, "--update-card", arguments.update_card,
           "write the scores into MODEL's README.md, with those of --against beside them");
  add_run(command, arguments.run);
  command.add_option("--out", arguments.out, "folder for answers and scoreboard")->required();
  add_flag(command, "--force", arguments.force, "replace an existing evaluation");
  add_flag(command, "--json", arguments.json, "print one JSON object instead of the table");
  add_flag(command, "--quiet", arguments.quiet, "no talk on stderr");
}

void add_synth(CLI::App& app, Arguments& chosen) {
  const auto [command, arguments] = add_command<SynthArguments>(
      app, chosen, "synth", "draw pictures with conversations and questions about them",
      "Kinds of problems: one-digit-sum, one-digit-difference, one-digit-product, two-digit-sum,\n"
      "two-digit-difference, three-terms, unknown, comparison, table.\n\n"
      "Examples:\n  espalier synth train --count 1000\n"
      "  espalier synth test --domain math --count 200 --split test --kinds "
      "two-digit-sum,unknown=3");
  command.add_option("OUT", arguments.out, "folder to write")->required();
  command.add_option("--domain", arguments.domain, "math, scenes or all (default)")
      ->check(one_of({"math", "scenes", "all"}));
  command.add_option("--count", arguments.count, "pictures a domain")
      ->required()
      ->check(whole_number(1, 10 * kMany));
  command.add_option("--seed", arguments.seed, "of everything that is drawn (default 0)")
      ->check(whole_number(0, UINT64_MAX));
  command
      .add_option("--split", arguments.split,
                  "train (default), val or test: no content is in two of them")
      ->check(one_of({"train", "val", "test"}));
  command
      .add_option("--scale", arguments.scale,
                  "times 128 x 32 (problems) and 64 x 64 pixels (scenes, tables); default 1")
      ->check(whole_number(1, 16));
  command.add_option("--kinds", arguments.kinds,
                     "of problems, with weights: two-digit-sum,unknown=3 (default: all alike)");
  command.add_option("--subtasks", arguments.subtasks,
                     "that there are conversations for: direct,cot (default: all)");
  add_flag(command, "--text", arguments.text, "problems as text in the prompts, without pictures");
  command.add_option("--fonts", arguments.fonts,
                     "folder of the typefaces (default: /usr/share/fonts, /usr/local/share/fonts)");
  command.add_option("--threads", arguments.threads, "CPU threads (default: all cores)")
      ->check(whole_number(1, 1024));
  add_flag(command, "--force", arguments.force, "replace an existing folder");
  add_flag(command, "--json", arguments.json, "print one JSON object about what was written");
  add_flag(command, "--quiet", arguments.quiet, "no talk on stderr");
}

std::vector<std::string> command_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    names.push_back(command->get_name());
  }
  return names;
}

/// An option that there is not, with the one that was probably meant.
std::string explain_unknown_option(const CLI::App& command, const std::string& word) {
  std::vector<std::string> known;
  for (const CLI::Option* option : command.get_options()) {
    for (const std::string& name : option->get_lnames()) known.push_back(name);
  }
  const std::string name = word.substr(0, word.find('='));
  const auto meant =
      suggestion(name.substr(std::min(name.find_first_not_of('-'), name.size())), known);
  return fmt::format("unknown option {}{}", name,
                     meant ? fmt::format(" (did you mean --{}?)", *meant) : "");
}

/// An option with no value, with too many, or a flag with one.
std::string explain_mismatch(const CLI::App& command, const std::string& message) {
  std::string name = message.substr(0, message.find_first_of(": "));
  if (!name.starts_with('-')) name.insert(0, "--");  // as CLI11 names a flag with a value
  const CLI::Option* option = command.get_option_no_throw(name);
  if (option == nullptr) return message;
  if (option->get_items_expected_max() == 0) return name + " takes no value";
  if (option->results().size() > 1) {
    return fmt::format("{}: wanted once, found {} times", name, option->results().size());
  }
  return fmt::format("{0}: wanted a value, found none; one that begins with - is written {0}=VALUE",
                     name);
}

/// What is wrong with a command line, in our words.
std::string explain(const CLI::App& app, const CLI::App* command, const CLI::ParseError& error) {
  const auto not_understood = app.remaining(/*recurse=*/true);
  if (!not_understood.empty()) {
    const std::string& word = not_understood.front();
    if (word.starts_with('-')) return explain_unknown_option(command ? *command : app, word);
    if (command) return fmt::format("surplus argument {}; what has spaces wants quotes", word);
    return unknown_word("command", word, command_names(app));
  }
  if (!command) return fmt::format("wanted a command: {}", alternatives(command_names(app)));
  if (dynamic_cast<const CLI::ArgumentMismatch*>(&error) != nullptr) {
    return explain_mismatch(*command, error.what());
  }
  return error.what();
}

}  // namespace

std::string option_of_a_draw(const GenerateArguments& arguments) {
  if (arguments.temperature) return "--temperature";
  if (arguments.top_k) return "--top-k";
  if (arguments.top_p) return "--top-p";
  return {};
}

Arguments parse_arguments(int argc, const char* const* argv) {
  CLI::App app(kAbout, "espalier");
  app.set_version_flag("--version", "espalier " ESPALIER_VERSION);
  app.require_subcommand(1);
  app.get_formatter()->column_width(32);
  app.get_formatter()->label("SUBCOMMAND", "COMMAND");
  Arguments chosen;
  add_inspect(app, chosen);
  add_init(app, chosen);
  add_generate(app, chosen);
  add_trace(app, chosen);
  add_probe(app, chosen);
  add_rank(app, chosen);
  add_prune(app, chosen);
  add_verify(app, chosen);
  add_finetune(app, chosen);
  add_merge(app, chosen);
  add_report(app, chosen);
  add_synth(app, chosen);
  add_eval(app, chosen);
  app.footer("espalier COMMAND --help says more.");
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    return HelpText{app.help()};
  } catch (const CLI::CallForVersion&) {
    return HelpText{app.version() + "\n"};
  } catch (const CLI::ParseError& error) {
    const auto given = app.get_subcommands();
    const CLI::App* command = given.empty() ? nullptr : given.front();
    throw InputError(fmt::format("{}; see espalier {}--help", explain(app, command, error),
                                 command ? command->get_name() + " " : ""));
  }
  if (const auto* generate = std::get_if<GenerateArguments>(&chosen)) {
    const std::string other = generate->sample ? "--sample" : option_of_a_draw(*generate);
    require(!generate->greedy || other.empty(),
            "--greedy and {} exclude each other; leave one out; see espalier generate --help",
            other);
  }
  if (const auto* probe = std::get_if<ProbeArguments>(&chosen)) check_probe(*probe);
  if (const auto* prune = std::get_if<PruneArguments>(&chosen)) check_prune(*prune);
  if (const auto* finetune = std::get_if<FinetuneArguments>(&chosen)) check_finetune(*finetune);
  if (const auto* verify = std::get_if<VerifyArguments>(&chosen)) {
    require(verify->time || !verify->update_card,
            "--update-card writes what --time measures: give both; see espalier verify --help");
  }
  return chosen;
}

}  // namespace espalier
