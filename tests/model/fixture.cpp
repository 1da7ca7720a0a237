// SPDX-License-Identifier: Apache-2.0
#include "tests/model/fixture.h"

#include <ATen/ATen.h>

#include <nlohmann/json.hpp>

#include "espalier/base/json.h"
#include "espalier/base/safetensors.h"
#include "espalier/model/load.h"
#include "tests/support.h"

namespace espalier::test {

std::map<std::string, at::Tensor> read_tensors(const std::filesystem::path& path) {
  const SafetensorsFile file(path);
  std::map<std::string, at::Tensor> tensors;
  for (const auto& [name, info] : file.tensors()) {
    auto* bytes = const_cast<std::byte*>(file.bytes(name).data());
    tensors[name] = at::from_blob(bytes, info.shape, scalar_type_of(info.dtype)).clone();
  }
  return tensors;
}

ModelFixture open_fixture(const std::string& name, const std::string& dtype) {
  const auto folder = fixture("models/" + name);
  const auto description = read_json(folder / "case.json");
  Session session = open_session(folder, {.dtype = dtype, .threads = 2});
  PromptArguments prompt{.prompt = description.at("prompt").get<std::string>()};
  for (const auto& image : description.at("images")) {
    prompt.images.push_back(folder / image.get<std::string>());
  }
  ModelInput input = encode_prompt(session, prompt);
  return {.session = std::move(session),
          .input = std::move(input),
          .max_new_tokens = description.at("max_new_tokens").get<std::int64_t>(),
          .expected = read_tensors(folder / "expected.safetensors")};
}

double relative_difference(const at::Tensor& found, const at::Tensor& expected) {
  const auto reference = expected.to(at::kDouble);
  const double rms = reference.square().mean().sqrt().item<double>();
  return (found.to(at::kDouble) - reference).abs().max().item<double>() / rms;
}

double cosine_distance(const at::Tensor& found, const at::Tensor& expected) {
  const auto a = found.to(at::kDouble).flatten();
  const auto b = expected.to(at::kDouble).flatten();
  return 1.0 - (a.dot(b) / (a.norm() * b.norm())).item<double>();
}

}  // namespace espalier::test
