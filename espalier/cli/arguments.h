// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace espalier {

/// `espalier inspect MODEL`
struct InspectArguments {
  std::filesystem::path model;
  std::filesystem::path base;  ///< where a plan's base lies now; empty: where the plan says
  bool json = false;
};

/// `espalier init OUT --preset NAME`
struct InitArguments {
  std::filesystem::path out;
  std::string preset;
  std::optional<std::filesystem::path> tokenizer;
  std::uint64_t seed = 0;
  bool force = false;
  bool json = false;
  bool quiet = false;
};

/// Where and how a model runs; shared by the commands that run one.
struct RunArguments {
  std::string device = "cpu";
  std::string dtype;           ///< "float32", "bfloat16", or empty: as stored
  int threads = 0;             ///< 0: all cores
  std::filesystem::path base;  ///< where a plan's base lies now; empty: where the plan says
};

/// A prompt with its pictures; shared by the commands that take one.
struct PromptArguments {
  std::vector<std::filesystem::path> images;
  std::string prompt;
  std::string system;
  std::string special_tokens = "refuse";  ///< "refuse", "plain" or "parse"
};

/// `espalier generate MODEL --image I --prompt T`
struct GenerateArguments {
  std::filesystem::path model;
  PromptArguments prompt;
  RunArguments run;
  std::int64_t max_new_tokens = 128;
  bool greedy = false;
  bool sample = false;
  std::optional<double> temperature;
  std::optional<std::int64_t> top_k;
  std::optional<double> top_p;
  std::optional<double> repetition_penalty;
  std::uint64_t seed = 0;
  bool json = false;
  bool quiet = false;
};

/// The first given option that only a draw uses, e.g. "--top-k"; empty if there is none.
std::string option_of_a_draw(const GenerateArguments& arguments);

/// `espalier trace MODEL --image I --prompt T --out F`
struct TraceArguments {
  std::filesystem::path model;
  PromptArguments prompt;
  RunArguments run;
  std::filesystem::path out;
  std::int64_t max_new_tokens = 0;
  bool all_logits = false;
  bool force = false;
  bool json = false;
  bool quiet = false;
};

/// `espalier probe MODEL --domain NAME=SOURCE ... --out DIR`, or `--merge A B --out DIR`
struct ProbeArguments {
  std::filesystem::path model;
  std::vector<std::string> domains;
  std::vector<std::filesystem::path> merge;
  std::filesystem::path prompts;  ///< empty: the paper's
  std::string pairing = "all";    ///< "all" or "round-robin"
  std::optional<std::int64_t> limit;
  std::uint64_t seed = 0;
  bool last_layer = false;
  bool skip_bad = false;
  std::optional<std::uint64_t> memory_bytes;
  double save_every_seconds = 30.0;
  RunArguments run;
  std::filesystem::path out;
  bool force = false;
  bool json = false;
  bool quiet = false;
};

/// `espalier rank PROBE --out FILE`
struct RankArguments {
  std::filesystem::path probe;
  std::vector<std::string> criteria;
  bool all = false;
  std::optional<double> alpha;
  std::string weights;              ///< "math=0.3,nonmath=0.7"
  std::string average = "samples";  ///< "samples" or "subtasks"
  std::optional<std::string> rule;
  std::optional<std::int64_t> min_gap;
  std::optional<std::int64_t> max_run;
  std::optional<std::string> overflow;
  std::vector<std::string> budgets;
  std::vector<std::int64_t> remove;  ///< numbers of layers in the place of budgets
  std::string protect;               ///< as parse_layers takes it
  std::int64_t bootstrap = 1000;
  std::uint64_t seed = 0;
  std::filesystem::path out;
  bool force = false;
  bool json = false;
  bool quiet = false;
};

/// `espalier prune MODEL --ranking R --budget P --out PRUNED`
struct PruneArguments {
  std::filesystem::path model;
  std::filesystem::path base;  ///< where a plan's base lies now; empty: where the plan says
  std::filesystem::path ranking;
  std::string criterion;
  std::string rule;
  std::string budget;
  std::optional<std::int64_t> remove;  ///< a number of layers in the place of a budget
  std::string layers;                  ///< as parse_layers takes them
  std::string protect;                 ///< likewise
  std::filesystem::path out;
  bool map_only = false;
  bool dry_run = false;
  std::optional<std::uint64_t> shard_bytes;
  std::string base_name;
  bool force = false;
  bool json = false;
  bool quiet = false;
};

/// `espalier report RUN`
struct ReportArguments {
  std::filesystem::path run;
  std::optional<std::filesystem::path> out;      ///< else `report.html` in the run's folder
  std::optional<std::filesystem::path> figures;  ///< else `report_figures` beside the report
  std::string formats = "svg,pdf,png";
  bool force = false;
  bool json = false;
  bool quiet = false;
};

/// `espalier synth OUT --count N`
struct SynthArguments {
  std::filesystem::path out;
  std::string domain = "all";  ///< "math", "scenes" or "all"
  std::uint64_t count = 0;
  std::uint64_t seed = 0;
  std::string split = "train";  ///< "train", "val" or "test"
  int scale = 1;
  std::string kinds;     ///< as parse_kinds takes them; empty: all
  std::string subtasks;  ///< names with commas between; empty: all
  bool text = false;
  std::filesystem::path fonts;  ///< empty: where the system keeps them
  unsigned threads = 0;         ///< 0: all cores
  bool force = false;
  bool json = false;
  bool quiet = false;
};

/// `espalier verify PRUNED --against MODEL`
struct VerifyArguments {
  std::filesystem::path pruned;
  std::filesystem::path against;
  std::vector<std::filesystem::path> images;  ///< none: a drawn one
  std::string prompt = "Describe this image.";
  RunArguments run;
  bool time = false;
  bool update_card = false;
  bool json = false;
  bool quiet = false;
};

/// `espalier finetune MODEL --data FILE ... --out RUN`
struct FinetuneArguments {
  std::filesystem::path model;
  std::vector<std::filesystem::path> data;
  std::vector<std::filesystem::path> validation;
  std::vector<std::filesystem::path> questions;  ///< held out: exact match
  std::optional<std::int64_t> question_limit;
  std::filesystem::path image_root;
  std::filesystem::path teacher;  ///< empty: none
  std::filesystem::path out;
  std::filesystem::path merge_to;  ///< empty: no checkpoint is written
  std::string preset = "paper";
  std::string train = "lora";
  std::string loss = "sft";
  bool control = false;
  std::optional<double> teacher_share;
  std::optional<double> temperature;
  std::optional<std::int64_t> top_k;
  std::optional<double> hidden_weight;
  bool balance = false;
  std::optional<std::int64_t> lora_rank;
  std::optional<double> lora_alpha;
  std::optional<double> lora_dropout;
  std::string lora_targets;  ///< names with commas; empty: all seven
  std::string optimizer = "adamw";
  std::optional<double> learning_rate;
  std::optional<double> muon_rate;
  std::optional<double> warmup;
  double floor = 0.0;
  std::string schedule = "cosine";
  double weight_decay = 0.1;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double clip = 1.0;
  std::int64_t batch = 64;
  std::int64_t epochs = 1;
  std::optional<std::int64_t> steps;
  std::string normalize = "tokens";
  std::int64_t max_length = 8192;
  std::string long_samples = "drop";
  bool skip_bad = false;
  std::int64_t pack_tokens = 4096;
  std::int64_t workers = 1;
  std::optional<std::uint64_t> memory_bytes;
  std::filesystem::path cache_vision;  ///< empty: none
  std::optional<std::uint64_t> cache_bytes;
  std::int64_t validate_every = 0;
  double save_every_seconds = 60.0;
  std::uint64_t seed = 0;
  RunArguments run;
  bool force = false;
  bool json = false;
  bool quiet = false;
};

/// `espalier merge MODEL ADAPTER --out DIR`
struct MergeArguments {
  std::filesystem::path model;
  std::filesystem::path adapter;
  std::filesystem::path base;  ///< where a plan's base lies now; empty: where the plan says
  std::filesystem::path out;
  bool force = false;
  bool json = false;
  bool quiet = false;
};

/// `espalier eval MODEL --questions FILE --out DIR`
struct EvalArguments {
  std::filesystem::path model;
  std::vector<std::filesystem::path> questions;
  std::optional<std::int64_t> limit;
  std::uint64_t seed = 0;
  std::int64_t batch = 64;
  std::int64_t max_new_tokens = 64;
  std::filesystem::path adapter;  ///< empty: none
  std::filesystem::path against;  ///< another evaluation's folder; empty: none
  bool shuffle_pictures = false;
  bool update_card = false;
  RunArguments run;
  std::filesystem::path out;
  bool force = false;
  bool json = false;
  bool quiet = false;
};

/// A text that was asked for: help or the version.
struct HelpText {
  std::string text;
};

using Arguments =
    std::variant<HelpText, InspectArguments, InitArguments, GenerateArguments, TraceArguments,
                 ProbeArguments, RankArguments, PruneArguments, VerifyArguments, ReportArguments,
                 FinetuneArguments, MergeArguments, SynthArguments, EvalArguments>;

/// Understands a command line.
///
/// \throws InputError for an unknown command or option (with the nearest one), a missing or bad
/// value
Arguments parse_arguments(int argc, const char* const* argv);

}  // namespace espalier
