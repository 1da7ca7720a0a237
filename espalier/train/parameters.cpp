// SPDX-License-Identifier: Apache-2.0
#include "espalier/train/parameters.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <tuple>

#include "espalier/base/error.h"

namespace espalier {

const ParameterSlot* Parameters::find(std::string_view name) const {
  const auto found = slot_of_name.find(name);
  return found == slot_of_name.end() ? nullptr : &slots[found->second];
}

at::Tensor Parameters::view(const at::Tensor& flat, const ParameterSlot& slot) {
  return flat.narrow(0, slot.offset, slot.count).view(slot.shape);
}

std::int64_t Parameters::count(ParameterKind kind) const {
  std::int64_t numbers = 0;
  for (const ParameterSlot& slot : slots) numbers += slot.kind == kind ? slot.count : 0;
  return numbers;
}

void Parameters::refresh() const {
  if (!compute.is_same(values)) compute.copy_(values);
}

Parameters make_parameters(std::vector<NewParameter> parameters, at::ScalarType compute_dtype,
                           const at::Device& device) {
  std::ranges::sort(parameters, {}, [](const NewParameter& parameter) {
    return std::tuple(parameter.kind, parameter.name);
  });
  Parameters result;
  std::int64_t total = 0;
  for (const NewParameter& parameter : parameters) {
    result.slot_of_name[parameter.name] = result.slots.size();
    result.slots.push_back({.name = parameter.name,
                            .shape = parameter.value.sizes().vec(),
                            .offset = total,
                            .count = parameter.value.numel(),
                            .kind = parameter.kind});
    total += parameter.value.numel();
  }
  assume(result.slots.size() == result.slot_of_name.size(), "a tensor is trained once");
  const auto options = at::TensorOptions().dtype(at::kFloat).device(device);
  result.values = at::empty({total}, options);
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    Parameters::view(result.values, result.slots[i]).copy_(parameters[i].value);
  }
  result.gradients = at::zeros({total}, options);
  result.compute = compute_dtype == at::kFloat ? result.values : result.values.to(compute_dtype);
  return result;
}

}  // namespace espalier
