// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "espalier/model/qwen3_vl.h"
#include "espalier/train/loss.h"
#include "espalier/train/trained_model.h"

namespace espalier {

/// The unpruned parent that a model learns from. It has the student's width and vocabulary.
struct Teacher {
  Qwen3VL model;
  /// Of each of the student's layers, its number in the teacher; ascending.
  std::vector<std::int64_t> layers;
  /// Whether the student's vision tower is the teacher's and stays so: pictures are then encoded
  /// once for both.
  bool shares_vision = false;
};

/// What is learned.
struct Objective {
  HeadLossOptions head;
  /// What a hidden state's distance from the teacher's counts beside the head's loss, at each gap
  /// that pruning left: the student's input of the next kept layer against the teacher's.
  double hidden_weight = 0.0;
  /// Scale the hidden states' loss to the divergence's size in each pack, as NVIDIA's Model
  /// Optimizer balances them.
  bool balance = false;
};

/// A pack of samples, and the rows of it that predict a label.
struct Pack {
  ModelInput input;
  at::Tensor label_rows;  ///< [n] int64: the row before each labelled token
  at::Tensor targets;     ///< [n] int64
  at::Tensor weights;     ///< [n] float32: what each row counts in the step's loss
  double row_weight = 0;  ///< what a row counts in the hidden states' loss: 1 / tokens of the step
  std::uint64_t dropout_seed = 0;  ///< of this pack in this step
};

/// How a pack is computed.
struct PackOptions {
  bool backward = true;  ///< false: the loss alone, without dropout
  /// How many of the highest layers keep what their backward needs; the lower ones keep their input
  /// alone and run again. All by default.
  std::int64_t kept_layers = INT64_MAX;
  const VisionFeatures* features = nullptr;  ///< of the pictures, where somebody has them already
  at::Tensor gradients;  ///< where gradients are added; the trained model's own buffer if undefined
};

/// Losses of a pack's rows, without weights; and hidden states' losses.
struct PackLoss {
  at::Tensor cross_entropy;  ///< [n] float32 on the CPU
  at::Tensor divergence;     ///< [n], undefined without a teacher
  at::Tensor correct;        ///< [n] bool
  double total = 0.0;        ///< what the gradient is of, this pack's share
  double hidden = 0.0;       ///< sum over rows and gaps of the relative squared distance
};

/// Runs a pack forward and, layer by layer, backward (training.md 1.5): no graph spans more than a
/// layer. Gradients are added to a flat buffer. Frozen parts make none, and nothing runs
/// backward below the lowest part that is trained.
PackLoss run_pack(const TrainedModel& trained, const Teacher* teacher, const Pack& pack,
                  const Objective& objective, const PackOptions& options = {});

}  // namespace espalier
