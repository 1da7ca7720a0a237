// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "espalier/base/random.h"
#include "espalier/prune/pooled.h"
#include "espalier/prune/ranking.h"
#include "espalier/records/probe_record.h"

/// How long `espalier rank` takes on a drawn record of the paper's size over the 4B model: 9,000
/// samples of nine subtasks, 36 layers of 2560. The best of some rounds counts.
///
///   bench_rank [rounds] [threads of the bootstrap]
namespace espalier {
namespace {

constexpr std::int64_t kLayers = 36;
constexpr std::int64_t kHidden = 2560;
constexpr std::int32_t kPicturesPerDomain = 1000;

void add_domain(ProbeRecord& record, const std::string& name, std::int32_t subtasks,
                Random& random) {
  const auto domain = static_cast<std::int64_t>(record.domains.size());
  const auto first_subtask = static_cast<std::int32_t>(count_subtasks(record));
  record.domains.push_back({.name = name, .source = name});
  for (std::int32_t s = 0; s < subtasks; ++s) {
    record.domains.back().subtasks.push_back(
        {.name = fmt::format("{}", s), .samples = kPicturesPerDomain});
  }
  ProbeSamples& samples = record.samples;
  for (std::int32_t p = 0; p < kPicturesPerDomain; ++p) {
    const auto picture = static_cast<std::int32_t>(record.pictures.size());
    record.pictures.push_back({.domain = domain,
                               .path = fmt::format("{:05}.png", p),
                               .hash = fmt::format("{:032x}", picture)});
    for (std::int32_t s = 0; s < subtasks; ++s) {
      samples.subtask.push_back(first_subtask + s);
      samples.image.push_back(picture);
      samples.tokens.push_back(600);
      samples.visual_tokens.push_back(500);
      samples.id.push_back({});
      for (std::int64_t layer = 0; layer < kLayers; ++layer) {
        const auto draw = [&] {
          return layer + 1 < kLayers ? static_cast<float>(0.85 + 0.15 * random.uniform())
                                     : std::numeric_limits<float>::quiet_NaN();
        };
        samples.similarity.push_back(draw());
        samples.similarity_visual.push_back(draw());
        samples.similarity_text.push_back(draw());
      }
    }
  }
}

ProbeRecord drawn_record() {
  Random random(1);
  ProbeRecord record{.model = {.fingerprint = std::string(64, 'a'),
                               .architecture = "Qwen3VLForConditionalGeneration",
                               .num_layers = kLayers,
                               .hidden_size = kHidden},
                     .options = "{}"};
  for (std::int64_t layer = 0; layer + 1 < kLayers; ++layer)
    record.measured_layers.push_back(layer);
  add_domain(record, "math", 5, random);
  add_domain(record, "nonmath", 4, random);
  record.sums = zero_sums(count_subtasks(record), kLayers, kHidden);
  ProbeSums& sums = record.sums;
  std::ranges::fill(sums.count, kPicturesPerDomain);
  for (auto* values : {&sums.pooled_input, &sums.pooled_output, &sums.window_cosine,
                       &sums.last_angle, &sums.attention_cosine, &sums.mlp_cosine, &sums.norm_ratio,
                       &sums.l2, &sums.hsic_xy, &sums.hsic_xx, &sums.hsic_yy}) {
    for (double& value : *values) value = kPicturesPerDomain * random.uniform();
  }
  return record;
}

double best_seconds(int rounds, const std::function<void()>& action) {
  double best = std::numeric_limits<double>::infinity();
  for (int round = 0; round < rounds; ++round) {
    const auto start = std::chrono::steady_clock::now();
    action();
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    best = std::min(best, seconds.count());
  }
  return best;
}

void print_row(const std::string& name, double seconds, const std::string& remark = "") {
  fmt::print("{:<52} {:>9.1f} ms  {}\n", name, 1e3 * seconds, remark);
}

/// CKA as it is mostly written: |X'Y|^2 over features, H x H, of one layer.
double cka_over_features(const std::vector<double>& x, const std::vector<double>& y,
                         std::size_t rows) {
  const std::size_t columns = x.size() / rows;
  const auto squared_norm = [&](const std::vector<double>& a, const std::vector<double>& b) {
    double sum = 0.0;
    std::vector<double> products(columns);
    for (std::size_t p = 0; p < columns; ++p) {
      std::ranges::fill(products, 0.0);
      for (std::size_t i = 0; i < rows; ++i) {
        const double factor = a[i * columns + p];
        for (std::size_t q = 0; q < columns; ++q) products[q] += factor * b[i * columns + q];
      }
      for (const double product : products) sum += product * product;
    }
    return sum;
  };
  return squared_norm(x, y) / std::sqrt(squared_norm(x, x) * squared_norm(y, y));
}

void compare_cka(int rounds) {
  constexpr std::size_t kRows = 9;
  Random random(2);
  std::vector<double> x(kRows * kHidden);
  std::vector<double> y(kRows * kHidden);
  for (double& value : x) value = random.normal();
  for (double& value : y) value = random.normal();
  double result = 0.0;
  const double over_features =
      best_seconds(rounds, [&] { result += cka_over_features(x, y, kRows); });
  const double by_gram = best_seconds(
      rounds, [&] { result += cka(centered_gram(x, kRows), centered_gram(y, kRows)).value(); });
  print_row("CKA of a layer, over features, H x H", over_features);
  print_row("CKA of a layer, by Gram matrices, 9 x 9", by_gram,
            fmt::format("{:.0f}x{}", over_features / by_gram, std::isfinite(result) ? "" : "?"));
}

void run(int rounds, std::size_t threads) {
  const ProbeRecord record = drawn_record();
  fmt::print("{} samples, {} pictures, {} layers of {}\n", record.samples.size(),
             record.pictures.size(), kLayers, kHidden);
  const auto folder = std::filesystem::temp_directory_path() /
                      fmt::format("espalier-bench-rank-{}",
                                  std::chrono::steady_clock::now().time_since_epoch().count());
  std::filesystem::create_directory(folder);
  write_probe_record(folder, record, /*force=*/true);
  print_row(
      "read the record", best_seconds(rounds, [&] { (void)read_probe_record(folder); }),
      fmt::format("{} MB", std::filesystem::file_size(folder / "probe.safetensors") / 1000000));
  std::filesystem::remove_all(folder);
  print_row("fingerprint the record (SHA-256)",
            best_seconds(rounds, [&] { (void)fingerprint(record); }));
  const auto ranked = [&](bool all, std::int64_t resamples) {
    return best_seconds(rounds, [&] {
      (void)rank(record, {.all = all, .resamples = resamples, .threads = threads});
    });
  };
  const double papers = ranked(false, 0);
  const double all = ranked(true, 0);
  print_row("rank by the paper's criteria", papers);
  print_row("rank --all", all, fmt::format("{} criteria", list_criteria(record, {}).size()));
  print_row("1,000 resamples of the paper's criteria", ranked(false, 1000) - papers);
  print_row("1,000 resamples with --all", ranked(true, 1000) - all);
  compare_cka(rounds);
}

}  // namespace
}  // namespace espalier

int main(int argc, char** argv) {
  espalier::run(argc > 1 ? std::atoi(argv[1]) : 3,
                argc > 2 ? static_cast<std::size_t>(std::atoi(argv[2])) : 0);
}
