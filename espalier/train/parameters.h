// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace espalier {

/// How an optimizer may treat a tensor. Adapters and full training both decay matrices and tables,
/// never norms and biases (the field's habit: transformers' Trainer).
enum class ParameterKind {
  Matrix,  ///< a product's weight: decayed; Muon's, where that is chosen
  Table,   ///< an embedding, a table of positions, a head: decayed
  Vector,  ///< a norm or a bias: not decayed
};

/// A tensor that is to be trained, with what it starts from.
struct NewParameter {
  std::string name;
  at::Tensor value;  ///< any floating dtype
  ParameterKind kind;
};

/// Where a tensor lies in the flat buffers.
struct ParameterSlot {
  std::string name;
  std::vector<std::int64_t> shape;
  std::int64_t offset;
  std::int64_t count;
  ParameterKind kind;
};

/// Everything that is trained, in flat buffers: an optimizer's step, the norm of the gradient and a
/// checkpoint are then one call each.
struct Parameters {
  at::Tensor values;     ///< [n] float32, the masters
  at::Tensor gradients;  ///< [n] float32
  at::Tensor compute;    ///< [n] what the passes read; the masters themselves in float32
  std::vector<ParameterSlot> slots;  ///< matrices, then tables, then vectors; each by its name
  std::map<std::string, std::size_t, std::less<>> slot_of_name;

  /// The slot of a name, or nothing where it is not trained.
  [[nodiscard]] const ParameterSlot* find(std::string_view name) const;
  /// A slot's part of a flat buffer, in its own shape.
  [[nodiscard]] static at::Tensor view(const at::Tensor& flat, const ParameterSlot& slot);
  /// How many numbers of a kind there are; kinds follow one another.
  [[nodiscard]] std::int64_t count(ParameterKind kind) const;
  /// Rounds the masters to the compute type again, after they have changed.
  void refresh() const;
};

/// Lays tensors out in flat buffers.
///
/// \param compute_dtype  what passes read: float32 or bfloat16
Parameters make_parameters(std::vector<NewParameter> parameters, at::ScalarType compute_dtype,
                           const at::Device& device);

}  // namespace espalier
