// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <nlohmann/json.hpp>
#include <set>

#include "espalier/base/error.h"
#include "espalier/base/files.h"
#include "espalier/base/json.h"
#include "espalier/checkpoint/folder.h"
#include "espalier/checkpoint/layer_selection.h"
#include "espalier/eval/verify.h"

namespace espalier {

using nlohmann::json;

namespace fs = std::filesystem;

namespace {

constexpr std::size_t kPieceBytes = std::size_t{8} << 20;

/// Runs a check; what it throws for a broken file is its problem.
Check run_check(std::string name, const std::function<void(Check&)>& body) {
  Check check{.name = std::move(name)};
  try {
    body(check);
  } catch (const InputError& error) {
    check.problems.emplace_back(error.what());
  }
  return check;
}

/// The base's layers that stay, in the numbers of the base's folder.
std::vector<std::int64_t> kept_in_folder(const ModelDirectory& base, const Plan& plan) {
  std::vector<std::int64_t> kept;
  for (const std::int64_t layer : plan.kept) {
    kept.push_back(base.folder_layers.at(static_cast<std::size_t>(layer)));
  }
  return kept;
}

/// The configuration must be the base's with the layers cut, key by key.
void check_config(const fs::path& folder, const ModelDirectory& base, const Plan& plan,
                  Check& check) {
  const fs::path base_path = base.folder / "config.json";
  const json wanted = parse_json(
      keep_layers_in_config(read_file(base_path), base_path.string(), kept_in_folder(base, plan)),
      base_path.string());
  const json found = read_json(folder / "config.json");
  for (const json& change : json::diff(wanted, found)) {
    const auto place = change.at("path").get<std::string>();
    const json::json_pointer pointer(place);
    // A surplus entry of a list has the place "-", where nothing can be looked up.
    const bool is_surplus = change.at("op") == "add";
    check.problems.push_back(
        fmt::format("config.json: {}: wanted {}, found {}", place,
                    is_surplus ? "nothing" : wanted.at(pointer).dump(),
                    change.contains("value") ? change.at("value").dump() : "nothing"));
  }
}

/// What an index says of sizes must be so; that names and shards agree is seen when it is read.
void check_index(const fs::path& folder, const Weights& weights, Check& check) {
  const fs::path path = folder / "model.safetensors.index.json";
  std::uint64_t bytes = 0;
  for (const std::string& name : weights.names()) bytes += weights.bytes(name).size();
  check.note = fmt::format("{} file(s)", weights.files().size());
  if (!path_exists(path)) return;
  const json index = read_json(path);
  const JsonObject metadata = JsonObject(index, path.string()).object("metadata");
  const std::int64_t found = metadata.integer("total_size");
  if (std::cmp_not_equal(found, bytes)) {
    check.problems.push_back(
        fmt::format("{}: total_size: wanted {}, found {}", path.string(), bytes, found));
  }
}

/// Whether two tensors have the same bytes; both stay mapped piece by piece only.
bool same_bytes(std::span<const std::byte> a, std::span<const std::byte> b,
                const std::function<void()>& release) {
  if (a.size() != b.size()) return false;
  for (std::size_t begin = 0; begin < a.size(); begin += kPieceBytes) {
    const std::size_t count = std::min(kPieceBytes, a.size() - begin);
    if (!std::ranges::equal(a.subspan(begin, count), b.subspan(begin, count))) return false;
    if (count == kPieceBytes) release();
  }
  return true;
}

std::string tensor_problem(const std::string& name, const Weights& wanted, const Weights& found,
                           const std::function<void()>& release) {
  if (!found.has(name)) return fmt::format("{}: is missing", name);
  const TensorInfo& source = wanted.info(name);
  const TensorInfo& copy = found.info(name);
  if (source.dtype != copy.dtype || source.shape != copy.shape) {
    return fmt::format("{}: wanted {} {}, found {} {}", name, name_of(source.dtype),
                       json(source.shape).dump(), name_of(copy.dtype), json(copy.shape).dump());
  }
  if (same_bytes(wanted.bytes(name), found.bytes(name), release)) return {};
  return fmt::format("{}: other bytes than the base's", name);
}

void check_tensors(const Weights& found, const ModelDirectory& base, const Plan& plan,
                   Check& check) {
  const Weights wanted = base.weights.keep_layers(plan.kept);
  Qwen3VLConfig config = base.config;
  config.text.num_hidden_layers = std::ssize(plan.kept);
  const auto release = [&] {
    for (const auto& file : found.files()) file->release_pages();
    for (const auto& file : wanted.files()) file->release_pages();
  };
  std::set<std::string, std::less<>> expected;
  std::uint64_t bytes = 0;
  for (const ExpectedTensor& tensor : expected_tensors(config)) {
    expected.insert(tensor.name);
    bytes += wanted.bytes(tensor.name).size();
    std::string problem = tensor_problem(tensor.name, wanted, found, release);
    if (!problem.empty()) check.problems.push_back(std::move(problem));
  }
  for (const std::string& name : found.names()) {
    if (!expected.contains(name)) {
      check.problems.push_back(fmt::format("{}: is no tensor of the pruned model", name));
    }
  }
  check.note = fmt::format("{} tensors, {} bytes", expected.size(), bytes);
}

void check_side_files(const fs::path& folder, const ModelDirectory& base, Check& check) {
  const SideFiles wanted = list_side_files(base.folder);
  const SideFiles found = list_side_files(folder);
  for (const fs::path& path : wanted.files) {
    if (!std::ranges::binary_search(found.files, path)) {
      check.problems.push_back(fmt::format("{}: is missing", path.string()));
    } else if (sha256_of_file(base.folder / path) != sha256_of_file(folder / path)) {
      check.problems.push_back(fmt::format("{}: is not the base's", path.string()));
    }
  }
  for (const fs::path& path : found.files) {
    if (!std::ranges::binary_search(wanted.files, path)) {
      check.problems.push_back(fmt::format("{}: is not in the base", path.string()));
    }
  }
  check.note = fmt::format("{} files", wanted.files.size());
}

}  // namespace

Check verify_base(const ModelDirectory& base, const Plan& plan) {
  Check check{.name = "base"};
  const std::string found = fingerprint(base);
  if (found != plan.base_fingerprint) {
    check.problems.push_back(fmt::format("{}: wanted the fingerprint {}, found {}: another model",
                                         base.path.string(), plan.base_fingerprint, found));
  } else if (plan.num_layers != base.config.text.num_hidden_layers) {
    check.problems.push_back(fmt::format("the plan speaks of {} layers, the base has {}",
                                         plan.num_layers, base.config.text.num_hidden_layers));
  }
  check.note = found;
  return check;
}

std::vector<Check> verify_files(const fs::path& folder, const ModelDirectory& base,
                                const Plan& plan) {
  std::vector<Check> checks;
  checks.push_back(verify_base(base, plan));
  if (!checks.back().passed()) return checks;  // there is nothing to compare with
  checks.push_back(
      run_check("checksums", [&](Check& check) { check.problems = checksum_problems(folder); }));
  checks.push_back(
      run_check("configuration", [&](Check& check) { check_config(folder, base, plan, check); }));
  std::optional<Weights> weights;
  checks.push_back(run_check("index", [&](Check& check) {
    weights = Weights(folder);
    check_index(folder, *weights, check);
  }));
  checks.push_back(run_check("tensors", [&](Check& check) {
    require(weights.has_value(), "cannot be read; see index");
    check_tensors(*weights, base, plan, check);
  }));
  checks.push_back(
      run_check("side files", [&](Check& check) { check_side_files(folder, base, check); }));
  return checks;
}

}  // namespace espalier
