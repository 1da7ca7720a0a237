// SPDX-License-Identifier: Apache-2.0
#include "espalier/model/attention.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

namespace espalier {
namespace {

struct Case {
  int64_t tokens, keys, heads, kv_heads, head_dim;
  bool causal;
};

struct Inputs {
  at::Tensor q, k, v;
};

Inputs inputs(const Case& c, at::ScalarType type, double scale = 1.0) {
  const auto numbers = [&](int64_t rows, int64_t heads) {
    return (at::randn({rows, heads, c.head_dim}) * scale).to(type);
  };
  return {numbers(c.tokens, c.heads), numbers(c.keys, c.kv_heads), numbers(c.keys, c.kv_heads)};
}

AttentionOptions options(const Case& c) {
  return {.scale = 1.0 / std::sqrt(static_cast<double>(c.head_dim)), .causal = c.causal};
}

at::Tensor run(const Inputs& in, const Case& c) { return attention(in.q, in.k, in.v, options(c)); }

/// The definition, in double and plain loops.
at::Tensor oracle(const Inputs& in, const Case& c) {
  const auto wide = [](const at::Tensor& x) { return x.to(at::kDouble).contiguous(); };
  const at::Tensor q_wide = wide(in.q);
  const at::Tensor k_wide = wide(in.k);
  const at::Tensor v_wide = wide(in.v);
  const at::Tensor out = at::zeros({c.tokens, c.heads * c.head_dim}, at::kDouble);
  const auto q = q_wide.accessor<double, 3>();
  const auto k = k_wide.accessor<double, 3>();
  const auto v = v_wide.accessor<double, 3>();
  auto result = out.accessor<double, 2>();
  for (int64_t t = 0; t < c.tokens; ++t) {
    for (int64_t h = 0; h < c.heads; ++h) {
      const int64_t kv = h / (c.heads / c.kv_heads);
      const int64_t seen = c.causal ? c.keys - c.tokens + t + 1 : c.keys;
      std::vector<double> weights(static_cast<std::size_t>(seen));
      for (int64_t s = 0; s < seen; ++s) {
        double score = 0;
        for (int64_t d = 0; d < c.head_dim; ++d) score += q[t][h][d] * k[s][kv][d];
        weights[static_cast<std::size_t>(s)] = score * options(c).scale;
      }
      const double largest = *std::max_element(weights.begin(), weights.end());
      double sum = 0;
      for (double& weight : weights) sum += weight = std::exp(weight - largest);
      for (int64_t s = 0; s < seen; ++s) {
        for (int64_t d = 0; d < c.head_dim; ++d) {
          result[t][h * c.head_dim + d] += weights[static_cast<std::size_t>(s)] / sum * v[s][kv][d];
        }
      }
    }
  }
  return out;
}

/// A probability rounded to bfloat16 is off by at most 2^-8 of itself and the probabilities sum to
/// 1, so the weighted mean is off by at most 2^-8 of the largest |v|; the rounding of the result
/// costs as much again. The first is an average of errors of both signs and far smaller; so the
/// half of the sum is asked for.
double bfloat16_bound(const at::Tensor& v) {
  return std::pow(2.0, -8) * v.abs().max().to(at::kDouble).item<double>();
}

double distance(const at::Tensor& a, const at::Tensor& b) {
  return (a.to(at::kDouble) - b.to(at::kDouble)).abs().max().item<double>();
}

std::string print(const Case& c) {
  return std::to_string(c.tokens) + " tokens, " + std::to_string(c.keys) + " keys, " +
         std::to_string(c.heads) + "/" + std::to_string(c.kv_heads) + " heads of " +
         std::to_string(c.head_dim) + (c.causal ? ", causal" : ", full");
}

// One token and few, blocks of 48 rows and 512 keys met exactly and by one more, groups of one to
// four heads, head sizes that fill registers (64, 128), do not (72, 6), or are odd.
const std::vector<Case> kCases{
    {1, 1, 1, 1, 2, true},     {1, 45, 4, 2, 128, true},   {1, 700, 6, 2, 72, false},
    {2, 33, 4, 4, 64, true},   {3, 45, 4, 1, 72, true},    {4, 64, 8, 2, 6, true},
    {4, 31, 3, 1, 128, false}, {5, 5, 2, 1, 64, true},     {16, 16, 3, 1, 32, true},
    {48, 48, 1, 1, 64, true},  {49, 49, 1, 1, 64, true},   {37, 133, 6, 2, 72, true},
    {24, 512, 4, 2, 64, true}, {25, 513, 4, 2, 64, true},  {30, 1100, 2, 2, 128, true},
    {70, 70, 4, 4, 30, false}, {65, 65, 2, 2, 72, false},  {20, 600, 4, 1, 128, false},
    {7, 9, 2, 1, 5, true},     {100, 100, 16, 8, 16, true}};

TEST(Attention, IsTheDefinitionInBfloat16) {
  at::manual_seed(2);
  for (const Case& c : kCases) {
    const Inputs in = inputs(c, at::kBFloat16);
    const at::Tensor out = run(in, c);
    ASSERT_EQ(out.sizes(), at::IntArrayRef({c.tokens, c.heads * c.head_dim}));
    EXPECT_LE(distance(out, oracle(in, c)), bfloat16_bound(in.v)) << print(c);
  }
}

TEST(Attention, IsTheDefinitionInFloat32) {
  at::manual_seed(3);
  for (const Case& c : kCases) {
    const Inputs in = inputs(c, at::kFloat);
    EXPECT_LE(distance(run(in, c), oracle(in, c)), 1e-5) << print(c);
  }
}

TEST(Attention, TwinIsTheDefinition) {
  at::manual_seed(4);
  for (const Case& c : kCases) {
    const Inputs in = inputs(c, at::kFloat);
    const at::Tensor twin = composed::attention(in.q, in.k, in.v, options(c));
    EXPECT_LE(distance(twin, oracle(in, c)), 1e-5) << print(c);
  }
}

TEST(Attention, OfNoTokensIsEmpty) {
  const Case c{0, 5, 4, 2, 8, false};
  for (const auto type : {at::kFloat, at::kBFloat16}) {
    EXPECT_EQ(run(inputs(c, type), c).sizes(), at::IntArrayRef({0, 32}));
  }
}

TEST(Attention, ReadsStridedViews) {
  at::manual_seed(5);
  for (const int64_t tokens : {2, 61}) {
    const auto qkv = at::randn({tokens, 3, 4, 64}).to(at::kBFloat16);
    const AttentionOptions full{.scale = 0.125, .causal = false};
    const auto part = [&](int64_t i) { return qkv.select(1, i); };
    EXPECT_TRUE(at::equal(
        attention(part(0), part(1), part(2), full),
        attention(part(0).contiguous(), part(1).contiguous(), part(2).contiguous(), full)));
  }
}

TEST(Attention, NoKeyChangesARowBeforeIt) {
  at::manual_seed(6);
  for (const Case& c : std::vector<Case>{
           {60, 60, 4, 2, 64, true}, {40, 560, 2, 1, 128, true}, {4, 50, 4, 2, 72, true}}) {
    const Inputs in = inputs(c, at::kBFloat16);
    const at::Tensor before = run(in, c);
    for (const int64_t key : {c.keys - 1, c.keys - 2, c.keys - c.tokens + 1}) {
      Inputs changed{in.q, in.k.clone(), in.v.clone()};
      changed.k[key].fill_(30.0);
      changed.v[key].fill_(-1000.0);
      const at::Tensor after = run(changed, c);
      const int64_t untouched = key - (c.keys - c.tokens);
      EXPECT_TRUE(at::equal(after.slice(0, 0, untouched), before.slice(0, 0, untouched)));
      EXPECT_FALSE(at::equal(after[untouched], before[untouched])) << print(c) << ", key " << key;
    }
  }
}

TEST(Attention, RowsDependOnNoOtherRow) {
  at::manual_seed(7);
  const Case c{60, 90, 4, 2, 64, true};
  const Inputs in = inputs(c, at::kBFloat16);
  const at::Tensor before = run(in, c);
  Inputs changed{in.q.clone(), in.k, in.v};
  changed.q[31].fill_(5.0);
  const at::Tensor after = run(changed, c);
  EXPECT_TRUE(at::equal(after.slice(0, 0, 31), before.slice(0, 0, 31)));
  EXPECT_TRUE(at::equal(after.slice(0, 32), before.slice(0, 32)));
}

TEST(Attention, ContinuedPromptIsThePromptBitForBit) {
  // The last tokens alone against all keys: other blocks of rows, the same sums.
  at::manual_seed(8);
  const Case whole{75, 75, 4, 2, 64, true};
  const Inputs in = inputs(whole, at::kBFloat16);
  const Case rest{19, 75, 4, 2, 64, true};
  const Inputs last{in.q.slice(0, 56), in.k, in.v};
  EXPECT_TRUE(at::equal(run(last, rest), run(in, whole).slice(0, 56)));
}

TEST(Attention, CachedTokenIsTheLastRow) {
  at::manual_seed(9);
  const Case whole{75, 75, 4, 2, 128, true};
  const Inputs in = inputs(whole, at::kBFloat16);
  const Case step{1, 75, 4, 2, 128, true};
  const Inputs last{in.q.slice(0, 74), in.k, in.v};
  // Summed in another order, so equal up to the two roundings.
  EXPECT_LE(distance(run(last, step), run(in, whole).slice(0, 74)), bfloat16_bound(in.v));
}

TEST(Attention, EqualScoresGiveTheMean) {
  // Keys 0: every visible value counts alike. Values are 0, 1, 2, ...: row t sees the mean t / 2.
  for (const int64_t tokens : {3, 64}) {
    const auto q = at::randn({tokens, 2, 64}).to(at::kBFloat16);
    const auto k = at::zeros({tokens, 1, 64}, at::kBFloat16);
    const auto v = at::arange(tokens).to(at::kBFloat16).view({tokens, 1, 1}).expand({-1, 1, 64});
    const auto out = attention(q, k, v.contiguous(), {.scale = 0.125, .causal = true});
    const auto mean = (at::arange(tokens) * 0.5).to(at::kBFloat16).view({tokens, 1});
    EXPECT_TRUE(at::equal(out, mean.expand({tokens, 128})));
  }
}

TEST(Attention, LargeScoresPickTheLargest) {
  // Scores up to 64 * 100 * 100: e^score has no number; the largest takes all.
  for (const int64_t tokens : {2, 30}) {
    const auto q = at::full({tokens, 1, 64}, 100.0, at::kBFloat16);
    const auto k = at::full({40, 1, 64}, -100.0, at::kBFloat16);
    const auto v = at::randn({40, 1, 64}).to(at::kBFloat16);
    k[17].fill_(100.0);
    const auto out = attention(q, k, v, {.scale = 1.0, .causal = false});
    EXPECT_TRUE(at::equal(out, v[17].expand({tokens, 64})));
  }
}

TEST(Attention, LargestScoreMayComeLate) {
  // The running maximum grows from block to block of keys, by more than a float's range.
  const auto q = at::full({10, 1, 64}, 10.0, at::kBFloat16);
  const auto growing = at::arange(1200).div(10.0).to(at::kBFloat16).view({1200, 1, 1});
  const auto k = growing.expand({1200, 1, 64}).contiguous();
  const auto v = at::randn({1200, 1, 64}).to(at::kBFloat16);
  const Case c{10, 1200, 1, 1, 64, false};
  EXPECT_LE(distance(run({q, k, v}, c), oracle({q, k, v}, c)), bfloat16_bound(v));
}

TEST(Attention, NoWorseThanItsTwinAgainstTheDefinition) {
  at::manual_seed(10);
  const Case c{90, 90, 4, 2, 128, true};
  const Inputs in = inputs(c, at::kBFloat16);
  const auto exact = oracle(in, c);
  const auto rms = [&](const at::Tensor& out) {
    return (out.to(at::kDouble) - exact).pow(2).mean().sqrt().item<double>();
  };
  EXPECT_LE(rms(run(in, c)), 1.2 * rms(composed::attention(in.q, in.k, in.v, options(c))));
}

TEST(Attention, GradientGoesThroughTheTwin) {
  const Case c{6, 6, 2, 1, 8, true};
  Inputs in = inputs(c, at::kBFloat16);
  in.q.requires_grad_();
  EXPECT_TRUE(run(in, c).requires_grad());
}

// Steps of several samples, keys of each somewhere among the rows, with rows between that belong
// to nobody.
constexpr std::array<AttentionSegment, 4> kSteps = {
    {{.query_begin = 0, .query_end = 1, .key_begin = 40, .key_end = 45},
     {.query_begin = 1, .query_end = 2, .key_begin = 0, .key_end = 33},
     {.query_begin = 2, .query_end = 3, .key_begin = 50, .key_end = 51},
     {.query_begin = 3, .query_end = 4, .key_begin = 60, .key_end = 200}}};

TEST(Attention, OfStepsOfSeveralSamplesIsTheDefinitionOfEach) {
  at::manual_seed(11);
  for (const auto type : {at::kFloat, at::kBFloat16}) {
    for (const Case& c : std::vector<Case>{
             {4, 200, 4, 2, 64, true}, {4, 200, 6, 2, 72, true}, {4, 200, 4, 4, 5, true}}) {
      const Inputs in = inputs(c, type);
      const at::Tensor out = attention(in.q, in.k, in.v, kSteps, options(c));
      ASSERT_EQ(out.sizes(), at::IntArrayRef({c.tokens, c.heads * c.head_dim}));
      for (const AttentionSegment& own : kSteps) {
        const Inputs alone{in.q.slice(0, own.query_begin, own.query_end),
                           in.k.slice(0, own.key_begin, own.key_end),
                           in.v.slice(0, own.key_begin, own.key_end)};
        const Case step{1, own.key_end - own.key_begin, c.heads, c.kv_heads, c.head_dim, true};
        const double bound = type == at::kFloat ? 1e-5 : bfloat16_bound(in.v);
        const at::Tensor found = out.slice(0, own.query_begin, own.query_end);
        EXPECT_LE(distance(found, oracle(alone, step)), bound) << print(step);
        EXPECT_TRUE(at::equal(found, run(alone, step))) << print(step);
      }
    }
  }
}

TEST(Attention, OfSegmentsOfSeveralTokensIsThatOfEach) {
  at::manual_seed(12);
  const Case c{30, 90, 4, 2, 16, true};
  const Inputs in = inputs(c, at::kFloat);
  const std::array<AttentionSegment, 2> segments = {
      {{.query_begin = 0, .query_end = 1, .key_begin = 80, .key_end = 90},
       {.query_begin = 1, .query_end = 30, .key_begin = 5, .key_end = 70}}};
  const at::Tensor out = attention(in.q, in.k, in.v, segments, options(c));
  const Inputs second{in.q.slice(0, 1), in.k.slice(0, 5, 70), in.v.slice(0, 5, 70)};
  EXPECT_LE(distance(out.slice(0, 1), oracle(second, {29, 65, 4, 2, 16, true})), 1e-5);
}

TEST(Attention, RefusesWhatDoesNotBelongTogether) {
  const auto x = at::zeros({3, 4, 8}, at::kBFloat16);
  const AttentionOptions causal{.scale = 1.0, .causal = true};
  EXPECT_THROW(attention(x, x.slice(0, 0, 2), x.slice(0, 0, 2), causal), std::logic_error);
  EXPECT_THROW(attention(x, x.slice(1, 0, 3), x.slice(1, 0, 3), causal), std::logic_error);
  EXPECT_THROW(attention(x, x, x.slice(2, 0, 6), causal), std::logic_error);
}

}  // namespace
}  // namespace espalier
