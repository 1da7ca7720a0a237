// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace espalier {

/// What the head's loss is made of, for rows that predict a token each.
struct HeadLossOptions {
  /// Share of the divergence from the teacher in the loss; the rest is cross-entropy. 0 without a
  /// teacher.
  double teacher_share = 0.0;
  double temperature = 1.0;
  /// Of the teacher's distribution, only so many of the likeliest tokens by themselves, all others
  /// as one class; 0: every token by itself.
  std::int64_t top_k = 0;
  /// Rows whose logits are held at a time; 0: as many as fit into about 64 MiB.
  std::int64_t chunk_rows = 0;
  bool hidden_gradient = true;   ///< whether d_normalized is wanted; false: the value alone
  bool weight_gradient = false;  ///< whether the head itself is trained
};

/// Rows that predict a token each.
struct HeadRows {
  at::Tensor normalized;  ///< [n, H], after the final norm
  at::Tensor targets;     ///< [n] int64
  at::Tensor weights;     ///< [n] float32: what each row counts in the loss
  at::Tensor teacher;     ///< [n, H], the teacher's normalized rows; undefined without one
};

/// The loss and its gradient. Values are per row and without the rows' weights.
struct HeadLoss {
  at::Tensor cross_entropy;  ///< [n] float32, nats
  at::Tensor divergence;     ///< [n] float32, nats; undefined without a teacher
  at::Tensor correct;        ///< [n] bool: the target is the likeliest token
  at::Tensor d_normalized;   ///< [n, H] in the dtype of `normalized`, of the weighted sum
  at::Tensor d_weight;       ///< [V, H] float32; undefined unless asked for
};

/// The loss of rows under a head, with its gradient written out (training.md 1.9): logits exist
/// for a chunk of rows at a time. With q the student's and p the teacher's distribution at
/// temperature T, a row's loss is
///   (1 - a) * cross_entropy + a * T^2 * KL(p || q)
/// and its gradient by the logits (1 - a) * (softmax - onehot) + a * T * (q - p). With `top_k` the
/// tokens beyond the teacher's K likeliest are one class, of which both have what is left.
///
/// \param weight          [V, H], the student's head
/// \param teacher_weight  [V, H], the teacher's; undefined without one
HeadLoss head_loss(const HeadRows& rows, const at::Tensor& weight, const at::Tensor& teacher_weight,
                   const HeadLossOptions& options);

/// How far hidden states are from the teacher's: the mean over rows of |s - t|^2 / (|t|^2 + eps),
/// in float32 (training.md 5.4).
struct HiddenLoss {
  double sum;           ///< over rows
  at::Tensor gradient;  ///< [T, H] in the dtype of the student's, of scale * sum
};

/// \param student, teacher  [T, H]
/// \param scale             what a row counts in the loss
HiddenLoss hidden_loss(const at::Tensor& student, const at::Tensor& teacher, double scale);

}  // namespace espalier
