// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "espalier/records/probe_record.h"
#include "espalier/records/ranking.h"

namespace espalier {

/// Inner products of rows, [n, n], row-major.
struct Gram {
  std::size_t rows = 0;
  std::vector<double> values;
  bool operator==(const Gram&) const = default;
};

/// The Gram matrix of a matrix's rows after its columns were centered.
///
/// \param matrix  [n, d], row-major
Gram centered_gram(std::vector<double> matrix, std::size_t rows);

/// Linear CKA of Kornblith et al. (2019) in its Gram form, <K, M> / (|K| |M|): equal to the paper's
/// |X'Y|^2 / (|X'X| |Y'Y|) of section 4.3, at a cost that does not depend on d.
///
/// \param first, second  centered, of the same rows
/// \return               in [0, 1]; none where all rows of one are equal
std::optional<double> cka(const Gram& first, const Gram& second);

/// The same with the unbiased HSIC_1 of Song et al. (2012), from 4 rows on: of unrelated rows it is
/// 0 in the mean, where CKA of few rows of many columns is almost 1.
///
/// \return  at most about 1; none where it is undefined
std::optional<double> debiased_cka(const Gram& first, const Gram& second);

/// Which two matrices a CKA compares, and which layer it is held against. The paper compares
/// CKA(X_l, X_(l+1)) and holds it against layer l + 1; it leaves open whether X are inputs or
/// outputs.
enum class CkaPair {
  InOut,        ///< input and output of the layer itself
  OutOut,       ///< outputs of the layer before and of the layer
  InInLiteral,  ///< inputs of the layer before and of the layer, to the letter
};

/// The mean-pooled vectors of a record (appendix A.1), one row a subtask that has samples, as Gram
/// matrices. Each is made when it is first asked for. Refers to the record, which must outlive it;
/// for one thread at a time.
class PooledRows {
 public:
  explicit PooledRows(const ProbeRecord& record);

  /// How many subtasks have samples.
  [[nodiscard]] std::size_t rows() const { return subtasks_.size(); }

  /// CKA of every layer [L]; none where a layer was not measured, has no layer before it that one
  /// compares with, or is undefined.
  [[nodiscard]] LayerScores cka(CkaPair pair, Pooling pooling, bool debiased) const;

  /// The paper's Interlace score: the mean over rows of the cosine between a layer's pooled input
  /// and output, [L]. Rows of norm zero are left out.
  [[nodiscard]] LayerScores cosine(Pooling pooling) const;

 private:
  enum class Side { Input, Output };
  [[nodiscard]] const double* row(Side side, Pooling pooling, std::size_t subtask,
                                  std::int64_t layer) const;
  [[nodiscard]] const std::vector<Gram>& grams(Side side, Pooling pooling) const;

  const ProbeRecord& record_;
  std::vector<std::size_t> subtasks_;
  std::vector<bool> measured_;  ///< [L]
  mutable std::array<std::vector<Gram>, 2 * kPoolings> grams_;
};

}  // namespace espalier
