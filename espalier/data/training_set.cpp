// SPDX-License-Identifier: Apache-2.0
#include "espalier/data/training_set.h"

#include <algorithm>
#include <atomic>
#include <optional>
#include <span>
#include <utility>

#include "espalier/base/error.h"
#include "espalier/base/file_bytes.h"
#include "espalier/base/hash.h"
#include "espalier/base/parallel.h"
#include "espalier/data/conversations.h"

namespace espalier {

namespace {

namespace fs = std::filesystem;

constexpr std::size_t kShownReasons = 20;

/// A conversation, and what its file says for it.
struct Row {
  Conversation conversation;
  fs::path folder;  ///< what the pictures' paths are relative to
};

/// What became of a row: a sample, or why there is none.
struct Outcome {
  std::optional<TrainingSample> sample;
  std::vector<std::string> picture_names;  ///< relative to the row's folder
  std::vector<std::int64_t> picture_file_bytes;
  std::string reason;
  bool is_long = false;
};

/// Turns rows into samples; has no state that changes, so that threads can share it.
class Planner {
 public:
  Planner(const Tokenizer& tokenizer, const TrainingSetOptions& options)
      : tokenizer_(tokenizer), encoder_(options.encoder), max_length_(options.max_length) {
    encoder_.chat.add_generation_prompt = false;
    const std::vector<Message> one = {{.role = Message::Role::Assistant, .parts = {}}};
    const auto before = encode_chat(tokenizer, one, {.add_generation_prompt = false});
    opening_ = encode_chat(tokenizer, one, {.add_generation_prompt = true});
    opening_.erase(opening_.begin(), opening_.begin() + std::ssize(before));
    end_ = tokenizer.id_of("<|im_end|>").value();
  }

  [[nodiscard]] Outcome plan(const Row& row) const {
    Outcome outcome;
    const std::string& place = row.conversation.place;
    try {
      outcome.sample = sample_of(row, outcome);
    } catch (const InputError& error) {
      outcome.reason = fmt::format("{}: {}", place, error.what());
      return outcome;
    }
    if (const auto length = std::ssize(outcome.sample->ids); length > max_length_) {
      outcome.is_long = true;
      outcome.reason =
          fmt::format("{}: the sample has {} tokens, the limit is {}", place, length, max_length_);
      outcome.sample.reset();
    }
    return outcome;
  }

 private:
  [[nodiscard]] TrainingSample sample_of(const Row& row, Outcome& outcome) const {
    const Conversation& conversation = row.conversation;
    TrainingSample sample{.ids = {}, .labels = {}, .images = conversation.images};
    sample.place = conversation.place;
    std::vector<std::string> names;
    for (const fs::path& image : conversation.images) {
      const FileBytes file(image);
      names.push_back(image.string());
      sample.picture_sizes.push_back(image_size(file.bytes(), names.back()));
      const fs::path relative = image.lexically_relative(row.folder);
      outcome.picture_names.push_back((relative.empty() ? image : relative).string());
      outcome.picture_file_bytes.push_back(std::ssize(file.bytes()));
    }
    sample.placed = place_pictures(sample.picture_sizes, names, encoder_);
    EncodedChat chat =
        encode_turns(tokenizer_, conversation.messages, sample.placed.grids, encoder_);
    for (const TurnSpan& turn : chat.assistant_turns) {
      if (!conversation.labelled[turn.message]) continue;
      check_turn(chat.ids, turn);
      sample.labels.push_back({.begin = turn.begin, .end = turn.end});
      sample.label_tokens += turn.end - turn.begin;
    }
    sample.visual_tokens = std::ranges::count(chat.ids, encoder_.image_token_id);
    sample.ids = std::move(chat.ids);
    return sample;
  }

  /// What is to be predicted begins where a generated answer would begin, and ends as one would.
  void check_turn(std::span<const std::int64_t> ids, const TurnSpan& turn) const {
    const auto begin = static_cast<std::size_t>(turn.begin);
    const auto end = static_cast<std::size_t>(turn.end);
    require(begin >= opening_.size() &&
                std::ranges::equal(ids.subspan(begin - opening_.size(), opening_.size()), opening_),
            "messages[{}]: the answer does not begin with a token of its own: the tokenizer joins "
            "its first line end with the chat template's; take blank lines at its beginning away",
            turn.message);
    require(end > begin && ids[end - 1] == end_,
            "messages[{}]: the answer does not end with <|im_end|>", turn.message);
  }

  const Tokenizer& tokenizer_;
  EncoderOptions encoder_;
  std::int64_t max_length_;
  std::vector<std::int64_t> opening_;  ///< what a generated answer follows
  std::int64_t end_;
};

/// Whether a row that gives no sample is left out; else it ends the work.
bool is_tolerated(const Outcome& outcome, const TrainingSetOptions& options) {
  return outcome.is_long ? options.long_samples == LongSamples::Drop : options.skip_bad;
}

/// Plans all rows on several threads, up to the first that stops the work, if one does.
std::vector<Outcome> plan_all(const std::vector<Row>& rows, const Planner& planner,
                              const TrainingSetOptions& options) {
  std::vector<Outcome> outcomes(rows.size());
  // The first row that stops the work: what comes after it is passed over, all before it is known.
  std::atomic<std::size_t> last = rows.size();
  in_parallel(thread_count(options.threads, rows.size()), rows.size(),
              [&](std::size_t, std::size_t i) {
                if (i > last) return;
                outcomes[i] = planner.plan(rows[i]);
                if (outcomes[i].sample || is_tolerated(outcomes[i], options)) return;
                for (std::size_t seen = last; i < seen && !last.compare_exchange_weak(seen, i);) {
                }
              });
  return outcomes;
}

void add(Sha256& hash, std::span<const std::int64_t> numbers) {
  const std::int64_t count = std::ssize(numbers);
  hash.update(std::as_bytes(std::span(&count, 1)));
  hash.update(std::as_bytes(numbers));
}

void add(Sha256& hash, const TrainingSample& sample, const Outcome& outcome) {
  std::vector<std::int64_t> labels;
  for (const LabelSpan& span : sample.labels) labels.insert(labels.end(), {span.begin, span.end});
  std::vector<std::int64_t> pictures;
  for (std::size_t i = 0; i < sample.images.size(); ++i) {
    const ImageGrid& grid = sample.placed.grids[i];
    const std::string& name = outcome.picture_names[i];
    pictures.insert(pictures.end(),
                    {grid.t, grid.h, grid.w, outcome.picture_file_bytes[i], std::ssize(name)});
  }
  add(hash, sample.ids);
  add(hash, labels);
  add(hash, pictures);
  for (const std::string& name : outcome.picture_names) hash.update(name);
}

/// Puts a set together, row by row.
class SetBuilder {
 public:
  explicit SetBuilder(const TrainingSetOptions& options) : options_(options) {}

  void drop_unreadable(const std::string& reason) {
    ++set_.counts.read;
    drop(set_.counts.dropped_bad, reason);
  }

  void take(const std::string& source, Outcome outcome) {
    ++set_.counts.read;
    if (!outcome.sample) {
      require(is_tolerated(outcome, options_), "{}{}", outcome.reason,
              outcome.is_long ? "; raise the limit, or have long samples dropped" : "");
      drop(outcome.is_long ? set_.counts.dropped_long : set_.counts.dropped_bad, outcome.reason);
      return;
    }
    TrainingSample& sample = *outcome.sample;
    add(hash_, sample, outcome);
    const auto length = std::ssize(sample.ids);
    ++set_.counts.kept;
    set_.counts.tokens += length;
    set_.counts.visual_tokens += sample.visual_tokens;
    set_.counts.label_tokens += sample.label_tokens;
    set_.counts.longest = std::max(set_.counts.longest, static_cast<std::int64_t>(length));
    sample.source = number_of(source);
    set_.samples.push_back(std::move(sample));
  }

  TrainingSet finish() {
    require(!set_.samples.empty(),
            "no sample to train on is left of {} rows: {} were too long, {} could not be used, the "
            "first: {}",
            set_.counts.read, set_.counts.dropped_long, set_.counts.dropped_bad,
            set_.dropped.empty() ? "-" : set_.dropped.front());
    set_.fingerprint = hash_.finish();
    return std::move(set_);
  }

 private:
  void drop(std::int64_t& count, const std::string& reason) {
    ++count;
    if (set_.dropped.size() < kShownReasons) set_.dropped.push_back(reason);
  }

  std::size_t number_of(const std::string& source) {
    const auto found = std::ranges::find(set_.sources, source);
    const auto number = static_cast<std::size_t>(found - set_.sources.begin());
    if (found == set_.sources.end()) set_.sources.push_back(source);
    return number;
  }

  const TrainingSetOptions& options_;
  TrainingSet set_;
  Sha256 hash_;
};

std::vector<Row> read_rows(const fs::path& file, const TrainingSetOptions& options,
                           SetBuilder& builder) {
  ConversationOptions reading{.image_root = options.image_root, .on_bad_row = {}};
  if (options.skip_bad) {
    reading.on_bad_row = [&](const std::string& reason) { builder.drop_unreadable(reason); };
  }
  std::vector<Row> rows;
  for (Conversation& conversation : read_conversations(file, reading)) {
    if (conversation.source.empty()) conversation.source = file.stem().string();
    rows.push_back(
        {.conversation = std::move(conversation),
         .folder = options.image_root.empty() ? file.parent_path() : options.image_root});
  }
  return rows;
}

}  // namespace

TrainingSet open_training_set(const std::vector<fs::path>& files, const Tokenizer& tokenizer,
                              const TrainingSetOptions& options) {
  require(!files.empty(), "wanted at least one file of conversations to train on");
  require(options.max_length > 0, "a limit of {} tokens a sample leaves none; wanted at least 1",
          options.max_length);
  const Planner planner(tokenizer, options);
  SetBuilder builder(options);
  for (const fs::path& file : files) {
    const std::vector<Row> rows = read_rows(file, options, builder);
    std::vector<Outcome> outcomes = plan_all(rows, planner, options);
    for (std::size_t i = 0; i < rows.size(); ++i) {
      builder.take(rows[i].conversation.source, std::move(outcomes[i]));
    }
  }
  return builder.finish();
}

std::uint64_t set_bytes(const TrainingSet& set) {
  std::uint64_t bytes = 0;
  for (const TrainingSample& sample : set.samples) {
    bytes += sizeof(sample) + sample.place.size();
    bytes += sizeof(std::int64_t) * sample.ids.size() + sizeof(LabelSpan) * sample.labels.size();
    bytes += (2 * sizeof(Size) + sizeof(ImageGrid)) * sample.images.size();
    for (const fs::path& image : sample.images) {
      // A path keeps its text and each of its parts.
      const auto parts = static_cast<std::uint64_t>(std::distance(image.begin(), image.end()));
      bytes += (parts + 1) * (sizeof(fs::path) + sizeof(std::size_t)) + 2 * image.native().size();
    }
  }
  return bytes;
}

std::vector<Image> read_pictures(const TrainingSample& sample) {
  std::vector<Image> pictures;
  for (std::size_t i = 0; i < sample.images.size(); ++i) {
    try {
      pictures.push_back(read_image(sample.images[i]));
    } catch (const InputError& error) {
      throw InputError(fmt::format("{}: {}", sample.place, error.what()));
    }
    const Size found{.width = pictures.back().width, .height = pictures.back().height};
    const Size& planned = sample.picture_sizes[i];
    require(found == planned,
            "{}: {} has {} x {} pixels now, and had {} x {} when the samples were planned; start "
            "again, and leave pictures as they are while they are trained on",
            sample.place, sample.images[i].string(), found.width, found.height, planned.width,
            planned.height);
  }
  return pictures;
}

}  // namespace espalier
