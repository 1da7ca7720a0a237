// SPDX-License-Identifier: Apache-2.0
#include "espalier/prune/model_card.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string_view>

#include "espalier/base/error.h"
#include "espalier/base/files.h"
#include "espalier/checkpoint/folder.h"
#include "espalier/records/layer_ranges.h"

namespace espalier {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view kSpeedBegin = "<!-- speed -->\n";
constexpr std::string_view kSpeedEnd = "<!-- /speed -->\n";
constexpr std::string_view kScoresBegin = "<!-- scores -->\n";
constexpr std::string_view kScoresEnd = "<!-- /scores -->\n";

/// A YAML scalar that means this text, whatever is in it: JSON's strings are YAML's.
std::string quoted(const std::string& text) {
  return nlohmann::json(text).dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
}

/// A name as a word of a command line.
std::string shell_word(const std::string& word) {
  constexpr std::string_view kPlain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/,:%=";
  if (!word.empty() && word.find_first_not_of(kPlain) == std::string::npos) return word;
  std::string text = "'";
  for (const char letter : word) text += letter == '\'' ? "'\\''" : std::string(1, letter);
  return text + "'";
}

std::string share(const BeforeAfter& pair) {
  return fmt::format("{:.1f} %", 100.0 * static_cast<double>(pair.before - pair.after) /
                                     static_cast<double>(pair.before));
}

/// 1234567 as "1,234,567".
std::string grouped(std::int64_t number) {
  std::string digits = std::to_string(number);
  for (auto place = std::ssize(digits) - 3; place > 0; place -= 3) {
    digits.insert(static_cast<std::size_t>(place), ",");
  }
  return digits;
}

std::string head(const Plan& plan, const CardOptions& options) {
  std::string text = fmt::format("---\nbase_model: {}\n", quoted(plan.base_name));
  for (const std::string& line : options.licence) text += line + "\n";
  text +=
      "library_name: transformers\n"
      "pipeline_tag: image-text-to-text\n"
      "tags:\n- espalier\n- depth-pruning\n- qwen3_vl\n---\n\n";
  return text;
}

/// The command that carries a plan out.
std::string command_of(const Plan& plan, const std::string& out) {
  std::string text = fmt::format("espalier prune {}", shell_word(plan.base_name));
  if (plan.criterion.empty()) {
    text += fmt::format(" --layers {}", compact_layer_ranges(plan.removed));
  } else {
    text += fmt::format(" --ranking ranking.json --criterion {} --rule {}",
                        shell_word(plan.criterion), shell_word(plan.rule));
    text += plan.budget.denominator == 0 ? fmt::format(" --remove {}", plan.budget.numerator)
                                         : fmt::format(" --budget {}", to_string(plan.budget));
  }
  return fmt::format("{} --out {}\n", text, shell_word(out));
}

std::string removal(const Plan& plan) {
  std::string text = fmt::format(
      "{} of {} decoder layers of {} are removed. Layers count from 0.\n\n"
      "| | layers |\n|---|---|\n| removed | {} |\n| kept | {} |\n",
      plan.k, plan.num_layers, plan.base_name, layer_ranges(plan.removed), layer_ranges(plan.kept));
  if (!plan.lineage.empty()) {
    text += fmt::format(
        "\n{} was pruned before. In the numbers of the first model, {} with {} layers:\n\n"
        "| | layers |\n|---|---|\n| removed now | {} |\n| kept | {} |\n",
        plan.base_name, plan.lineage.front().base_name, plan.lineage.front().num_layers,
        layer_ranges(plan.removed_original), layer_ranges(plan.kept_original));
  }
  if (plan.deepstack_shift) {
    text +=
        "\nThe vision tower's DeepStack features are added after the first places of the decoder. "
        "A layer at one of these places is gone, so that they now come after deeper layers of the "
        "base.\n";
  }
  return text + "\n";
}

std::string choice(const Plan& plan, const CardOptions& options) {
  if (plan.criterion.empty()) return "The layers were named by hand.\n\n";
  std::string text = fmt::format(
      "Criterion `{}`, rule `{}`, budget {} of the prunable layers; protected: {}.\n\n"
      "Ranking: `{}`\n",
      plan.criterion, plan.rule, to_string(plan.budget), layer_ranges(plan.protected_layers),
      plan.ranking_fingerprint);
  if (!plan.relaxations.empty()) {
    text += fmt::format("\nStages of the rule: {}\n", fmt::join(plan.relaxations, "; "));
  }
  for (const std::string& line : options.data) text += fmt::format("\n{}\n", line);
  return text + "\n";
}

std::string sizes(const Plan& plan) {
  return fmt::format(
      "| | before | after | less |\n|---|---|---|---|\n"
      "| decoder layers | {} | {} | {} |\n| parameters | {} | {} | {} |\n"
      "| bytes of weights | {} | {} | {} |\n\n",
      plan.num_layers, plan.kept.size(),
      share({.before = plan.num_layers, .after = std::ssize(plan.kept)}),
      grouped(plan.parameters.before), grouped(plan.parameters.after), share(plan.parameters),
      grouped(plan.bytes.before), grouped(plan.bytes.after), share(plan.bytes));
}

std::string making(const Plan& plan, const CardOptions& options) {
  std::string text = "```sh\n";
  for (std::size_t i = 0; i < plan.lineage.size(); ++i) {
    const bool last = i + 1 == plan.lineage.size();
    text += command_of(plan.lineage[i], last ? plan.base_name : plan.lineage[i + 1].base_name);
  }
  text += command_of(plan, options.name);
  text += fmt::format("espalier verify {} --against {}\n```\n\n", shell_word(options.name),
                      shell_word(plan.base_name));
  text += fmt::format(
      "`espalier.json` holds the plan. `mergekit.yaml` makes the same model with mergekit. Of a "
      "GGUF file of the base, llama.cpp removes the same layers with\n\n"
      "```sh\nllama-quantize --prune-layers {} base.gguf pruned.gguf BF16\n```\n\n",
      fmt::join(plan.removed, ","));
  return text;
}

std::string loading(const std::string& name) {
  return fmt::format(
      "The class is the base's own; no remote code.\n\n"
      "transformers:\n\n"
      "```python\nfrom transformers import AutoModelForImageTextToText, AutoProcessor\n\n"
      "model = AutoModelForImageTextToText.from_pretrained({0}, dtype=\"auto\")\n"
      "processor = AutoProcessor.from_pretrained({0})\n```\n\n"
      "vLLM:\n\n```sh\nvllm serve {1}\n```\n\n"
      "llama.cpp:\n\n"
      "```sh\npython convert_hf_to_gguf.py {1} --outfile model.gguf\n"
      "python convert_hf_to_gguf.py {1} --mmproj --outfile mmproj.gguf\n"
      "llama-mtmd-cli -m model.gguf --mmproj mmproj.gguf --image picture.jpg -p 'Describe this "
      "image.'\n```\n",
      quoted(name), shell_word(name));
}

/// A card with other text between two of its lines.
std::string with_section(const std::string& card, std::string_view begin_line,
                         std::string_view end_line, const std::string& text) {
  const std::size_t begin = card.find(begin_line);
  const std::size_t end = card.find(end_line);
  require(begin != std::string::npos && end != std::string::npos && begin < end,
          "README.md: wanted the lines \"{}\" and \"{}\", between which this goes, found none",
          begin_line.substr(0, begin_line.size() - 1), end_line.substr(0, end_line.size() - 1));
  return card.substr(0, begin + begin_line.size()) + text + card.substr(end);
}

}  // namespace

std::vector<std::string> read_licence(const fs::path& folder) {
  const fs::path path = folder / "README.md";
  if (!path_exists(path)) return {};
  std::istringstream lines(read_file(path));
  std::vector<std::string> found;
  std::string line;
  if (!std::getline(lines, line) || !line.starts_with("---")) return {};
  constexpr std::array<std::string_view, 3> kKeys = {"license:", "license_name:", "license_link:"};
  while (std::getline(lines, line) && !line.starts_with("---")) {
    while (!line.empty() && (line.back() == '\r' || line.back() == ' ')) line.pop_back();
    for (const std::string_view key : kKeys) {
      // A key with nothing behind it begins a list, which would be cut off.
      if (line.starts_with(key) && line.size() > key.size()) found.push_back(line);
    }
  }
  return found;
}

std::string model_card(const Plan& plan, const CardOptions& options) {
  std::string text = head(plan, options);
  text += fmt::format("# {}\n\n", options.name);
  // A name that is no repository's makes no link.
  const bool is_repository = plan.base_name.find('/') != std::string::npos;
  text += fmt::format(
      "{} with fewer decoder layers. Nothing was trained: every tensor is the base's, byte for "
      "byte.\n\n",
      is_repository ? fmt::format("[{0}](https://huggingface.co/{0})", plan.base_name)
                    : plan.base_name);
  if (options.licence.empty()) {
    text += "The base names no licence in its model card; ask its authors.\n\n";
  }
  text += "## What was removed\n\n" + removal(plan);
  text += "## How it was chosen\n\n" + choice(plan, options);
  text += "## Size\n\n" + sizes(plan);
  text += fmt::format("## Speed\n\n{}Not measured.\n{}\n", kSpeedBegin, kSpeedEnd);
  text += fmt::format("## Scores\n\n{}Not measured.\n{}\n", kScoresBegin, kScoresEnd);
  text += "## How it was made\n\n" + making(plan, options);
  text += "## How to load it\n\n" + loading(options.name);
  return text;
}

std::string with_speed(const std::string& card, const CardSpeed& speed) {
  return with_section(
      card, kSpeedBegin, kSpeedEnd,
      fmt::format("| | before | after | ratio |\n|---|---|---|---|\n"
                  "| seconds to the first token | {:.3f} | {:.3f} | {:.2f} |\n"
                  "| tokens a second after it | {:.2f} | {:.2f} | {:.2f} |\n\n{}\n",
                  speed.first_token_seconds_before, speed.first_token_seconds_after,
                  speed.first_token_seconds_before / speed.first_token_seconds_after,
                  speed.tokens_per_second_before, speed.tokens_per_second_after,
                  speed.tokens_per_second_after / speed.tokens_per_second_before,
                  speed.conditions));
}

std::string with_scores(const std::string& card, const CardScores& scores) {
  const bool compared = std::ranges::any_of(
      scores.rows, [](const CardScores::Row& row) { return row.before.has_value(); });
  std::string table =
      fmt::format("| domain | right | asked | % | 95 % |{}\n|---|---|---|---|---|{}\n",
                  compared ? " before, % |" : "", compared ? "---|" : "");
  for (const CardScores::Row& row : scores.rows) {
    table += fmt::format("| {} | {} | {} | {:.2f} | {:.2f} to {:.2f} |", row.domain, row.correct,
                         row.count, 100 * row.accuracy, 100 * row.low, 100 * row.high);
    if (compared) table += row.before ? fmt::format(" {:.2f} |", 100 * *row.before) : " |";
    table += "\n";
  }
  return with_section(card, kScoresBegin, kScoresEnd,
                      fmt::format("{}\n{}\n", table, scores.conditions));
}

void update_card(const fs::path& folder,
                 const std::function<std::string(const std::string& card)>& change) {
  constexpr const char* kCard = "README.md";
  Checksums checksums = read_checksums(folder);
  write_file(folder / kCard, change(read_file(folder / kCard)), /*force=*/true);
  checksums[kCard] = sha256_of_file(folder / kCard);
  write_checksums(folder, checksums, /*force=*/true);
}

std::string mergekit_recipe(const std::string& base, std::span<const std::int64_t> kept,
                            DType dtype) {
  std::string text = fmt::format(
      "# mergekit-yaml mergekit.yaml OUT makes the same model from the base.\n"
      "merge_method: passthrough\ndtype: {}\nslices:\n",
      dtype == DType::F32 ? "float32" : "bfloat16");
  for (std::size_t begin = 0; begin < kept.size();) {
    std::size_t end = begin + 1;
    while (end < kept.size() && kept[end] == kept[end - 1] + 1) ++end;
    text += fmt::format("  - sources:\n      - model: {}\n        layer_range: [{}, {}]\n",
                        quoted(base), kept[begin], kept[end - 1] + 1);
    begin = end;
  }
  return text;
}

}  // namespace espalier
