// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "espalier/model/decoder.h"

namespace espalier {

/// What the tokens of one segment add up to at one layer. Sums, not means, since the tokens of a
/// shared prefix belong to several samples. A token one of whose vectors has norm zero counts in
/// `zero_rows` and nowhere else.
struct LayerSums {
  std::int64_t rows = 0;         ///< tokens in the sums
  std::int64_t visual_rows = 0;  ///< of these, picture tokens
  std::int64_t zero_rows = 0;
  double cosine = 0.0;            ///< cos(input, output), the sum in Eq. 6
  double cosine_visual = 0.0;     ///< the same over picture tokens
  double attention_cosine = 0.0;  ///< cos(input, input + attention branch)
  double mlp_cosine = 0.0;        ///< cos(input + attention branch, output)
  double norm_ratio = 0.0;        ///< |output - input| / |output|
  double l2 = 0.0;                ///< |output - input|
  /// cos(input, output) of the last token; NaN for a norm of zero
  double last_cosine = std::numeric_limits<double>::quiet_NaN();
  std::vector<double> input;       ///< [H] sum of inputs
  std::vector<double> input_unit;  ///< [H] sum of inputs over their norms
  std::vector<double> output;
  std::vector<double> output_unit;
  bool first_counts = false;         ///< whether the segment's first token is in the sums
  std::vector<double> first_input;   ///< [H] that token
  std::vector<double> first_output;  ///< [H]
};

/// Sums of one layer, one entry a segment. Products of vectors in float32, sums over tokens in
/// float64. One kernel of our own on the CPU, its twin elsewhere.
///
/// \param taps      [T, H] each, float32 or bfloat16
/// \param visual    [T] bool on the CPU: picture tokens
std::vector<LayerSums> layer_sums(const LayerTaps& taps, std::span<const Segment> segments,
                                  const at::Tensor& visual);

/// What the tokens of one segment add up to over pairs of places in the stack.
struct WindowSums {
  std::vector<double> cosine;      ///< [L, L] sum over tokens of cos at [i, j], i < j
  std::vector<std::int64_t> rows;  ///< [L, L] tokens in that sum
  std::vector<float> last_cosine;  ///< [L, L] of the segment's last token; NaN for a norm of zero
};

/// Window sums, one entry a segment.
///
/// \param inputs  inputs of layers 0 .. L - 1, [T, H] each, float32 or bfloat16
std::vector<WindowSums> window_sums(const std::vector<at::Tensor>& inputs,
                                    std::span<const Segment> segments);

namespace composed {
/// The twins, of ATen calls: test oracles, and what runs where the CPU's loops do not.
std::vector<LayerSums> layer_sums(const LayerTaps& taps, std::span<const Segment> segments,
                                  const at::Tensor& visual);
std::vector<WindowSums> window_sums(const std::vector<at::Tensor>& inputs,
                                    std::span<const Segment> segments);
}  // namespace composed

}  // namespace espalier
