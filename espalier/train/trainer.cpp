// SPDX-License-Identifier: Apache-2.0
#include "espalier/train/trainer.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <omp.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>
#include <stdexcept>
#include <utility>

#include "espalier/base/error.h"
#include "espalier/base/parallel.h"
#include "espalier/data/sample_order.h"
#include "espalier/records/event_file.h"
#include "espalier/train/flops.h"
#include "espalier/train/pack_source.h"
#include "espalier/train/training_folder.h"

namespace espalier {

namespace {

using Clock = std::chrono::steady_clock;
using nlohmann::json;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

double now() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

/// Sums over a step's rows.
struct StepSums {
  double total = 0.0;  ///< what the gradient is of
  double cross_entropy = 0.0;
  double sample_means = 0.0;
  double divergence = 0.0;
  double hidden = 0.0;
  std::vector<double> by_source;
  std::vector<std::int64_t> rows_by_source;
};

/// While it lives, what this thread computes stays on this thread.
class OneThread {
 public:
  OneThread() {
    at::internal::lazy_init_num_threads();  // else the thread's first loop sets it again
    before_ = omp_get_max_threads();
    omp_set_num_threads(1);
  }
  OneThread(const OneThread&) = delete;
  OneThread& operator=(const OneThread&) = delete;
  ~OneThread() { omp_set_num_threads(before_); }

 private:
  int before_;
};

double megabytes(std::uint64_t bytes) { return static_cast<double>(bytes) / 1e6; }

void add(const TrainingSet& set, const std::vector<std::size_t>& samples,
         const PackedSamples& packed, const PackLoss& loss, StepSums& sums) {
  sums.total += loss.total;
  sums.hidden += loss.hidden;
  if (loss.divergence.defined()) sums.divergence += loss.divergence.sum().item<double>();
  const auto* rows = loss.cross_entropy.const_data_ptr<float>();
  for (std::size_t s = 0; s < samples.size(); ++s) {
    const std::int64_t count = packed.rows_of_sample[s];
    const double sum = std::accumulate(rows, rows + count, 0.0);
    rows += count;
    sums.cross_entropy += sum;
    sums.sample_means += sum / static_cast<double>(count);
    const std::size_t source = set.samples[samples[s]].source;
    sums.by_source[source] += sum;
    sums.rows_by_source[source] += count;
  }
}

/// What one step runs over.
struct PlannedStep {
  StepSamples samples;
  std::vector<std::vector<std::size_t>> packs;
};

class Run {
 public:
  Run(const TrainingInputs& inputs, const std::filesystem::path& out,
      const TrainingOptions& options)
      : inputs_(inputs),
        options_(options),
        order_{.count = inputs.set.samples.size(),
               .batch = static_cast<std::size_t>(options.batch),
               .seed = options.seed},
        steps_(options.steps.value_or(steps_of(order_.count, order_.batch, options.epochs))),
        result_{.plan = plan()},
        folder_(out, options.header, options.force),
        state_(make_optimizer_state(inputs.trained.parameters)),
        buffers_(static_cast<std::size_t>(options.workers - 1)),
        source_(source_of(inputs.set)) {
    for (at::Tensor& buffer : buffers_) {
      buffer = at::zeros_like(inputs.trained.parameters.gradients);
    }
  }

  TrainingResult run() {
    first_ = folder_.resume(inputs_.trained.parameters, state_);
    require(first_ <= steps_, "{}: the checkpoint is of step {}, beyond the last, {}",
            folder_.path().string(), first_, steps_);
    log_ = std::make_unique<TrainingLog>(folder_.steps_file(), first_);
    for (const TrainingStep& step : read_training_steps(folder_.steps_file())) remember(step);
    events_ = open_events();
    if (options_.plan) options_.plan(result_.plan);
    begun_ = saved_ = Clock::now();
    PlannedStep next = take_up(first_);
    for (std::int64_t step = first_; step < steps_; ++step) {
      const PlannedStep planned = std::exchange(next, take_up(step + 1));
      run_step(step, planned);
    }
    finish();
    return std::move(result_);
  }

 private:
  [[nodiscard]] PackSourceInputs source_of(const TrainingSet& set) const {
    return {.set = set,
            .config = inputs_.trained.model.config,
            .preprocessor = inputs_.preprocessor,
            .normalizer = options_.normalizer,
            .threads = options_.threads};
  }

  [[nodiscard]] PlannedStep plan_step(std::int64_t step) const {
    PlannedStep planned{.samples = samples_of_step(order_, step), .packs = {}};
    planned.packs = packs_of(inputs_.set, planned.samples.samples, options_.pack_tokens);
    return planned;
  }

  /// Plans a step that comes later, and has its pictures decoded. Nothing beyond the last.
  PlannedStep take_up(std::int64_t step) {
    if (step >= steps_) return {};
    PlannedStep planned = plan_step(step);
    source_.ask(planned.packs);
    return planned;
  }

  /// Named by the time and, since a run can be taken up twice in a second, by how many there are.
  [[nodiscard]] std::unique_ptr<EventFileWriter> open_events() const {
    constexpr std::string_view kPrefix = "events.out.tfevents";
    std::int64_t count = 0;
    for (const auto& entry : std::filesystem::directory_iterator(folder_.path())) {
      if (entry.path().filename().string().starts_with(kPrefix)) ++count;
    }
    const double time = now();
    return std::make_unique<EventFileWriter>(
        folder_.path() /
            fmt::format("{}.{:010}.{:04}", kPrefix, static_cast<std::int64_t>(time), count),
        EventFileOptions{.wall_time = time,
                         .resumed_after = count > 0 ? std::optional(first_) : std::nullopt});
  }

  /// The largest pack that the first steps have; a later one may be larger by a sample's length.
  [[nodiscard]] MemoryPlan plan() const {
    constexpr std::int64_t kLookedAt = 50;
    PackSize largest;
    for (std::int64_t step = 0; step < std::min(steps_, kLookedAt); ++step) {
      for (const auto& pack : plan_step(step).packs) {
        const SampleCounts counts = count_samples(inputs_.set, pack);
        largest.tokens = std::max(largest.tokens, counts.tokens);
        largest.label_tokens = std::max(largest.label_tokens, counts.label_tokens);
        largest.patches = std::max(largest.patches, counts.patches);
      }
    }
    const std::uint64_t budget = options_.memory_bytes.value_or(machine_bytes() / 10 * 9);
    MemoryPlan plan = plan_memory(inputs_.trained, largest,
                                  {.weight_bytes = weight_bytes(),
                                   .data_bytes = data_bytes(),
                                   .workers = options_.workers,
                                   .budget = budget});
    require(!options_.memory_bytes || plan.total() <= budget,
            "--memory: {:.1f} MB are too little, even with every layer run again; give at least "
            "{:.1f} MB, or smaller packs (--pack-tokens), or fewer --workers",
            megabytes(budget), std::ceil(10.0 * megabytes(plan.total())) / 10.0);
    return plan;
  }

  [[nodiscard]] std::uint64_t data_bytes() const {
    std::uint64_t bytes = set_bytes(inputs_.set);
    if (inputs_.validation != nullptr) bytes += set_bytes(*inputs_.validation);
    return bytes;
  }

  [[nodiscard]] std::uint64_t weight_bytes() const {
    std::uint64_t bytes = model_bytes(inputs_.trained.model);
    if (inputs_.teacher != nullptr) bytes += model_bytes(inputs_.teacher->model);
    return bytes;
  }

  void run_step(std::int64_t step, const PlannedStep& planned) {
    const auto begin = Clock::now();
    const auto& [samples, packs] = planned;
    const SampleCounts counts = count_samples(inputs_.set, samples.samples);
    StepSums sums = empty_sums();
    for (std::size_t p = 0; p < packs.size();) p += run_packs(step, p, packs, counts, sums);
    // A cosine down to the peak itself is constant.
    const double schedule =
        cosine_schedule(step, steps_, warmup_steps(), options_.constant ? 1.0 : options_.floor);
    if (!std::isfinite(sums.total)) refuse_step(step, "loss", samples.samples);
    const OptimizerStep taken =
        optimizer_step(inputs_.trained.parameters, state_, options_.optimizer,
                       options_.learning_rate * schedule, schedule);
    if (!std::isfinite(taken.gradient_norm)) refuse_step(step, "gradient", samples.samples);

    TrainingStep record = describe(step, samples, counts, sums);
    record.learning_rate = options_.learning_rate * schedule;
    record.gradient_norm = taken.gradient_norm;
    record.clip_coefficient = taken.clip_coefficient;
    measure_time(begin, counts, record);
    if (is_validated(step)) validate(record);
    tell(record);
    if (step + 1 < steps_ && seconds_since(saved_) >= options_.save_every_seconds) save();
  }

  /// Runs as many packs as there are workers, from pack `first`, and tells how many those were. The
  /// gradients are summed in the packs' order: the result depends on the number of workers alone.
  std::size_t run_packs(std::int64_t step, std::size_t first,
                        const std::vector<std::vector<std::size_t>>& packs,
                        const SampleCounts& counts, StepSums& sums) {
    const std::size_t together =
        std::min(packs.size() - first, static_cast<std::size_t>(options_.workers));
    std::vector<DecodedPack> decoded;
    for (std::size_t i = 0; i < together; ++i) decoded.push_back(source_.next(packs[first + i]));
    std::vector<PackedSamples> packed(together);
    std::vector<PackLoss> losses(together);
    const auto run = [&](std::size_t i) {
      packed[i] = source_.pack(std::move(decoded[i]), counts);
      packed[i].pack.dropout_seed = mix_seed(
          {options_.seed, static_cast<std::uint64_t>(step), static_cast<std::uint64_t>(first + i)});
      const auto features = kept_features(packed[i].pack.input);
      losses[i] = run_pack(inputs_.trained, inputs_.teacher, packed[i].pack, options_.objective,
                           {.kept_layers = result_.plan.kept_layers,
                            .features = features ? &*features : nullptr,
                            .gradients = buffer(i)});
    };
    if (options_.workers == 1) {
      run(0);
    } else {
      in_parallel(together, together, [&](std::size_t, std::size_t i) {
        const OneThread one;
        run(i);
      });
      for (std::size_t i = 1; i < together; ++i) buffer(0).add_(buffers_[i - 1]);
      for (std::size_t i = 1; i < together; ++i) buffers_[i - 1].zero_();
    }
    for (std::size_t i = 0; i < together; ++i) {
      add(inputs_.set, packs[first + i], packed[i], losses[i], sums);
    }
    return together;
  }

  /// What the cache says of a pack's pictures; nothing without one, or without pictures.
  [[nodiscard]] std::optional<VisionFeatures> kept_features(const ModelInput& input) const {
    if (inputs_.vision_cache == nullptr || !input.pixel_values.defined()) return std::nullopt;
    return inputs_.vision_cache->features(inputs_.trained.model, input);
  }

  /// Where the gradients of the i-th of the packs that run together are added.
  [[nodiscard]] const at::Tensor& buffer(std::size_t i) const {
    return i == 0 ? inputs_.trained.parameters.gradients : buffers_[i - 1];
  }

  [[nodiscard]] StepSums empty_sums() const {
    const std::size_t sources = inputs_.set.sources.size();
    return {.by_source = std::vector<double>(sources),
            .rows_by_source = std::vector<std::int64_t>(sources)};
  }

  [[nodiscard]] std::int64_t warmup_steps() const {
    return static_cast<std::int64_t>(std::ceil(options_.warmup * static_cast<double>(steps_)));
  }

  [[noreturn]] void refuse_step(std::int64_t step, std::string_view what,
                                const std::vector<std::size_t>& samples) const {
    std::string places;
    for (std::size_t i = 0; i < std::min<std::size_t>(samples.size(), 5); ++i) {
      places += (i == 0 ? "" : ", ") + inputs_.set.samples[samples[i]].place;
    }
    const bool saved = path_exists(folder_.checkpoint());
    throw std::runtime_error(fmt::format(
        "step {}: the {} is not finite; its {} samples begin with {}; {}; try a lower "
        "--learning-rate, a --warmup, or --dtype float32",
        step + 1, what, samples.size(), places,
        saved ? fmt::format("the last good checkpoint is {}", folder_.checkpoint().string())
              : "no checkpoint was saved before"));
  }

  [[nodiscard]] TrainingStep describe(std::int64_t step, const StepSamples& samples,
                                      const SampleCounts& counts, const StepSums& sums) const {
    TrainingStep record{
        .step = step + 1,
        .epoch = static_cast<double>(samples.epoch) +
                 static_cast<double>(samples.end) / static_cast<double>(order_.count),
        .loss = sums.cross_entropy / static_cast<double>(counts.label_tokens),
        .sample_mean_loss = sums.sample_means / static_cast<double>(counts.samples),
        .samples = counts.samples,
        .tokens = counts.tokens,
        .visual_tokens = counts.visual_tokens,
        .label_tokens = counts.label_tokens};
    if (inputs_.teacher != nullptr) {
      record.divergence = sums.divergence / static_cast<double>(counts.label_tokens);
      if (options_.objective.hidden_weight > 0.0) {
        record.hidden_loss = sums.hidden / static_cast<double>(counts.tokens);
      }
    }
    for (std::size_t source = 0; source < sums.by_source.size(); ++source) {
      const std::int64_t rows = sums.rows_by_source[source];
      if (rows == 0) continue;
      record.losses.push_back({.name = inputs_.set.sources[source],
                               .loss = sums.by_source[source] / static_cast<double>(rows),
                               .label_tokens = rows});
    }
    return record;
  }

  void measure_time(Clock::time_point begin, const SampleCounts& counts, TrainingStep& record) {
    record.seconds = seconds_since(begin);
    record.data_wait_seconds = source_.take_wait_seconds();
    record.tokens_per_second = static_cast<double>(counts.tokens) / record.seconds;
    record.flops_per_second = step_flops(inputs_.trained, inputs_.teacher,
                                         {.tokens = counts.tokens,
                                          .label_tokens = counts.label_tokens,
                                          .patches = counts.patches}) /
                              record.seconds;
    record.peak_memory_bytes = peak_resident_bytes();
  }

  [[nodiscard]] bool is_validated(std::int64_t step) const {
    return step + 1 == steps_ ||
           (options_.validate_every > 0 && (step + 1) % options_.validate_every == 0);
  }

  void validate(TrainingStep& record) {
    if (inputs_.validation != nullptr) record.validation_loss = validation_loss();
    if (options_.exact_match) record.exact_match = options_.exact_match(inputs_.trained.model);
  }

  [[nodiscard]] double validation_loss() const {
    const TrainingSet& set = *inputs_.validation;
    std::vector<std::size_t> all(set.samples.size());
    std::iota(all.begin(), all.end(), 0);
    const SampleCounts counts = count_samples(set, all);
    PackSource source(source_of(set));
    const auto packs = packs_of(set, all, options_.pack_tokens);
    source.ask(packs);
    double sum = 0.0;
    for (const auto& samples : packs) {
      const PackedSamples packed = source.pack(source.next(samples), counts);
      const auto features = kept_features(packed.pack.input);
      const PackLoss loss =
          run_pack(inputs_.trained, nullptr, packed.pack, {},
                   {.backward = false, .features = features ? &*features : nullptr});
      sum += loss.cross_entropy.sum().item<double>();
    }
    return sum / static_cast<double>(counts.label_tokens);
  }

  /// What the run's record will say of a step, of this run's or of a former one's.
  void remember(const TrainingStep& record) {
    result_.loss = record.loss;
    result_.validation_loss = record.validation_loss;
    result_.exact_match = record.exact_match;
    result_.tokens += record.tokens;
  }

  void tell(const TrainingStep& record) {
    log_->append(record);
    const auto curve = [&](std::string_view tag, double value) {
      events_->add_scalar(tag, record.step, value, now());
    };
    curve("train/loss", record.loss);
    for (const SourceLoss& source : record.losses) {
      curve(fmt::format("train/loss/{}", source.name), source.loss);
    }
    if (record.divergence) curve("train/divergence", *record.divergence);
    if (record.hidden_loss) curve("train/hidden_loss", *record.hidden_loss);
    curve("train/learning_rate", record.learning_rate);
    curve("train/gradient_norm", record.gradient_norm);
    curve("speed/tokens_per_second", record.tokens_per_second);
    if (record.validation_loss) curve("validation/loss", *record.validation_loss);
    if (record.exact_match) curve("validation/exact_match", record.exact_match->value);
    remember(record);
    if (options_.progress) options_.progress(record, steps_, first_);
  }

  void save() {
    log_->sync();
    folder_.save(inputs_.trained.parameters, state_);
    saved_ = Clock::now();
  }

  void finish() {
    result_.steps = steps_;
    result_.seconds = seconds_since(begun_);
    result_.peak_memory_bytes = peak_resident_bytes();
    save();  // what follows may fail on a full disk
    if (options_.finish) options_.finish(result_);
    folder_.finish(results().dump());
  }

  [[nodiscard]] json results() const {
    const auto or_null = [](const auto& value) { return value ? json(*value) : json(nullptr); };
    return {{"steps", result_.steps},
            {"loss", result_.loss},
            {"validation_loss", or_null(result_.validation_loss)},
            {"exact_match", result_.exact_match ? json{{"value", result_.exact_match->value},
                                                       {"count", result_.exact_match->count}}
                                                : json(nullptr)},
            {"seconds", result_.seconds},
            {"tokens", result_.tokens},
            {"trained_numbers", inputs_.trained.parameters.values.numel()},
            {"planned_memory_bytes", result_.plan.total()},
            {"peak_memory_bytes", result_.peak_memory_bytes}};
  }

  const TrainingInputs& inputs_;
  const TrainingOptions& options_;
  SampleOrder order_;
  std::int64_t steps_;
  TrainingResult result_;  ///< planned before the folder: too little memory leaves nothing behind
  TrainingFolder folder_;
  OptimizerState state_;
  std::vector<at::Tensor> buffers_;  ///< gradients of the packs that run beside the first
  PackSource source_;
  std::int64_t first_ = 0;  ///< steps that a former run did
  std::unique_ptr<TrainingLog> log_;
  std::unique_ptr<EventFileWriter> events_;
  Clock::time_point begun_;
  Clock::time_point saved_;
};

}  // namespace

TrainingResult train(const TrainingInputs& inputs, const std::filesystem::path& out,
                     const TrainingOptions& options) {
  return Run(inputs, out, options).run();
}

}  // namespace espalier
