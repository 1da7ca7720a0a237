// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <span>

#include "espalier/records/probe_record.h"

namespace espalier {

/// The unbiased estimator of the Hilbert-Schmidt independence criterion under linear kernels,
/// HSIC_1 of Song et al. (2012):
/// [tr(KL) + (1'K1)(1'L1) / ((n-1)(n-2)) - 2 / (n-2) 1'KL1] / (n (n-3)), diagonals of K = XX' and
/// L = YY' set to zero.
///
/// \param x, y  [n, D], n >= 4; computed in float64
double unbiased_hsic(const at::Tensor& x, const at::Tensor& y);

/// Collects the samples' pooled vectors subtask by subtask, in blocks of 256, and adds each full
/// block's HSIC to the record. The vectors wait in a file, not in memory: for a 2B model a block of
/// all nine subtasks is a gigabyte.
class HsicBlocks {
 public:
  static constexpr std::int64_t kBlockSamples = 256;
  static constexpr std::int64_t kFewestSamples = 4;

  /// \param file         is opened, or made; what a former run left there goes on counting
  /// \throws InputError  if the file cannot be opened
  HsicBlocks(const std::filesystem::path& file, std::int64_t layers, std::int64_t hidden_size);
  ~HsicBlocks();
  HsicBlocks(const HsicBlocks&) = delete;
  HsicBlocks& operator=(const HsicBlocks&) = delete;

  /// A sample's mean-pooled input and output of every layer.
  ///
  /// \param number       of the sample within its subtask, from 0
  /// \param pooled       [L, 2, H] float32
  /// \throws InputError  if the disk is full
  void add(std::int64_t subtask, std::int64_t number, std::span<const float> pooled,
           ProbeSums& sums);

  /// The last, shorter blocks; those of fewer than four samples are left out.
  void finish(ProbeSums& sums) const;

  /// Puts what was written on the disk.
  void sync() const;

 private:
  void add_block(std::int64_t subtask, std::int64_t samples, ProbeSums& sums) const;
  [[nodiscard]] std::int64_t offset(std::int64_t subtask, std::int64_t slot,
                                    std::int64_t layer) const;

  std::filesystem::path path_;
  int descriptor_ = -1;
  std::int64_t layers_;
  std::int64_t hidden_size_;
};

}  // namespace espalier
