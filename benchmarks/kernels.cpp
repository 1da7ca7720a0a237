// SPDX-License-Identifier: Apache-2.0
#include "espalier/model/kernels.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "espalier/model/attention.h"

/// The kernels against the same thing composed of ATen calls, in bfloat16 and the shapes of the 2B
/// and 4B models. The two take turns, so that a busy machine is busy for both; the best time of
/// each counts.
///
///   bench_kernels [threads] [rounds] [only rows that contain this]
namespace espalier {
namespace {

using Action = std::function<void()>;

double seconds(const Action& action) {
  const auto start = std::chrono::steady_clock::now();
  action();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

at::TensorOptions bfloat16() { return at::TensorOptions().dtype(at::kBFloat16); }

class Table {
 public:
  Table(int rounds, std::string filter) : rounds_(rounds), filter_(std::move(filter)) {
    fmt::print("{:<40} {:>10} {:>10} {:>7}   {:>9} {:>9}\n", "", "ours ms", "ATen ms", "ratio",
               "ours", "ATen");
  }

  /// \param amount  the work of one call, in units of 1e9: GFLOP or GB
  void compare(const std::string& name, double amount, const char* unit, const Action& ours,
               const Action& atens) const {
    if (name.find(filter_) == std::string::npos) return;
    double best = std::numeric_limits<double>::infinity();
    double atens_best = best;
    for (int round = 0; round < rounds_; ++round) {
      best = std::min(best, seconds(ours));
      atens_best = std::min(atens_best, seconds(atens));
    }
    fmt::print("{:<40} {:>10.3f} {:>10.3f} {:>6.2f}x   {:>9.1f} {:>9.1f} {}\n", name, best * 1e3,
               atens_best * 1e3, atens_best / best, amount / best, amount / atens_best, unit);
  }

 private:
  int rounds_;
  std::string filter_;
};

struct AttentionCase {
  const char* name;
  int64_t tokens, keys, heads, kv_heads, head_dim;
  bool causal;
};

void compare_attention(const Table& table, const AttentionCase& c) {
  const auto q = at::randn({c.tokens, c.heads, c.head_dim}, bfloat16());
  const auto k = at::randn({c.keys, c.kv_heads, c.head_dim}, bfloat16());
  const auto v = at::randn({c.keys, c.kv_heads, c.head_dim}, bfloat16());
  const AttentionOptions options{.scale = 1.0 / std::sqrt(static_cast<double>(c.head_dim)),
                                 .causal = c.causal};
  const auto pairs =
      static_cast<double>(c.causal ? c.tokens * (c.keys - c.tokens) + c.tokens * (c.tokens + 1) / 2
                                   : c.tokens * c.keys);
  const double flop = 4.0 * pairs * static_cast<double>(c.heads * c.head_dim);
  const auto bytes = static_cast<double>(4 * c.keys * c.kv_heads * c.head_dim);
  const bool decode = c.tokens == 1;
  table.compare(
      fmt::format("attention {} {}x{}", c.name, c.tokens, c.keys), (decode ? bytes : flop) * 1e-9,
      decode ? "GB/s" : "GFLOP/s", [&] { attention(q, k, v, options); },
      [&] { composed::attention(q, k, v, options); });
}

void compare_attentions(const Table& table) {
  for (const AttentionCase& c :
       std::vector<AttentionCase>{{"vision 16x64", 1024, 1024, 16, 16, 64, false},
                                  {"vision 16x72", 1024, 1024, 16, 16, 72, false},
                                  {"vision 16x64", 4096, 4096, 16, 16, 64, false},
                                  {"16/8x128 causal", 277, 277, 16, 8, 128, true},
                                  {"16/8x128 causal", 1280, 1280, 16, 8, 128, true},
                                  {"32/8x128 causal", 1280, 1280, 32, 8, 128, true},
                                  {"16/8x128 prompt on prefix", 38, 316, 16, 8, 128, true},
                                  {"16/8x128 decode", 1, 400, 16, 8, 128, true},
                                  {"16/8x128 decode", 1, 4000, 16, 8, 128, true},
                                  {"32/8x128 decode", 1, 1280, 32, 8, 128, true}}) {
    compare_attention(table, c);
  }
}

/// Twelve weights, so that they come from memory and not from a cache.
void compare_linear(const Table& table) {
  constexpr int64_t kIn = 2048;
  constexpr int64_t kOut = 6144;
  std::vector<at::Tensor> weights;
  for (int i = 0; i < 12; ++i) weights.push_back(at::randn({kOut, kIn}, bfloat16()));
  const double bytes = 12.0 * 2.0 * kIn * kOut;
  // The measure of all: the same bytes, only read.
  const auto words = [&](const at::Tensor& weight) { return weight.view(at::kLong); };
  table.compare(
      "sum of the weights' words (read)", bytes * 1e-9, "GB/s",
      [&] {
        for (const auto& weight : weights) words(weight).max();
      },
      [&] {
        for (const auto& weight : weights) words(weight).sum();
      });
  for (const int64_t tokens : {1, 2, 3, 4, 8}) {
    const auto x = at::randn({tokens, kIn}, bfloat16());
    table.compare(
        fmt::format("linear 6144x2048, {} tokens", tokens), bytes * 1e-9, "GB/s",
        [&] {
          for (const auto& weight : weights) espalier::linear(x, weight);
        },
        [&] {
          for (const auto& weight : weights) composed::linear(x, weight);
        });
  }
}

void compare_rows(const Table& table, int64_t tokens) {
  const double giga = 1e-9 * static_cast<double>(tokens);
  const auto x = at::randn({tokens, 2048}, bfloat16());
  const auto weight = at::randn({2048}, bfloat16());
  table.compare(
      fmt::format("rms_norm {}x2048", tokens), 4 * 2048 * giga, "GB/s",
      [&] { rms_norm(x, weight, 1e-6); }, [&] { composed::rms_norm(x, weight, 1e-6); });

  const auto q = x.view({tokens, 16, 128});
  const auto angles = at::randn({tokens, 128}, bfloat16());
  const auto head_weight = at::randn({128}, bfloat16());
  table.compare(
      fmt::format("norm_and_rotate {}x16x128", tokens), 4 * 2048 * giga, "GB/s",
      [&] { norm_and_rotate(q, head_weight, 1e-6, angles, angles); },
      [&] { composed::norm_and_rotate(q, head_weight, 1e-6, angles, angles); });

  const auto gate = at::randn({tokens, 6144}, bfloat16());
  table.compare(
      fmt::format("swiglu {}x6144", tokens), 6 * 6144 * giga, "GB/s", [&] { swiglu(gate, gate); },
      [&] { composed::swiglu(gate, gate); });
}

void compare_vision_rows(const Table& table) {
  const auto qkv = at::randn({1024, 3, 16, 64}, bfloat16());
  const auto angles = at::randn({1024, 64});
  table.compare(
      "rotate 1024x16x64 of qkv", 4e-9 * 1024 * 1024, "GB/s",
      [&] { rotate(qkv.select(1, 0), angles, angles); },
      [&] { composed::rotate(qkv.select(1, 0), angles, angles); });
  const auto x = at::randn({1024, 4096}, bfloat16());
  table.compare(
      "gelu_tanh 1024x4096", 4e-9 * 1024 * 4096, "GB/s", [&] { gelu_tanh(x); },
      [&] { composed::gelu_tanh(x); });
  const auto merged = at::randn({256, 4096}, bfloat16());
  table.compare(
      "gelu_erf 256x4096", 4e-9 * 256 * 4096, "GB/s", [&] { gelu_erf(merged); },
      [&] { composed::gelu_erf(merged); });
}

}  // namespace
}  // namespace espalier

int main(int argc, char** argv) {
  const int threads = argc > 1 ? std::atoi(argv[1]) : 2;
  const int rounds = argc > 2 ? std::atoi(argv[2]) : 20;
  at::set_num_threads(threads);
  const c10::InferenceMode no_gradients;
  const espalier::Table table(rounds, argc > 3 ? argv[3] : "");
  espalier::compare_attentions(table);
  espalier::compare_linear(table);
  espalier::compare_rows(table, 1280);
  espalier::compare_rows(table, 1);
  espalier::compare_vision_rows(table);
}
