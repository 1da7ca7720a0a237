// SPDX-License-Identifier: Apache-2.0
#include "espalier/data/probe_set.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <span>
#include <utility>

#include "espalier/base/error.h"
#include "espalier/base/files.h"
#include "espalier/base/hash.h"
#include "espalier/base/random.h"

namespace espalier {

namespace {

/// The rows over one and the same pictures.
using Rows = std::vector<const SourceRow*>;

std::string joined(const std::vector<std::string>& paths) {
  std::string text = paths.front();
  for (std::size_t i = 1; i < paths.size(); ++i) text += "\n" + paths[i];
  return text;
}

/// By path bytes; with a limit, so many of them, drawn without repetition.
std::vector<std::pair<std::string, Rows>> pictures_of(const DomainSource& source,
                                                      const ProbeSetOptions& options,
                                                      std::uint64_t stream) {
  std::map<std::string, Rows> by_path;
  for (const SourceRow& row : source.rows) by_path[joined(row.images)].push_back(&row);
  std::vector<std::pair<std::string, Rows>> pictures(by_path.begin(), by_path.end());
  const auto wanted = static_cast<std::size_t>(options.limit.value_or(std::ssize(pictures)));
  if (wanted >= pictures.size()) return pictures;
  Random random(options.seed, stream);
  for (std::size_t i = 0; i < wanted; ++i) {
    std::swap(pictures[i], pictures[i + random.below(pictures.size() - i)]);
  }
  pictures.resize(wanted);
  std::ranges::sort(pictures, {}, &std::pair<std::string, Rows>::first);
  return pictures;
}

/// A domain while its items are put together.
class DomainBuilder {
 public:
  DomainBuilder(const DomainSource& source, const std::vector<DomainPrompts>& prompts,
                Pairing pairing)
      : source_(source), pairing_(pairing) {
    const auto found = std::ranges::find(prompts, source.name, &DomainPrompts::name);
    if (found != prompts.end()) shared_ = found->subtasks;
  }

  /// \param number  of the item in its domain, for the round robin
  ProbeItem item(const std::string& path, const Rows& rows, std::size_t number) {
    ProbeItem item{.path = path, .place = rows.front()->place};
    for (const std::string& image : rows.front()->images) {
      item.files.push_back(source_.folder / image);
    }
    for (const SourceRow* row : rows) {
      if (row->prompt) {
        ask(item, own_subtask(*row), *row->prompt);
      } else {
        ask_shared(item, *row, number);
      }
    }
    return item;
  }

  /// Subtasks in file order: the domain's own first, then those of the rows in order of appearance;
  /// numbers of questions become places among these.
  std::vector<Subtask> finish(std::vector<ProbeItem>& items, std::int32_t first) const {
    std::vector<Subtask> used;
    std::vector<std::int32_t> place(shared_.size() + own_.size());
    for (std::size_t s = 0; s < place.size(); ++s) {
      const bool shared = s < shared_.size();
      if (shared && !uses_shared_) continue;
      place[s] = first + static_cast<std::int32_t>(used.size());
      used.push_back(shared ? shared_[s] : Subtask{.name = own_[s - shared_.size()], .prompt = {}});
    }
    for (ProbeItem& item : items) {
      for (ProbeQuestion& question : item.questions) {
        question.subtask = place[static_cast<std::size_t>(question.subtask)];
      }
      std::ranges::stable_sort(item.questions, {}, &ProbeQuestion::subtask);
    }
    return used;
  }

 private:
  static void ask(ProbeItem& item, std::size_t subtask, const std::string& prompt) {
    const ProbeQuestion question{.subtask = static_cast<std::int32_t>(subtask), .prompt = prompt};
    if (std::ranges::find(item.questions, question) == item.questions.end()) {
      item.questions.push_back(question);
    }
  }

  void ask_shared(ProbeItem& item, const SourceRow& row, std::size_t number) {
    require(!shared_.empty(),
            "{}: domain {} has no prompts in the prompts file and this row brings none; name the "
            "domain in a file for --prompts, or give the row a \"prompt\"",
            row.place, source_.name);
    uses_shared_ = true;
    if (pairing_ == Pairing::RoundRobin) {
      const std::size_t turn = number % shared_.size();
      ask(item, turn, shared_[turn].prompt);
      return;
    }
    for (std::size_t s = 0; s < shared_.size(); ++s) ask(item, s, shared_[s].prompt);
  }

  std::size_t own_subtask(const SourceRow& row) {
    require(std::ranges::find(shared_, row.subtask, &Subtask::name) == shared_.end(),
            "{}: subtask {} has a prompt in the prompts file already; give the row's another name",
            row.place, row.subtask);
    const auto found = std::ranges::find(own_, row.subtask);
    const auto place = static_cast<std::size_t>(found - own_.begin());
    if (found == own_.end()) own_.push_back(row.subtask);
    return shared_.size() + place;
  }

  const DomainSource& source_;
  Pairing pairing_;
  std::vector<Subtask> shared_;
  bool uses_shared_ = false;
  std::vector<std::string> own_;  ///< subtasks whose rows bring their prompts
};

std::vector<Message> conversation(std::size_t pictures, const std::string& prompt) {
  Message user{.role = Message::Role::User, .parts = {}};
  user.parts.assign(pictures, ImagePart{});
  user.parts.emplace_back(TextPart{prompt});
  return {std::move(user)};
}

}  // namespace

ProbeSet make_probe_set(const std::vector<DomainSource>& sources,
                        const std::vector<DomainPrompts>& prompts, const ProbeSetOptions& options) {
  ProbeSet set;
  std::int32_t subtasks = 0;
  for (const DomainSource& source : sources) {
    require(std::ranges::find(set.domains, source.name, &ProbeSetDomain::name) == set.domains.end(),
            "--domain: {} comes twice; join its sources in one JSONL file, or probe them apart and "
            "join the records with --merge",
            source.name);
    DomainBuilder builder(source, prompts, options.pairing);
    std::vector<ProbeItem> items;
    for (const auto& [path, rows] : pictures_of(source, options, set.domains.size())) {
      items.push_back(builder.item(path, rows, items.size()));
      items.back().domain = std::ssize(set.domains);
    }
    set.domains.push_back({.name = source.name,
                           .source = source.source,
                           .subtasks = builder.finish(items, subtasks)});
    subtasks += static_cast<std::int32_t>(set.domains.back().subtasks.size());
    std::ranges::move(items, std::back_inserter(set.items));
  }
  return set;
}

OpenedItem open_item(const ProbeItem& item, const Tokenizer& tokenizer,
                     const EncoderOptions& options) {
  OpenedItem opened;
  std::string bytes;
  std::vector<Size> sizes;
  std::vector<std::string> names;
  for (const auto& file : item.files) {
    const std::string content = read_file(file);
    opened.images.push_back(decode_image(std::as_bytes(std::span(content)), file.string()));
    sizes.push_back({.width = opened.images.back().width, .height = opened.images.back().height});
    names.push_back(file.string());
    bytes += content;
  }
  const auto picture_bytes = std::as_bytes(std::span(bytes));
  opened.hash = xxh3_128({picture_bytes});
  opened.placed = place_pictures(sizes, names, options);
  for (const ProbeQuestion& question : item.questions) {
    opened.sample_ids.push_back(
        xxh3_128({picture_bytes, std::as_bytes(std::span(question.prompt))}));
    try {
      opened.ids.push_back(encode_ids(tokenizer, conversation(item.files.size(), question.prompt),
                                      opened.placed.grids, options));
    } catch (const InputError& error) {
      throw InputError(fmt::format("{}: prompt: {}", item.place, error.what()));
    }
  }
  return opened;
}

}  // namespace espalier
