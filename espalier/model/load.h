// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <optional>
#include <span>
#include <string_view>

#include "espalier/checkpoint/model_directory.h"
#include "espalier/model/qwen3_vl.h"

namespace espalier {

/// Where and in which precision a model runs.
struct LoadOptions {
  at::Device device = at::kCPU;
  std::optional<at::ScalarType> dtype;  ///< float32 or bfloat16; as stored where nothing is said
};

/// A model over a checkpoint's mapped files. On the CPU, in the stored dtype, no weight is read or
/// copied; otherwise each tensor is converted or copied to the device once.
Qwen3VL load_model(const ModelDirectory& directory, const LoadOptions& options = {});

/// "cpu", "cuda" or "cuda:N" as a device; loads LibTorch's CUDA half where it is asked for.
///
/// \throws InputError for another name, or where this LibTorch or machine has no CUDA
at::Device open_device(std::string_view name);

/// The memory of a dense tensor on the CPU, as files hold it.
std::span<const std::byte> bytes_of(const at::Tensor& tensor);

/// The ATen name of a type that a file can hold.
at::ScalarType scalar_type_of(DType dtype);

}  // namespace espalier
