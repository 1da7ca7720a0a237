// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "espalier/model/qwen3_vl.h"
#include "espalier/probe/hsic.h"
#include "espalier/probe/layer_sums.h"
#include "espalier/records/probe_record.h"

namespace espalier {

/// What a record says of a sample besides its measurements.
struct SampleName {
  std::int32_t subtask = 0;
  std::int32_t image = 0;
  SampleId id{};
};

/// One packed pass while it is measured: layer by layer, it adds what the taps show to a record.
/// Samples are added in their order, so that a record does not depend on how samples were packed.
class Measurement {
 public:
  /// \param names  one a sample of the input; record, input and names must outlive this object
  Measurement(ProbeRecord& record, const TreeInput& input, const std::vector<SampleName>& names,
              const at::Tensor& visual);

  /// A layer's taps; layers come in order, from 0.
  void add_layer(std::int64_t layer, const LayerTaps& taps);

  /// The end of the pass.
  ///
  /// \param last_input  [T, H] input of the last layer, if that one was not run
  void finish(const std::optional<at::Tensor>& last_input, HsicBlocks& hsic);

 private:
  /// The segments of a sample: the shared prefix, where there is one, and its own.
  struct Parts {
    std::optional<std::size_t> prefix;
    std::size_t own;
  };

  void add_sample_layer(std::size_t sample, std::int64_t layer, const std::vector<LayerSums>& sums);
  void add_windows(std::size_t sample, const std::vector<WindowSums>& sums);

  ProbeRecord& record_;
  const ModelInput& input_;
  const std::vector<SampleName>& names_;
  at::Tensor visual_;
  std::vector<Parts> parts_;
  std::size_t first_;               ///< the record's samples before these
  std::vector<at::Tensor> inputs_;  ///< of the layers so far
  std::vector<float> pooled_;       ///< [samples, L, 2, H]
};

}  // namespace espalier
