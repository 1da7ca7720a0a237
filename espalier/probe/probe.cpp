// SPDX-License-Identifier: Apache-2.0
#include "espalier/probe/probe.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <map>
#include <mutex>

#include "espalier/base/error.h"
#include "espalier/base/hash.h"
#include "espalier/model/load.h"
#include "espalier/model/tasks.h"
#include "espalier/probe/hsic.h"
#include "espalier/probe/measure.h"
#include "espalier/probe/memory.h"
#include "espalier/probe/run_folder.h"

namespace espalier {

namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr std::uint64_t kDefaultExtraBytes = 400'000'000;
/// What the program itself still grows by once it runs: code that is touched, buffers of libraries,
/// what the allocator keeps.
constexpr std::uint64_t kLaterBytes = 100'000'000;
/// More rows would make no product faster, only wait longer for the first figure.
constexpr std::int64_t kMostRows = 4096;

EncoderOptions encoder_options(const ProbeModel& of) {
  return encoder_options(of.model.config, of.preprocessor);
}

// ---- looking at everything before anything runs ----

/// What is known of an item once it was opened.
struct CheckedItem {
  ProbeItem item;
  std::array<std::uint8_t, 16> hash{};
  std::vector<SampleId> ids;  ///< one a question
  WorkSize size;
  std::string error;  ///< why it cannot be used; empty if it can
};

WorkSize size_of(const OpenedItem& opened) {
  WorkSize size;
  const std::int64_t shared = shared_prefix(opened.ids);
  size.rows = shared;
  for (const auto& ids : opened.ids) size.rows += std::ssize(ids) - shared;
  for (const ImageGrid& grid : opened.placed.grids) {
    size.patches += grid.patches();
    size.largest_picture = std::max(size.largest_picture, grid.patches());
  }
  return size;
}

CheckedItem check_item(const ProbeItem& item, const ProbeModel& model,
                       const EncoderOptions& encoder) {
  CheckedItem checked{.item = item};
  try {
    const OpenedItem opened = open_item(item, model.tokenizer, encoder);
    checked.hash = opened.hash;
    checked.ids = opened.sample_ids;
    checked.size = size_of(opened);
  } catch (const InputError& error) {
    checked.error = error.what();
  }
  return checked;
}

std::vector<CheckedItem> check_items(const ProbeModel& model, const ProbeSet& set,
                                     const ProbeOptions& options) {
  const EncoderOptions encoder = encoder_options(model);
  std::vector<CheckedItem> checked(set.items.size());
  std::int64_t done = 0;
  std::mutex mutex;
  for_each_task(std::ssize(set.items), 0, [&](std::int64_t i, void*) {
    const auto place = static_cast<std::size_t>(i);
    checked[place] = check_item(set.items[place], model, encoder);
    const std::lock_guard lock(mutex);
    ++done;
    if (options.progress) {
      options.progress({.phase = ProbeProgress::Phase::Checking,
                        .items_done = done,
                        .items = std::ssize(set.items)});
    }
  });
  return checked;
}

void refuse_bad_items(const std::vector<CheckedItem>& checked) {
  std::string messages;
  std::int64_t bad = 0;
  for (const CheckedItem& item : checked) {
    if (item.error.empty()) continue;
    if (++bad <= 5) messages += "\n  " + item.error;
  }
  require(bad == 0,
          "{} of {} pictures cannot be used:{}{}\nmend them, or leave them out with --skip-bad",
          bad, checked.size(), messages, bad > 5 ? "\n  ..." : "");
}

/// Leaves out what cannot be used and what comes twice; says so in the record.
std::vector<CheckedItem> usable_items(std::vector<CheckedItem> checked, ProbeRecord& record) {
  std::map<std::pair<std::int64_t, SampleId>, std::string> seen;
  std::vector<CheckedItem> usable;
  for (CheckedItem& item : checked) {
    if (!item.error.empty()) {
      record.skipped.push_back({.file = item.item.path, .reason = item.error});
      continue;
    }
    CheckedItem kept = item;
    kept.item.questions.clear();
    kept.ids.clear();
    std::string twin;
    for (std::size_t q = 0; q < item.ids.size(); ++q) {
      const auto [first, fresh] =
          seen.emplace(std::pair(item.item.domain, item.ids[q]), item.item.path);
      if (!fresh) {
        twin = first->second;
        continue;
      }
      kept.item.questions.push_back(item.item.questions[q]);
      kept.ids.push_back(item.ids[q]);
    }
    if (!twin.empty()) {
      record.skipped.push_back({.file = item.item.path,
                                .reason = fmt::format("the same picture and prompt as {}", twin)});
    }
    if (!kept.ids.empty()) usable.push_back(std::move(kept));
  }
  require(!usable.empty(), "none of the {} pictures can be used; the first: {}", checked.size(),
          record.skipped.front().reason);
  return usable;
}

/// The canonical order of one picture's samples: by subtask, then id.
void sort_questions(CheckedItem& checked) {
  std::vector<std::pair<ProbeQuestion, SampleId>> pairs;
  for (std::size_t q = 0; q < checked.ids.size(); ++q) {
    pairs.emplace_back(checked.item.questions[q], checked.ids[q]);
  }
  std::ranges::sort(pairs, {},
                    [](const auto& pair) { return std::pair(pair.first.subtask, pair.second); });
  for (std::size_t q = 0; q < pairs.size(); ++q) {
    std::tie(checked.item.questions[q], checked.ids[q]) = pairs[q];
  }
}

// ---- the record before the first pass ----

ProbeRecord empty_record(const ProbeModel& of, const ProbeSet& set, const ProbeOptions& options) {
  const TextConfig& text = of.model.config.text;
  ProbeRecord record{.model = {.fingerprint = fingerprint(of.directory),
                               .architecture = kArchitecture,
                               .num_layers = text.num_hidden_layers,
                               .hidden_size = text.hidden_size},
                     .options = options.described};
  for (const ProbeSetDomain& domain : set.domains) {
    record.domains.push_back({.name = domain.name, .source = domain.source, .subtasks = {}});
    for (const Subtask& subtask : domain.subtasks) {
      record.domains.back().subtasks.push_back({.name = subtask.name, .prompt = subtask.prompt});
    }
  }
  const std::int64_t measured = text.num_hidden_layers - (options.last_layer ? 0 : 1);
  for (std::int64_t layer = 0; layer < measured; ++layer) record.measured_layers.push_back(layer);
  record.sums = zero_sums(count_subtasks(record), text.num_hidden_layers, text.hidden_size);
  return record;
}

void add_pictures(ProbeRecord& record, const std::vector<CheckedItem>& items) {
  for (const CheckedItem& item : items) {
    record.pictures.push_back(
        {.domain = item.item.domain, .path = item.item.path, .hash = to_hexadecimal(item.hash)});
  }
}

// ---- passes ----

/// Items [begin, end) of one pass.
struct Pass {
  std::size_t begin;
  std::size_t end;
};

std::int64_t bytes_a_number(const ProbeModel& of) {
  return static_cast<std::int64_t>(c10::elementSize(of.model.dtype()));
}

/// How much memory passes may take, and whether weights must be given back for it.
struct MemoryPlan {
  std::uint64_t pass_bytes;
  bool stream;
};

MemoryPlan plan_memory(const ProbeModel& of, const std::vector<CheckedItem>& items,
                       const ProbeOptions& options, const WeightPages& pages,
                       std::int64_t measured) {
  std::uint64_t mapped = 0;
  for (const auto& name : of.directory.weights.names()) {
    mapped += of.directory.weights.bytes(name).size();
  }
  const std::int64_t number = bytes_a_number(of);
  std::uint64_t largest = 0;
  for (const CheckedItem& item : items) {
    largest = std::max(largest, pass_bytes(of.model.config, item.size, number));
  }
  const std::uint64_t limit = options.memory_bytes.value_or(mapped + kDefaultExtraBytes);
  const std::uint64_t base = resident_bytes() + kLaterBytes;
  // Tensors that are no views of the mapping (another dtype, a GPU) cannot be given back.
  const bool views =
      of.model.device().is_cpu() && of.model.dtype() == scalar_type_of(of.model.config.dtype);
  if (!views) {
    if (!options.memory_bytes) return {.pass_bytes = largest + (1ULL << 30U), .stream = false};
    require(
        base + largest <= limit,
        "--memory: {} MB are too little: the model takes {} MB in this dtype or on this device, "
        "the largest picture {} MB; with the weights as stored on the CPU they can be streamed",
        limit / 1'000'000, base / 1'000'000, largest / 1'000'000);
    return {.pass_bytes = limit - base, .stream = false};
  }
  const std::uint64_t whole = base + pages.touched_bytes(measured);
  if (whole + largest <= limit) return {.pass_bytes = limit - whole, .stream = false};
  const std::uint64_t streamed = base + pages.streamed_bytes();
  require(!options.memory_bytes || streamed + largest <= limit,
          "--memory: {} MB are too little: program {} MB, vision tower and one layer {} MB, the "
          "largest picture {} MB; give at least {} MB",
          limit / 1'000'000, base / 1'000'000, pages.streamed_bytes() / 1'000'000,
          largest / 1'000'000, (streamed + largest) / 1'000'000 + 1);
  if (streamed + largest > limit) return {.pass_bytes = largest, .stream = false};
  return {.pass_bytes = limit - streamed, .stream = true};
}

std::vector<Pass> plan_passes(const std::vector<CheckedItem>& items, std::size_t first,
                              const Qwen3VLConfig& config, const MemoryPlan& memory,
                              std::int64_t most_items, std::int64_t bytes_a_number) {
  std::vector<Pass> passes;
  for (std::size_t begin = first; begin < items.size();) {
    WorkSize size = items[begin].size;
    std::size_t end = begin + 1;
    for (; end < items.size() && std::cmp_less(end - begin, most_items); ++end) {
      const WorkSize more = size + items[end].size;
      if (pass_bytes(config, more, bytes_a_number) > memory.pass_bytes || more.rows > kMostRows) {
        break;
      }
      size = more;
    }
    passes.push_back({.begin = begin, .end = end});
    begin = end;
  }
  return passes;
}

/// A pass's samples and their names.
struct PassInput {
  TreeInput tree;
  std::vector<SampleName> names;
};

PassInput open_pass(const ProbeModel& of, const std::vector<CheckedItem>& items, const Pass& pass) {
  const EncoderOptions encoder = encoder_options(of);
  PassInput input;
  std::vector<ExampleTree> trees;
  for (std::size_t i = pass.begin; i < pass.end; ++i) {
    OpenedItem opened = open_item(items[i].item, of.tokenizer, encoder);
    require(opened.hash == items[i].hash, "{}: the picture has changed while the probe ran",
            items[i].item.place);
    trees.push_back({.ids = std::move(opened.ids),
                     .images = std::move(opened.images),
                     .target_sizes = std::move(opened.placed.target_sizes),
                     .grids = std::move(opened.placed.grids)});
    for (std::size_t q = 0; q < items[i].ids.size(); ++q) {
      input.names.push_back({.subtask = items[i].item.questions[q].subtask,
                             .image = static_cast<std::int32_t>(i),
                             .id = items[i].ids[q]});
    }
  }
  input.tree = to_tree_input(trees, of.model.config, of.preprocessor);
  return input;
}

void run_pass(const ProbeModel& of, PassInput input, const WeightPages* streamed, HsicBlocks& hsic,
              ProbeRecord& record) {
  const at::Tensor visual = input.tree.input.input_ids == of.model.config.image_token_id;
  Measurement measurement(record, input.tree, input.names, visual);
  const auto measured = std::ssize(record.measured_layers);
  const auto observe = [&](std::int64_t layer, const LayerTaps& taps) {
    measurement.add_layer(layer, taps);
    if (streamed == nullptr) return;
    if (layer == 0) streamed->release_vision();
    streamed->release_layer(layer);
  };
  const at::Tensor hidden =
      forward(of.model, input.tree.input, {.first_layers = measured, .observe_layer = observe});
  const bool all = measured == of.model.config.text.num_hidden_layers;
  measurement.finish(all ? std::nullopt : std::optional(hidden), hsic);
}

void set_sample_counts(ProbeRecord& record) {
  std::size_t g = 0;
  for (ProbeDomain& domain : record.domains) {
    for (ProbeSubtask& subtask : domain.subtasks) subtask.samples = record.sums.count[g++];
  }
}

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

}  // namespace

ProbeResult probe(const ProbeModel& of, const ProbeSet& set, const fs::path& out,
                  const ProbeOptions& options) {
  std::vector<CheckedItem> checked = check_items(of, set, options);
  if (!options.skip_bad) refuse_bad_items(checked);
  ProbeResult result{.record = empty_record(of, set, options)};
  ProbeRecord& record = result.record;
  std::vector<CheckedItem> items = usable_items(std::move(checked), record);
  for (CheckedItem& item : items) sort_questions(item);
  add_pictures(record, items);

  const WeightPages pages(of.directory);
  const MemoryPlan memory =
      plan_memory(of, items, options, pages, std::ssize(record.measured_layers));
  const RunFolder folder(out, record, options.force);
  const std::size_t done = folder.resume(record);
  HsicBlocks hsic(folder.pooled_file(), record.model.num_layers, record.model.hidden_size);
  result.streamed = memory.stream;

  ProbeProgress progress{.phase = ProbeProgress::Phase::Measuring, .items = std::ssize(items)};
  for (std::size_t i = 0; i < items.size(); ++i) {
    progress.rows += items[i].size.rows;
    if (i < done) progress.rows_done += items[i].size.rows;
  }
  progress.items_done = static_cast<std::int64_t>(done);
  progress.rows_resumed = progress.rows_done;
  if (options.progress) options.progress(progress);

  const auto start = Clock::now();
  auto saved = start;
  const std::int64_t number = bytes_a_number(of);
  for (const Pass& pass :
       plan_passes(items, done, of.model.config, memory, options.most_pictures_a_pass, number)) {
    run_pass(of, open_pass(of, items, pass), memory.stream ? &pages : nullptr, hsic, record);
    const auto count = static_cast<std::int64_t>(pass.end - pass.begin);
    result.most_items_a_pass = std::max(result.most_items_a_pass, count);
    progress.items_done += count;
    for (std::size_t i = pass.begin; i < pass.end; ++i) progress.rows_done += items[i].size.rows;
    if (options.progress) options.progress(progress);
    if (pass.end < items.size() && seconds_since(saved) >= options.save_every_seconds) {
      hsic.sync();
      folder.save(record, pass.end);
      saved = Clock::now();
    }
  }
  hsic.finish(record.sums);
  set_sample_counts(record);
  result.seconds = seconds_since(start);
  result.rows = progress.rows_done - progress.rows_resumed;
  folder.finish(record);
  return result;
}

}  // namespace espalier
