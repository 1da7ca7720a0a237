// SPDX-License-Identifier: Apache-2.0
#include "espalier/prune/pooled.h"

#include <cmath>

namespace espalier {

namespace {

/// In four sums, which the compiler may add side by side; the result does not depend on it.
double dot(const double* a, const double* b, std::size_t size) {
  std::array<double, 4> sums{};
  std::size_t i = 0;
  for (; i + 4 <= size; i += 4) {
    for (std::size_t lane = 0; lane < 4; ++lane) sums[lane] += a[i + lane] * b[i + lane];
  }
  for (; i < size; ++i) sums[0] += a[i] * b[i];
  return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

double norm(const Gram& gram) {
  return std::sqrt(dot(gram.values.data(), gram.values.data(), gram.values.size()));
}

/// HSIC_1 of Song et al. (2012), Eq. (5), times n (n - 3), which a ratio does not need: of Gram
/// matrices whose diagonals count as zero.
double hsic1(const Gram& first, const Gram& second) {
  const std::size_t n = first.rows;
  const auto count = static_cast<double>(n);
  double trace = 0.0;
  double cross = 0.0;
  double first_total = 0.0;
  double second_total = 0.0;
  for (std::size_t i = 0; i < n; ++i) {
    double first_row = 0.0;
    double second_row = 0.0;
    for (std::size_t j = 0; j < n; ++j) {
      if (i == j) continue;
      first_row += first.values[i * n + j];
      second_row += second.values[i * n + j];
      trace += first.values[i * n + j] * second.values[i * n + j];
    }
    cross += first_row * second_row;
    first_total += first_row;
    second_total += second_row;
  }
  return trace + first_total * second_total / ((count - 1.0) * (count - 2.0)) -
         2.0 / (count - 2.0) * cross;
}

}  // namespace

Gram centered_gram(std::vector<double> matrix, std::size_t rows) {
  const std::size_t columns = matrix.size() / rows;
  // First the first row is taken off, so that rows that are all equal become exactly zero.
  const std::vector<double> origin(matrix.begin(),
                                   matrix.begin() + static_cast<std::ptrdiff_t>(columns));
  std::vector<double> means(columns);
  for (std::size_t i = 0; i < rows; ++i) {
    for (std::size_t c = 0; c < columns; ++c) means[c] += matrix[i * columns + c] -= origin[c];
  }
  for (double& mean : means) mean /= static_cast<double>(rows);
  for (std::size_t i = 0; i < rows; ++i) {
    for (std::size_t c = 0; c < columns; ++c) matrix[i * columns + c] -= means[c];
  }
  Gram gram{.rows = rows, .values = std::vector<double>(rows * rows)};
  for (std::size_t i = 0; i < rows; ++i) {
    for (std::size_t j = 0; j <= i; ++j) {
      gram.values[i * rows + j] = gram.values[j * rows + i] =
          dot(&matrix[i * columns], &matrix[j * columns], columns);
    }
  }
  return gram;
}

std::optional<double> cka(const Gram& first, const Gram& second) {
  const double norms = norm(first) * norm(second);
  if (!(norms > 0.0) || !std::isfinite(norms)) return std::nullopt;
  return dot(first.values.data(), second.values.data(), first.values.size()) / norms;
}

std::optional<double> debiased_cka(const Gram& first, const Gram& second) {
  const double first_self = hsic1(first, first);
  const double second_self = hsic1(second, second);
  if (!(first_self > 0.0 && second_self > 0.0)) return std::nullopt;
  const double result = hsic1(first, second) / std::sqrt(first_self * second_self);
  return std::isfinite(result) ? std::optional(result) : std::nullopt;
}

PooledRows::PooledRows(const ProbeRecord& record)
    : record_(record), measured_(static_cast<std::size_t>(record.model.num_layers)) {
  for (std::size_t g = 0; g < record.sums.count.size(); ++g) {
    if (record.sums.count[g] > 0) subtasks_.push_back(g);
  }
  for (const std::int64_t layer : record.measured_layers) {
    measured_[static_cast<std::size_t>(layer)] = true;
  }
}

const double* PooledRows::row(Side side, Pooling pooling, std::size_t subtask,
                              std::int64_t layer) const {
  const auto& sums = side == Side::Input ? record_.sums.pooled_input : record_.sums.pooled_output;
  const std::size_t block = static_cast<std::size_t>(pooling) * record_.sums.count.size() + subtask;
  return &sums[(block * measured_.size() + static_cast<std::size_t>(layer)) *
               static_cast<std::size_t>(record_.model.hidden_size)];
}

const std::vector<Gram>& PooledRows::grams(Side side, Pooling pooling) const {
  auto& of_layers = grams_[static_cast<std::size_t>(pooling) * 2 + static_cast<std::size_t>(side)];
  if (!of_layers.empty()) return of_layers;
  const auto hidden = static_cast<std::size_t>(record_.model.hidden_size);
  for (std::int64_t layer = 0; layer < record_.model.num_layers; ++layer) {
    std::vector<double> matrix;
    matrix.reserve(rows() * hidden);
    for (const std::size_t subtask : subtasks_) {
      const double* sum = row(side, pooling, subtask, layer);
      const auto count = static_cast<double>(record_.sums.count[subtask]);
      for (std::size_t c = 0; c < hidden; ++c) matrix.push_back(sum[c] / count);
    }
    of_layers.push_back(centered_gram(std::move(matrix), rows()));
  }
  return of_layers;
}

LayerScores PooledRows::cka(CkaPair pair, Pooling pooling, bool debiased) const {
  const auto& first = grams(pair == CkaPair::OutOut ? Side::Output : Side::Input, pooling);
  const auto& second = grams(pair == CkaPair::InInLiteral ? Side::Input : Side::Output, pooling);
  const std::size_t back = pair == CkaPair::InOut ? 0 : 1;
  LayerScores scores(measured_.size());
  for (std::size_t l = back; l < scores.size(); ++l) {
    if (!measured_[l] || !measured_[l - back]) continue;
    scores[l] = debiased ? debiased_cka(first[l - back], second[l])
                         : espalier::cka(first[l - back], second[l]);
  }
  return scores;
}

LayerScores PooledRows::cosine(Pooling pooling) const {
  const auto hidden = static_cast<std::size_t>(record_.model.hidden_size);
  LayerScores scores(measured_.size());
  for (const std::int64_t layer : record_.measured_layers) {
    double sum = 0.0;
    double count = 0.0;
    for (const std::size_t subtask : subtasks_) {
      const double* input = row(Side::Input, pooling, subtask, layer);
      const double* output = row(Side::Output, pooling, subtask, layer);
      const double norms =
          std::sqrt(dot(input, input, hidden)) * std::sqrt(dot(output, output, hidden));
      if (!(norms > 0.0)) continue;
      sum += dot(input, output, hidden) / norms;
      count += 1.0;
    }
    if (count > 0.0) scores[static_cast<std::size_t>(layer)] = sum / count;
  }
  return scores;
}

}  // namespace espalier
