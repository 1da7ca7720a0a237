// SPDX-License-Identifier: Apache-2.0
#include "espalier/probe/layer_sums.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "espalier/base/error.h"
#include "espalier/model/tasks.h"
#include "espalier/probe/row_loops.h"

namespace espalier {

namespace {

using loops::Bfloat16;
using loops::RowProducts;
using std::int64_t;

/// Columns that one task adds up; with the rows of a segment they stay in the cache.
constexpr int64_t kColumns = 256;
constexpr int64_t kRowsOfATask = 32;

int64_t blocks_of(int64_t size, int64_t block) { return (size + block - 1) / block; }

bool is_zero(const RowProducts& row) { return row.xx == 0.0F || row.uu == 0.0F || row.yy == 0.0F; }

double cosine(double product, double first, double second) {
  return std::clamp(product / std::sqrt(first * second), -1.0, 1.0);
}

/// Calls with the tensor's rows as what they are in memory.
template <typename Call>
auto with_numbers(const at::Tensor& x, const Call& call) {
  if (x.scalar_type() == at::kFloat) return call(x.const_data_ptr<float>());
  assume(x.scalar_type() == at::kBFloat16, "hidden states are float32 or bfloat16");
  return call(static_cast<const Bfloat16*>(x.const_data_ptr()));
}

template <typename Number>
const Number* numbers(const at::Tensor& x) {
  return static_cast<const Number*>(x.const_data_ptr());
}

/// A layer's three states, dense.
struct States {
  at::Tensor input;
  at::Tensor after_attention;
  at::Tensor output;
  int64_t size;
};

template <typename Number>
std::vector<RowProducts> all_products(const States& states) {
  const int64_t rows = states.input.size(0);
  std::vector<RowProducts> products(static_cast<std::size_t>(rows));
  for_each_task(blocks_of(rows, kRowsOfATask), 0, [&](int64_t task, void*) {
    const int64_t end = std::min(rows, (task + 1) * kRowsOfATask);
    for (int64_t row = task * kRowsOfATask; row < end; ++row) {
      const int64_t at = row * states.size;
      products[static_cast<std::size_t>(row)] = loops::row_products(
          numbers<Number>(states.input) + at, numbers<Number>(states.after_attention) + at,
          numbers<Number>(states.output) + at, states.size);
    }
  });
  return products;
}

/// The scalars of a segment, and room for its vectors.
LayerSums scalar_sums(std::span<const RowProducts> products, const bool* visual,
                      const Segment& segment, int64_t size) {
  const std::vector<double> zeros(static_cast<std::size_t>(size));
  LayerSums sums{.input = zeros,
                 .input_unit = zeros,
                 .output = zeros,
                 .output_unit = zeros,
                 .first_input = zeros,
                 .first_output = zeros};
  for (int64_t row = segment.begin; row < segment.end; ++row) {
    const RowProducts& of = products[static_cast<std::size_t>(row)];
    if (is_zero(of)) {
      ++sums.zero_rows;
      continue;
    }
    const double similarity = cosine(of.xy, of.xx, of.yy);
    ++sums.rows;
    sums.cosine += similarity;
    if (visual[row]) {
      ++sums.visual_rows;
      sums.cosine_visual += similarity;
    }
    sums.attention_cosine += cosine(of.xu, of.xx, of.uu);
    sums.mlp_cosine += cosine(of.uy, of.uu, of.yy);
    const double distance = std::sqrt(static_cast<double>(of.dd));
    sums.norm_ratio += distance / std::sqrt(static_cast<double>(of.yy));
    sums.l2 += distance;
  }
  return sums;
}

/// Adds the columns [begin, end) of a segment's vectors.
template <typename Number>
void add_columns(const States& states, std::span<const RowProducts> products,
                 const Segment& segment, int64_t begin, int64_t end, LayerSums& sums) {
  const auto column = static_cast<std::size_t>(begin);
  for (int64_t row = segment.begin; row < segment.end; ++row) {
    const RowProducts& of = products[static_cast<std::size_t>(row)];
    if (is_zero(of)) continue;
    const int64_t at = row * states.size + begin;
    loops::add_row(numbers<Number>(states.input) + at, 1.0 / std::sqrt(static_cast<double>(of.xx)),
                   end - begin, &sums.input[column], &sums.input_unit[column]);
    loops::add_row(numbers<Number>(states.output) + at, 1.0 / std::sqrt(static_cast<double>(of.yy)),
                   end - begin, &sums.output[column], &sums.output_unit[column]);
    if (row == segment.begin) {
      std::copy_n(&sums.input[column], end - begin, &sums.first_input[column]);
      std::copy_n(&sums.output[column], end - begin, &sums.first_output[column]);
    }
  }
}

template <typename Number>
std::vector<LayerSums> sums_of(const States& states, std::span<const Segment> segments,
                               const bool* visual) {
  const std::vector<RowProducts> products = all_products<Number>(states);
  std::vector<LayerSums> sums;
  for (const Segment& segment : segments) {
    sums.push_back(scalar_sums(products, visual, segment, states.size));
    sums.back().first_counts = !is_zero(products[static_cast<std::size_t>(segment.begin)]);
    const RowProducts& last = products[static_cast<std::size_t>(segment.end - 1)];
    if (!is_zero(last)) sums.back().last_cosine = cosine(last.xy, last.xx, last.yy);
  }
  const int64_t blocks = blocks_of(states.size, kColumns);
  for_each_task(std::ssize(segments) * blocks, 0, [&](int64_t task, void*) {
    const auto segment = static_cast<std::size_t>(task / blocks);
    const int64_t begin = task % blocks * kColumns;
    add_columns<Number>(states, products, segments[segment], begin,
                        std::min(states.size, begin + kColumns), sums[segment]);
  });
  return sums;
}

WindowSums empty_window_sums(int64_t layers) {
  const auto size = static_cast<std::size_t>(layers * layers);
  return {.cosine = std::vector<double>(size),
          .rows = std::vector<int64_t>(size),
          .last_cosine = std::vector<float>(size, std::numeric_limits<float>::quiet_NaN())};
}

/// Products [L, L] of one token's vectors as cosines; NaN where a norm is zero.
void to_cosines(float* products, int64_t layers) {
  for (int64_t i = 0; i < layers; ++i) {
    for (int64_t j = i + 1; j < layers; ++j) {
      float& product = products[i * layers + j];
      const float first = products[i * layers + i];
      const float second = products[j * layers + j];
      product = first == 0.0F || second == 0.0F
                    ? std::numeric_limits<float>::quiet_NaN()
                    : static_cast<float>(cosine(product, first, second));
    }
  }
}

/// \param cosines  [T, L, L]
WindowSums window_sums_of(const float* cosines, int64_t layers, const Segment& segment) {
  WindowSums sums = empty_window_sums(layers);
  for (int64_t row = segment.begin; row < segment.end; ++row) {
    const float* of = cosines + row * layers * layers;
    for (int64_t i = 0; i < layers; ++i) {
      for (int64_t j = i + 1; j < layers; ++j) {
        const int64_t at = i * layers + j;
        if (std::isnan(of[at])) continue;
        sums.cosine[static_cast<std::size_t>(at)] += of[at];
        ++sums.rows[static_cast<std::size_t>(at)];
      }
    }
  }
  const float* last = cosines + (segment.end - 1) * layers * layers;
  for (int64_t i = 0; i < layers; ++i) {
    for (int64_t j = i + 1; j < layers; ++j) {
      const int64_t at = i * layers + j;
      sums.last_cosine[static_cast<std::size_t>(at)] = last[at];
    }
  }
  return sums;
}

template <typename Number>
at::Tensor all_cosines(const std::vector<at::Tensor>& inputs) {
  const auto layers = std::ssize(inputs);
  const int64_t rows = inputs.front().size(0);
  const int64_t size = inputs.front().size(1);
  const at::Tensor cosines = at::empty({rows, layers, layers}, at::kFloat);
  auto* to = cosines.mutable_data_ptr<float>();
  const int64_t scratch_bytes = layers * size * static_cast<int64_t>(sizeof(float));
  for_each_task(blocks_of(rows, kRowsOfATask), scratch_bytes, [&](int64_t task, void* scratch) {
    std::vector<const Number*> vectors(inputs.size());
    const int64_t end = std::min(rows, (task + 1) * kRowsOfATask);
    for (int64_t row = task * kRowsOfATask; row < end; ++row) {
      for (std::size_t l = 0; l < inputs.size(); ++l) {
        vectors[l] = numbers<Number>(inputs[l]) + row * size;
      }
      float* of = to + row * layers * layers;
      loops::pair_products(vectors.data(), layers, size, static_cast<float*>(scratch), of);
      to_cosines(of, layers);
    }
  });
  return cosines;
}

}  // namespace

std::vector<LayerSums> layer_sums(const LayerTaps& taps, std::span<const Segment> segments,
                                  const at::Tensor& visual) {
  if (!taps.input.is_cpu()) return composed::layer_sums(taps, segments, visual);
  const States states{.input = taps.input.contiguous(),
                      .after_attention = taps.after_attention.contiguous(),
                      .output = taps.output.contiguous(),
                      .size = taps.input.size(1)};
  const bool* is_visual = visual.const_data_ptr<bool>();
  return with_numbers(states.input, [&]<typename Number>(const Number*) {
    return sums_of<Number>(states, segments, is_visual);
  });
}

std::vector<WindowSums> window_sums(const std::vector<at::Tensor>& inputs,
                                    std::span<const Segment> segments) {
  if (!inputs.front().is_cpu()) return composed::window_sums(inputs, segments);
  std::vector<at::Tensor> dense;
  for (const at::Tensor& input : inputs) dense.push_back(input.contiguous());
  const at::Tensor cosines = with_numbers(
      dense.front(), [&]<typename Number>(const Number*) { return all_cosines<Number>(dense); });
  std::vector<WindowSums> sums(segments.size());
  for_each_task(std::ssize(segments), 0, [&](int64_t segment, void*) {
    const auto place = static_cast<std::size_t>(segment);
    sums[place] =
        window_sums_of(cosines.const_data_ptr<float>(), std::ssize(inputs), segments[place]);
  });
  return sums;
}

namespace composed {
namespace {

/// [S, T] float64: 1 where a token belongs to a segment and counts.
at::Tensor membership(std::span<const Segment> segments, const at::Tensor& counts) {
  auto of = at::zeros({std::ssize(segments), counts.size(0)}, counts.options().dtype(at::kDouble));
  for (int64_t s = 0; s < of.size(0); ++s) {
    const Segment& segment = segments[static_cast<std::size_t>(s)];
    of[s].slice(0, segment.begin, segment.end).fill_(1.0);
  }
  return of.mul_(counts);
}

at::Tensor cosines(const at::Tensor& product, const at::Tensor& first, const at::Tensor& second) {
  return (product.to(at::kDouble) / (first.to(at::kDouble) * second.to(at::kDouble)).sqrt())
      .clamp(-1.0, 1.0)
      .nan_to_num(0.0);
}

std::vector<double> row_of(const at::Tensor& x, int64_t row) {
  const auto values = x[row].contiguous();
  const double* data = values.const_data_ptr<double>();
  return {data, data + values.numel()};
}

}  // namespace

std::vector<LayerSums> layer_sums(const LayerTaps& taps, std::span<const Segment> segments,
                                  const at::Tensor& visual) {
  const auto x = taps.input.to(at::kFloat);
  const auto u = taps.after_attention.to(at::kFloat);
  const auto y = taps.output.to(at::kFloat);
  const auto squares = [](const at::Tensor& v) { return v.square().sum(-1); };
  const auto xx = squares(x);
  const auto uu = squares(u);
  const auto yy = squares(y);
  const auto counts = (xx != 0).logical_and(uu != 0).logical_and(yy != 0);
  const auto member = membership(segments, counts);  // [S, T]
  const auto similarity = cosines((x * y).sum(-1), xx, yy);
  const auto distance = squares(y - x).to(at::kDouble).sqrt();
  const auto is_visual = visual.to(x.device(), at::kDouble);
  const auto scalars =
      at::stack({at::ones_like(similarity), is_visual, similarity, similarity * is_visual,
                 cosines((x * u).sum(-1), xx, uu), cosines((u * y).sum(-1), uu, yy),
                 (distance / yy.to(at::kDouble).sqrt()).nan_to_num(0.0), distance},
                1);                                             // [T, 8]
  const auto sums = member.matmul(scalars).cpu().contiguous();  // [S, 8]
  const auto vectors = [&](const at::Tensor& v) { return member.matmul(v.to(at::kDouble)).cpu(); };
  const auto unit = [](const at::Tensor& v, const at::Tensor& vv) {
    return (v.to(at::kDouble) / vv.to(at::kDouble).sqrt().unsqueeze(-1)).nan_to_num(0.0);
  };
  const auto input = vectors(x);
  const auto input_unit = vectors(unit(x, xx));
  const auto output = vectors(y);
  const auto output_unit = vectors(unit(y, yy));
  const auto counts_on_cpu = counts.cpu();
  const auto similarity_on_cpu = similarity.cpu();
  const auto first_counts = [&](int64_t row) { return counts_on_cpu[row].item<bool>(); };

  std::vector<LayerSums> result;
  for (int64_t s = 0; s < std::ssize(segments); ++s) {
    const Segment& segment = segments[static_cast<std::size_t>(s)];
    const double* of = sums.const_data_ptr<double>() + s * sums.size(1);
    const auto first = [&](const at::Tensor& v) {
      const auto row = v.slice(0, segment.begin, segment.begin + 1).to(at::kDouble).cpu();
      return row_of(first_counts(segment.begin) ? row : at::zeros_like(row), 0);
    };
    const auto rows = static_cast<int64_t>(of[0]);
    result.push_back({.rows = rows,
                      .visual_rows = static_cast<int64_t>(of[1]),
                      .zero_rows = segment.end - segment.begin - rows,
                      .cosine = of[2],
                      .cosine_visual = of[3],
                      .attention_cosine = of[4],
                      .mlp_cosine = of[5],
                      .norm_ratio = of[6],
                      .l2 = of[7],
                      .last_cosine = counts_on_cpu[segment.end - 1].item<bool>()
                                         ? similarity_on_cpu[segment.end - 1].item<double>()
                                         : std::numeric_limits<double>::quiet_NaN(),
                      .input = row_of(input, s),
                      .input_unit = row_of(input_unit, s),
                      .output = row_of(output, s),
                      .output_unit = row_of(output_unit, s),
                      .first_counts = first_counts(segment.begin),
                      .first_input = first(x),
                      .first_output = first(y)});
  }
  return result;
}

std::vector<WindowSums> window_sums(const std::vector<at::Tensor>& inputs,
                                    std::span<const Segment> segments) {
  std::vector<at::Tensor> rows;
  const auto layers = std::ssize(inputs);
  for (const at::Tensor& input : inputs) rows.push_back(input.to(at::kFloat));
  const auto vectors = at::stack(rows, 1);                                  // [T, L, H]
  auto products = vectors.bmm(vectors.transpose(1, 2)).cpu().contiguous();  // [T, L, L]
  auto* data = products.mutable_data_ptr<float>();
  for (int64_t row = 0; row < products.size(0); ++row) {
    to_cosines(data + row * layers * layers, layers);
  }
  std::vector<WindowSums> sums;
  for (const Segment& segment : segments) sums.push_back(window_sums_of(data, layers, segment));
  return sums;
}

}  // namespace composed

}  // namespace espalier
