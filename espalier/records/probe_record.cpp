// SPDX-License-Identifier: Apache-2.0
#include "espalier/records/probe_record.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <span>

#include "espalier/base/error.h"
#include "espalier/base/hash.h"
#include "espalier/base/json.h"
#include "espalier/base/safetensors.h"
#include "espalier/records/model_identity.h"

namespace espalier {

namespace {

using nlohmann::json;

constexpr std::int64_t kSchema = 1;
constexpr const char* kKind = "probe";

/// The one list of what `probe.safetensors` holds: calls visit(name, dtype, shape, values) for
/// every column and sum of a record.
template <typename Record, typename Visit>
void for_each_array(Record& record, std::int64_t samples, const Visit& visit) {
  const std::int64_t layers = record.model.num_layers;
  const std::int64_t hidden = record.model.hidden_size;
  const std::int64_t subtasks = count_subtasks(record);
  const std::int64_t poolings = kPoolings;
  auto& columns = record.samples;
  auto& sums = record.sums;
  visit("similarity", DType::F32, {samples, layers}, columns.similarity);
  visit("similarity_visual", DType::F32, {samples, layers}, columns.similarity_visual);
  visit("similarity_text", DType::F32, {samples, layers}, columns.similarity_text);
  visit("sample.subtask", DType::I32, {samples}, columns.subtask);
  visit("sample.image", DType::I32, {samples}, columns.image);
  visit("sample.tokens", DType::I32, {samples}, columns.tokens);
  visit("sample.visual_tokens", DType::I32, {samples}, columns.visual_tokens);
  visit("sample.id", DType::U8, {samples, 16}, columns.id);
  visit("count", DType::I64, {subtasks}, sums.count);
  visit("pooled_input_sum", DType::F64, {poolings, subtasks, layers, hidden}, sums.pooled_input);
  visit("pooled_output_sum", DType::F64, {poolings, subtasks, layers, hidden}, sums.pooled_output);
  visit("window_cosine_sum", DType::F64, {subtasks, layers, layers}, sums.window_cosine);
  visit("last_angle_sum", DType::F64, {subtasks, layers, layers}, sums.last_angle);
  visit("attention_cosine_sum", DType::F64, {subtasks, layers}, sums.attention_cosine);
  visit("mlp_cosine_sum", DType::F64, {subtasks, layers}, sums.mlp_cosine);
  visit("norm_ratio_sum", DType::F64, {subtasks, layers}, sums.norm_ratio);
  visit("l2_sum", DType::F64, {subtasks, layers}, sums.l2);
  visit("hsic_xy", DType::F64, {subtasks, layers}, sums.hsic_xy);
  visit("hsic_xx", DType::F64, {subtasks, layers}, sums.hsic_xx);
  visit("hsic_yy", DType::F64, {subtasks, layers}, sums.hsic_yy);
  visit("zero_rows", DType::I64, {subtasks, layers}, sums.zero_rows);
}

using Shape = std::vector<std::int64_t>;

template <typename T>
std::span<const std::byte> bytes_of(const std::vector<T>& values) {
  return std::as_bytes(std::span(values));
}

json to_json(const ProbeRecord& record) {
  json domains = json::array();
  for (const ProbeDomain& domain : record.domains) {
    json subtasks = json::array();
    for (const ProbeSubtask& subtask : domain.subtasks) {
      subtasks.push_back(
          {{"name", subtask.name}, {"prompt", subtask.prompt}, {"samples", subtask.samples}});
    }
    domains.push_back(
        {{"name", domain.name}, {"source", domain.source}, {"subtasks", std::move(subtasks)}});
  }
  json pictures = json::array();
  for (const ProbePicture& picture : record.pictures) {
    pictures.push_back(
        {{"domain", picture.domain}, {"path", picture.path}, {"hash", picture.hash}});
  }
  json skipped = json::array();
  for (const SkippedSample& sample : record.skipped) {
    skipped.push_back({{"file", sample.file}, {"reason", sample.reason}});
  }
  return {{"schema", kSchema},
          {"kind", kKind},
          {"tool_version", ESPALIER_VERSION},
          {"options", json::parse(record.options)},
          {"model", to_json(record.model)},
          {"domains", std::move(domains)},
          {"measured_layers", record.measured_layers},
          {"pictures", std::move(pictures)},
          {"skipped", std::move(skipped)}};
}

ProbeDomain read_domain(const JsonObject& object) {
  ProbeDomain domain{.name = object.string("name"), .source = object.string("source")};
  for (const JsonObject& subtask : object.objects("subtasks")) {
    domain.subtasks.push_back({.name = subtask.string("name"),
                               .prompt = subtask.string("prompt"),
                               .samples = subtask.integer("samples")});
    subtask.refuse_unread();
  }
  object.refuse_unread();
  return domain;
}

void check_header(const ProbeRecord& record, const std::string& place) {
  const auto& measured = record.measured_layers;
  require(!record.domains.empty() && count_subtasks(record) > 0, "{}: it has no subtask", place);
  require(!measured.empty() && std::ranges::is_sorted(measured) &&
              std::ranges::adjacent_find(measured) == measured.end() && measured.front() >= 0 &&
              measured.back() < record.model.num_layers,
          "{}: measured_layers: wanted ascending numbers from 0 to {}, found {}", place,
          record.model.num_layers - 1, json(measured).dump());
  for (const ProbePicture& picture : record.pictures) {
    require(picture.domain >= 0 && picture.domain < std::ssize(record.domains),
            "{}: picture {} belongs to domain {} of {}", place, picture.path, picture.domain,
            record.domains.size());
  }
}

/// What `probe.json` says; samples and sums are still empty.
ProbeRecord read_header(const std::filesystem::path& folder) {
  const auto path = folder / "probe.json";
  require(path_exists(path),
          "{}: no probe record here (there is no probe.json); make one with espalier probe",
          folder.string());
  const json value = read_json(path);
  const JsonObject object(value, path.string());
  require(object.integer("schema") == kSchema && object.string("kind") == kKind,
          "{}: wanted a {} record of schema {}, found {} of schema {}; make it with this version",
          path.string(), kKind, kSchema, object.string("kind"), object.integer("schema"));
  require(object.boolean("complete"),
          "{}: this probe has not ended; run the same command again and it goes on where it was",
          folder.string());
  ProbeRecord record;
  record.options = object.at("options").dump();
  record.model = read_model_identity(object.object("model"));
  for (const JsonObject& domain : object.objects("domains")) {
    record.domains.push_back(read_domain(domain));
  }
  record.measured_layers = object.integers("measured_layers");
  for (const JsonObject& picture : object.objects("pictures")) {
    record.pictures.push_back({.domain = picture.integer("domain"),
                               .path = picture.string("path"),
                               .hash = picture.string("hash")});
    picture.refuse_unread();
  }
  for (const JsonObject& sample : object.objects("skipped")) {
    record.skipped.push_back({.file = sample.string("file"), .reason = sample.string("reason")});
    sample.refuse_unread();
  }
  object.ignore({"tool_version"});
  object.refuse_unread();
  check_header(record, path.string());
  return record;
}

void check_samples(const ProbeRecord& record, const std::string& place) {
  const ProbeSamples& samples = record.samples;
  std::vector<std::int64_t> counts(static_cast<std::size_t>(count_subtasks(record)));
  for (std::size_t s = 0; s < samples.size(); ++s) {
    const auto subtask = static_cast<std::size_t>(samples.subtask[s]);
    require(samples.subtask[s] >= 0 && subtask < counts.size() && samples.image[s] >= 0 &&
                samples.image[s] < std::ssize(record.pictures),
            "{}: sample {} is of subtask {} and picture {}, but there are {} and {}", place, s,
            samples.subtask[s], samples.image[s], counts.size(), record.pictures.size());
    require(samples.tokens[s] >= 1 && samples.visual_tokens[s] >= 0 &&
                samples.visual_tokens[s] <= samples.tokens[s],
            "{}: sample {} has {} tokens, of them {} of pictures", place, s, samples.tokens[s],
            samples.visual_tokens[s]);
    ++counts[subtask];
  }
  std::size_t g = 0;
  for (const ProbeDomain& domain : record.domains) {
    for (const ProbeSubtask& subtask : domain.subtasks) {
      require(subtask.samples == counts[g] && record.sums.count[g] == counts[g],
              "{}: subtask {}/{}: probe.json says {} samples, `count` says {}, but there are {}",
              place, domain.name, subtask.name, subtask.samples, record.sums.count[g], counts[g]);
      ++g;
    }
  }
  const auto not_a_cosine = [](float value) { return value < -1.01F || value > 1.01F; };
  for (const auto* column :
       {&samples.similarity, &samples.similarity_visual, &samples.similarity_text}) {
    require(std::ranges::none_of(*column, not_a_cosine), "{}: a similarity lies beyond -1 and 1",
            place);
  }
}

/// Fills one array from the file, which must hold it in exactly this type and shape.
template <typename T>
void read_array(const SafetensorsFile& file, const char* name, DType dtype, const Shape& shape,
                std::vector<T>& values) {
  const auto found = file.tensors().find(name);
  require(found != file.tensors().end(), "{}: {} is missing", file.path().string(), name);
  const TensorInfo& info = found->second;
  require(info.dtype == dtype && info.shape == shape, "{}: {}: wanted {} {}, found {} {}",
          file.path().string(), name, name_of(dtype), json(shape).dump(), name_of(info.dtype),
          json(info.shape).dump());
  const auto bytes = file.bytes(name);
  values.resize(bytes.size() / sizeof(T));
  if (!bytes.empty()) std::memcpy(values.data(), bytes.data(), bytes.size());
}

}  // namespace

std::int64_t count_subtasks(const ProbeRecord& record) {
  std::int64_t count = 0;
  for (const ProbeDomain& domain : record.domains) count += std::ssize(domain.subtasks);
  return count;
}

std::vector<std::int64_t> domain_of_subtasks(const ProbeRecord& record) {
  std::vector<std::int64_t> domains;
  for (std::size_t d = 0; d < record.domains.size(); ++d) {
    domains.insert(domains.end(), record.domains[d].subtasks.size(), static_cast<std::int64_t>(d));
  }
  return domains;
}

ProbeSums zero_sums(std::int64_t subtasks, std::int64_t layers, std::int64_t hidden_size) {
  const auto of = [](std::int64_t size) { return static_cast<std::size_t>(size); };
  const auto pooled = of(subtasks * layers * hidden_size) * kPoolings;
  const auto windows = of(subtasks * layers * layers);
  const std::vector<double> zeros(of(subtasks * layers));
  return {.count = std::vector<std::int64_t>(of(subtasks)),
          .pooled_input = std::vector<double>(pooled),
          .pooled_output = std::vector<double>(pooled),
          .window_cosine = std::vector<double>(windows),
          .last_angle = std::vector<double>(windows),
          .attention_cosine = zeros,
          .mlp_cosine = zeros,
          .norm_ratio = zeros,
          .l2 = zeros,
          .hsic_xy = zeros,
          .hsic_xx = zeros,
          .hsic_yy = zeros,
          .zero_rows = std::vector<std::int64_t>(of(subtasks * layers))};
}

std::map<std::string, std::string> read_probe_arrays(const std::filesystem::path& path,
                                                     ProbeRecord& record) {
  const SafetensorsFile file(path);
  const auto first = file.tensors().find("sample.subtask");
  require(first != file.tensors().end() && first->second.shape.size() == 1,
          "{}: sample.subtask is missing or has no single dimension", path.string());
  std::size_t arrays = 0;
  for_each_array(record, first->second.shape.front(),
                 [&](const char* name, DType dtype, const Shape& shape, auto& values) {
                   read_array(file, name, dtype, shape, values);
                   ++arrays;
                 });
  require(file.tensors().size() == arrays, "{}: wanted {} tensors, found {}", path.string(), arrays,
          file.tensors().size());
  return file.metadata();
}

std::filesystem::path probe_folder(const std::filesystem::path& named) {
  const bool is_run =
      !path_exists(named / "probe.json") && path_exists(named / "probe" / "probe.json");
  return is_run ? named / "probe" : named;
}

ProbeRecord read_probe_record(const std::filesystem::path& folder) {
  ProbeRecord record = read_header(folder);
  read_probe_arrays(folder / "probe.safetensors", record);
  check_samples(record, folder.string());
  return record;
}

void write_probe_arrays(const std::filesystem::path& file, const ProbeRecord& record,
                        const std::map<std::string, std::string>& notes, bool force) {
  const auto samples = std::ssize(record.samples.subtask);
  std::vector<TensorSpec> specs;
  for_each_array(record, samples,
                 [&](const char* name, DType dtype, const Shape& shape, const auto& values) {
                   specs.push_back({.name = name, .dtype = dtype, .shape = shape});
                   assume(size_in_bytes(specs.back()) == bytes_of(values).size(),
                          "a record's arrays have the shapes that its header implies");
                 });
  SafetensorsWriter writer(file, specs, force, notes);
  for_each_array(record, samples, [&](const char*, DType, const Shape&, const auto& values) {
    writer.write(bytes_of(values));
  });
  writer.finish();
}

std::string unfinished_header(const ProbeRecord& record) {
  json header = to_json(record);
  header["complete"] = false;
  return header.dump(2) + "\n";
}

void write_probe_record(const std::filesystem::path& folder, const ProbeRecord& record,
                        bool force) {
  write_probe_arrays(folder / "probe.safetensors", record, {}, force);
  json header = to_json(record);
  header["complete"] = true;
  write_file(folder / "probe.json", header.dump(2) + "\n", force);
}

std::string fingerprint(const ProbeRecord& record) {
  json header = to_json(record);
  header.erase("options");
  header.erase("tool_version");
  header.erase("skipped");
  for (json& domain : header["domains"]) domain.erase("source");
  Sha256 hash;
  hash.update(header.dump());
  for_each_array(
      record, std::ssize(record.samples.subtask),
      [&](const char*, DType, const Shape&, const auto& values) { hash.update(bytes_of(values)); });
  return hash.finish();
}

}  // namespace espalier
