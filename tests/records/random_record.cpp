// SPDX-License-Identifier: Apache-2.0
#include "tests/records/random_record.h"

#include <fmt/format.h>

#include <limits>
#include <utility>

#include "espalier/base/random.h"

namespace espalier::test {

namespace {

constexpr std::int64_t kLayers = 6;

void fill(std::vector<double>& values, Random& random) {
  for (double& value : values) value = random.uniform();
}

void add_sample(ProbeRecord& record, std::int32_t subtask, std::int32_t image, Random& random) {
  ProbeSamples& samples = record.samples;
  samples.subtask.push_back(subtask);
  samples.image.push_back(image);
  samples.tokens.push_back(20 + static_cast<std::int32_t>(random.below(5)));
  samples.visual_tokens.push_back(4);
  SampleId id{};
  for (auto& byte : id) byte = static_cast<std::uint8_t>(random.below(256));
  samples.id.push_back(id);
  for (std::int64_t layer = 0; layer < kLayers; ++layer) {
    const bool measured = layer + 1 < kLayers;
    const auto draw = [&] {
      const auto value = static_cast<float>(0.9 + 0.1 * random.uniform());
      return measured ? value : std::numeric_limits<float>::quiet_NaN();
    };
    samples.similarity.push_back(draw());
    samples.similarity_visual.push_back(draw());
    samples.similarity_text.push_back(draw());
  }
}

}  // namespace

ProbeRecord random_record(std::uint64_t seed, std::int64_t pictures) {
  Random random(seed);
  ProbeRecord record{
      .model = {.fingerprint = std::string(64, 'a'),
                .architecture = "Qwen3VLForConditionalGeneration",
                .num_layers = kLayers,
                .hidden_size = 4},
      .domains = {{.name = "math",
                   .source = "problems",
                   .subtasks = {{"cot", "Solve."}, {"direct", "Answer."}, {"verify", "Check."}}},
                  {.name = "nonmath",
                   .source = "photos",
                   .subtasks = {{"caption", "Describe."}, {"count", "How many?"}}}},
      .measured_layers = {0, 1, 2, 3, 4},
      .options = R"({"seed":0})"};
  record.sums = zero_sums(5, kLayers, 4);
  auto& sums = record.sums;
  for (auto* values : {&sums.pooled_input, &sums.pooled_output, &sums.window_cosine,
                       &sums.last_angle, &sums.attention_cosine, &sums.mlp_cosine, &sums.norm_ratio,
                       &sums.l2, &sums.hsic_xy, &sums.hsic_xx, &sums.hsic_yy}) {
    fill(*values, random);
  }
  std::int32_t first_subtask = 0;
  for (std::int64_t d = 0; d < 2; ++d) {
    auto& subtasks = record.domains[static_cast<std::size_t>(d)].subtasks;
    for (std::int64_t p = 0; p < pictures; ++p) {
      const auto image = static_cast<std::int32_t>(record.pictures.size());
      record.pictures.push_back({.domain = d,
                                 .path = fmt::format("{:03}.png", p),
                                 .hash = fmt::format("{:032x}", image)});
      for (std::size_t s = 0; s < subtasks.size(); ++s) {
        add_sample(record, first_subtask + static_cast<std::int32_t>(s), image, random);
        ++subtasks[s].samples;
        ++sums.count[static_cast<std::size_t>(first_subtask) + s];
      }
    }
    first_subtask += static_cast<std::int32_t>(subtasks.size());
  }
  return record;
}

ProbeRecord half_of(const ProbeRecord& record, bool first) {
  ProbeRecord half = record;
  half.samples = {};
  half.pictures.clear();
  half.sums.count.assign(record.sums.count.size(), 0);
  for (auto& domain : half.domains) {
    for (auto& subtask : domain.subtasks) subtask.samples = 0;
  }
  const double share = first ? 0.25 : 0.75;
  auto& sums = half.sums;
  for (auto* values : {&sums.pooled_input, &sums.pooled_output, &sums.window_cosine,
                       &sums.last_angle, &sums.attention_cosine, &sums.mlp_cosine, &sums.norm_ratio,
                       &sums.l2, &sums.hsic_xy, &sums.hsic_xx, &sums.hsic_yy}) {
    for (double& value : *values) value *= share;
  }
  const auto layers = static_cast<std::size_t>(record.model.num_layers);
  const ProbeSamples& from = record.samples;
  for (std::size_t s = 0; s < from.size(); ++s) {
    if ((from.image[s] % 2 == 0) != first) continue;
    const ProbePicture& picture = record.pictures[static_cast<std::size_t>(from.image[s])];
    if (half.pictures.empty() || !(half.pictures.back() == picture)) {
      half.pictures.push_back(picture);
    }
    ProbeSamples& to = half.samples;
    to.subtask.push_back(from.subtask[s]);
    to.image.push_back(static_cast<std::int32_t>(half.pictures.size()) - 1);
    to.tokens.push_back(from.tokens[s]);
    to.visual_tokens.push_back(from.visual_tokens[s]);
    to.id.push_back(from.id[s]);
    const auto copy_row = [&](std::vector<float>& target, const std::vector<float>& source) {
      const auto row = source.begin() + static_cast<std::ptrdiff_t>(s * layers);
      target.insert(target.end(), row, row + static_cast<std::ptrdiff_t>(layers));
    };
    copy_row(to.similarity, from.similarity);
    copy_row(to.similarity_visual, from.similarity_visual);
    copy_row(to.similarity_text, from.similarity_text);
    auto g = static_cast<std::size_t>(from.subtask[s]);
    ++sums.count[g];
    for (auto& domain : half.domains) {
      if (g < domain.subtasks.size()) {
        ++domain.subtasks[g].samples;
        break;
      }
      g -= domain.subtasks.size();
    }
  }
  return half;
}

}  // namespace espalier::test
