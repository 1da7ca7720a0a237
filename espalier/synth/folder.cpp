// SPDX-License-Identifier: Apache-2.0
#include "espalier/synth/folder.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "espalier/base/error.h"
#include "espalier/base/hash.h"
#include "espalier/base/parallel.h"
#include "espalier/base/words.h"
#include "espalier/image/encode_png.h"
#include "espalier/synth/faces.h"

namespace espalier {

namespace fs = std::filesystem;
using nlohmann::json;

namespace {

constexpr int kSchema = 1;
constexpr std::uint64_t kMostWeight = 1000;
/// Pictures between two appends to the JSONL files: what is kept in memory.
constexpr std::uint64_t kBlock = 2048;

using Hash = std::array<std::uint8_t, 16>;

/// What a sample adds to the files.
struct Rows {
  std::string conversations;
  std::string questions;
  std::string domain;
  std::string kind;
  std::uint64_t conversation_count = 0;
  std::uint64_t question_count = 0;
  std::optional<Hash> picture;
};

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

/// \throws InputError for a subtask that no domain has, or a domain that is left with none
void check_subtasks(const SynthOptions& options) {
  std::vector<std::string> known;
  for (const auto& domain : options.domains) {
    const auto& names = subtasks_of(domain);
    known.insert(known.end(), names.begin(), names.end());
    require(options.subtasks.empty() ||
                std::ranges::find_first_of(names, options.subtasks) != names.end(),
            "--subtasks: wanted at least one of the domain {}: {}", domain, alternatives(names));
  }
  for (const auto& name : options.subtasks) {
    if (std::ranges::find(known, name) == known.end()) {
      throw InputError("--subtasks: " + unknown_word("subtask", name, known));
    }
  }
}

void check(const SynthOptions& options) {
  require(options.count > 0 && !options.domains.empty(),
          "wanted at least one picture of one domain");
  check_subtasks(options);
  const bool math = std::ranges::find(options.domains, "math") != options.domains.end();
  require(math || options.kinds.empty(),
          "--kinds are of problems: leave it out, or choose the domain math");
  require(!options.text_only || options.domains == std::vector<std::string>{"math"},
          "--text writes problems: choose the domain math");
  require(!options.text_only || options.scale == 1, "--text draws no pictures: leave --scale out");
  for (const auto& domain : options.domains) {
    for (const auto& subtask : prompted_subtasks_of(domain)) {
      const std::string name = fmt::format("{}/{}", domain, subtask);
      require(options.prompts.contains(name), "wanted a prompt for {}, found none", name);
    }
  }
}

std::vector<KindWeight> kinds_of(const SynthOptions& options) {
  if (!options.kinds.empty()) return options.kinds;
  std::vector<KindWeight> all;
  for (const ProblemKind kind : problem_kinds()) all.push_back({.kind = kind, .weight = 1});
  return all;
}

/// One folder's worth of work: draws samples, writes their pictures, and collects the rows.
class SynthWriter {
 public:
  SynthWriter(const OutputDirectory& out, const SynthOptions& options)
      : out_(out),
        options_(options),
        kinds_(kinds_of(options)),
        conversations_(out.path() / "conversations.jsonl", /*force=*/false),
        questions_(out.path() / "questions.jsonl", /*force=*/false) {
    workers_ = thread_count(options.threads, options.count);
    if (wants_typefaces()) {
      font_files_ = find_faces(options.font_folders);
      for (std::size_t i = 0; i < workers_; ++i) typesetters_.emplace_back(font_files_);
    }
  }

  SynthCounts write() {
    for (const auto& domain : options_.domains) write_domain(domain);
    conversations_.commit();
    questions_.commit();
    std::ranges::sort(pictures_);
    assume(std::ranges::adjacent_find(pictures_) == pictures_.end(), "no two pictures are equal");
    const std::string summary = summarize().dump(2) + "\n";
    out_.write("synth.json", bytes_of(summary));
    return counts_;
  }

 private:
  [[nodiscard]] bool wants_typefaces() const {
    return !options_.text_only &&
           std::ranges::find(options_.domains, "math") != options_.domains.end();
  }

  void write_domain(const std::string& domain) {
    std::optional<OutputFile> pictures;
    if (!options_.text_only) {
      fs::create_directories(out_.path() / "images" / domain);
      pictures.emplace(out_.path() / (domain + ".jsonl"), /*force=*/false);
    }
    for (std::uint64_t begin = 0; begin < options_.count; begin += kBlock) {
      std::vector<Rows> block(std::min(kBlock, options_.count - begin));
      in_parallel(workers_, block.size(), [&](std::size_t worker, std::size_t i) {
        block[i] = make_rows(domain, worker, begin + i);
      });
      for (const Rows& rows : block) append(rows, pictures);
      if (options_.progress) {
        options_.progress(done_, options_.count * options_.domains.size());
      }
    }
    if (pictures) pictures->commit();
  }

  /// Draws a sample and writes its picture.
  [[nodiscard]] Rows make_rows(const std::string& domain, std::size_t worker,
                               std::uint64_t index) const {
    const SampleSource source{.split = options_.split, .seed = options_.seed, .index = index};
    const Typesetter* typesetter = wants_typefaces() ? &typesetters_[worker] : nullptr;
    const SynthSample sample =
        domain == "math"
            ? draw_math_sample(source, kinds_, options_.prompts, typesetter, options_.scale)
            : draw_scene_sample(source, options_.prompts, options_.scale);
    const std::string id =
        fmt::format("{}-{}-{}-{:06}", domain, name_of(options_.split), options_.seed, index);
    std::string file;
    Rows rows{.kind = sample.kind};
    if (!options_.text_only) {
      file = fmt::format("images/{}/{:06}.png", domain, index);
      out_.write(file, bytes_of(encode_png(sample.image)));
      rows.picture = xxh3_128({std::as_bytes(std::span(sample.image.rgb))});
      rows.domain = json{{"image", file}, {"id", id}, {"kind", sample.kind}}.dump() + "\n";
    }
    add_conversations(rows, domain, sample, id, file);
    add_questions(rows, domain, sample, id, file);
    return rows;
  }

  void add_conversations(Rows& rows, const std::string& domain, const SynthSample& sample,
                         const std::string& id, const std::string& file) const {
    for (const auto& [subtask, prompt, answer] : sample.turns) {
      const auto& wanted = options_.subtasks;
      if (!wanted.empty() && std::ranges::find(wanted, subtask) == wanted.end()) continue;
      const std::string_view placeholder = file.empty() ? "" : "<image>";
      json row = {{"messages",
                   {{{"role", "user"}, {"content", std::string(placeholder) + prompt}},
                    {{"role", "assistant"}, {"content", answer}}}},
                  {"source", fmt::format("{}/{}", domain, subtask)},
                  {"id", fmt::format("{}-{}", id, subtask)}};
      if (!file.empty()) row["images"] = {file};
      rows.conversations += row.dump() + "\n";
      ++rows.conversation_count;
    }
  }

  static void add_questions(Rows& rows, const std::string& domain, const SynthSample& sample,
                            const std::string& id, const std::string& file) {
    for (const auto& [suffix, kind, prompt, answer, match] : sample.questions) {
      json row = {{"id", fmt::format("{}-{}", id, suffix)},
                  {"prompt", prompt},
                  {"answer", answer},
                  {"domain", domain},
                  {"kind", kind},
                  {"match", match}};
      if (!file.empty()) row["image"] = file;
      rows.questions += row.dump() + "\n";
      ++rows.question_count;
    }
  }

  void append(const Rows& rows, std::optional<OutputFile>& pictures) {
    conversations_.write(rows.conversations);
    questions_.write(rows.questions);
    if (pictures) pictures->write(rows.domain);
    if (rows.picture) {
      pictures_.push_back(*rows.picture);
      ++counts_.pictures;
    }
    counts_.conversations += rows.conversation_count;
    counts_.questions += rows.question_count;
    ++counts_.kinds[rows.kind];
    ++done_;
  }

  [[nodiscard]] json summarize() const {
    json asked = {{"domains", options_.domains},   {"count", options_.count},
                  {"seed", options_.seed},         {"split", name_of(options_.split)},
                  {"scale", options_.scale},       {"text", options_.text_only},
                  {"subtasks", options_.subtasks}, {"prompts", options_.prompts},
                  {"kinds", json::object()}};
    if (std::ranges::find(options_.domains, "math") != options_.domains.end()) {
      for (const auto& [kind, weight] : kinds_) asked["kinds"][std::string(name_of(kind))] = weight;
    }
    json faces = json::array();
    for (std::size_t i = 0; i < font_files_.size(); ++i) {
      Sha256 hash;
      hash.update(MappedFile(font_files_[i]).bytes());
      faces.push_back({{"family", kFaces.at(i).family},
                       {"bold", kFaces.at(i).bold},
                       {"file", kFaces.at(i).file},
                       {"sha256", hash.finish()}});
    }
    return {{"schema", kSchema},
            {"kind", "synth"},
            {"tool_version", ESPALIER_VERSION},
            {"options", asked},
            {"faces", faces},
            {"counts",
             {{"pictures", counts_.pictures},
              {"conversations", counts_.conversations},
              {"questions", counts_.questions},
              {"kinds", counts_.kinds}}}};
  }

  const OutputDirectory& out_;
  const SynthOptions& options_;
  std::vector<KindWeight> kinds_;
  OutputFile conversations_;
  OutputFile questions_;
  std::size_t workers_ = 1;
  std::vector<fs::path> font_files_;
  std::vector<Typesetter> typesetters_;  ///< one a worker
  std::vector<Hash> pictures_;           ///< of the pixels of each
  SynthCounts counts_;
  std::uint64_t done_ = 0;
};

}  // namespace

std::vector<KindWeight> parse_kinds(std::string_view text) {
  std::vector<KindWeight> kinds;
  std::set<ProblemKind> seen;
  for (const std::string_view item : split_at_commas(text)) {
    const std::string_view name = item.substr(0, item.find('='));
    KindWeight kind{.kind = parse_problem_kind(name), .weight = 1};
    if (name.size() < item.size()) {
      const std::string_view number = item.substr(name.size() + 1);
      const auto* const end = number.data() + number.size();
      const auto [last, error] = std::from_chars(number.data(), end, kind.weight);
      require(error == std::errc() && last == end && kind.weight >= 1 && kind.weight <= kMostWeight,
              "{}: wanted a weight from 1 to {}, found {}", name, kMostWeight, number);
    }
    require(seen.insert(kind.kind).second, "the kind {} is given twice", name);
    kinds.push_back(kind);
  }
  return kinds;
}

SynthCounts write_synth(const OutputDirectory& out, const SynthOptions& options) {
  check(options);
  return SynthWriter(out, options).write();
}

}  // namespace espalier
