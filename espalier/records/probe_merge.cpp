// SPDX-License-Identifier: Apache-2.0
// Two records over disjoint data as the record over both.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>
#include <set>
#include <tuple>

#include "espalier/base/error.h"
#include "espalier/records/probe_record.h"

namespace espalier {

namespace {

/// The place in `items` of the one with this name, which is added where there is none.
template <typename Item>
std::size_t place_of(std::vector<Item>& items, const Item& item) {
  const auto found = std::ranges::find(items, item.name, &Item::name);
  if (found != items.end()) return static_cast<std::size_t>(found - items.begin());
  items.push_back(item);
  return items.size() - 1;
}

/// Where the domains and subtasks of one record stand in the merged one.
struct Places {
  std::vector<std::int64_t> domain;
  std::vector<std::int64_t> subtask;  ///< [G of the record]
};

/// Adds what a record has to the merged header.
void add_domains(ProbeRecord& merged, const ProbeRecord& record) {
  for (const ProbeDomain& domain : record.domains) {
    ProbeDomain empty = domain;
    empty.subtasks.clear();
    ProbeDomain& target = merged.domains[place_of(merged.domains, empty)];
    if (target.source != domain.source) target.source += "; " + domain.source;
    for (ProbeSubtask subtask : domain.subtasks) {
      const auto samples = std::exchange(subtask.samples, 0);
      ProbeSubtask& sum = target.subtasks[place_of(target.subtasks, subtask)];
      require(
          sum.prompt == subtask.prompt,
          "merge: subtask {}/{} was asked in two ways: \"{}\" and \"{}\"; give one another name",
          domain.name, subtask.name, sum.prompt, subtask.prompt);
      sum.samples += samples;
    }
  }
}

Places places_in(ProbeRecord& merged, const ProbeRecord& record) {
  std::vector<std::int64_t> first(merged.domains.size() + 1);
  for (std::size_t d = 0; d < merged.domains.size(); ++d) {
    first[d + 1] = first[d] + std::ssize(merged.domains[d].subtasks);
  }
  Places places;
  for (const ProbeDomain& domain : record.domains) {
    const std::size_t d = place_of(merged.domains, domain);
    places.domain.push_back(static_cast<std::int64_t>(d));
    for (const ProbeSubtask& subtask : domain.subtasks) {
      const auto s = place_of(merged.domains[d].subtasks, subtask);
      places.subtask.push_back(first[d] + static_cast<std::int64_t>(s));
    }
  }
  return places;
}

/// Adds blocks [G, block] (after `outer` equal dimensions before) to their places.
template <typename T>
void add_blocks(std::vector<T>& sum, const std::vector<T>& part, const Places& places,
                std::size_t outer = 1) {
  const std::size_t from = places.subtask.size();
  const std::size_t block = part.size() / from / outer;
  const std::size_t to = sum.size() / block / outer;
  for (std::size_t o = 0; o < outer; ++o) {
    for (std::size_t g = 0; g < from; ++g) {
      const auto target = (o * to + static_cast<std::size_t>(places.subtask[g])) * block;
      for (std::size_t i = 0; i < block; ++i) sum[target + i] += part[(o * from + g) * block + i];
    }
  }
}

void add_sums(ProbeSums& sum, const ProbeSums& part, const Places& places) {
  add_blocks(sum.count, part.count, places);
  add_blocks(sum.pooled_input, part.pooled_input, places, kPoolings);
  add_blocks(sum.pooled_output, part.pooled_output, places, kPoolings);
  add_blocks(sum.window_cosine, part.window_cosine, places);
  add_blocks(sum.last_angle, part.last_angle, places);
  add_blocks(sum.attention_cosine, part.attention_cosine, places);
  add_blocks(sum.mlp_cosine, part.mlp_cosine, places);
  add_blocks(sum.norm_ratio, part.norm_ratio, places);
  add_blocks(sum.l2, part.l2, places);
  add_blocks(sum.hsic_xy, part.hsic_xy, places);
  add_blocks(sum.hsic_xx, part.hsic_xx, places);
  add_blocks(sum.hsic_yy, part.hsic_yy, places);
  add_blocks(sum.zero_rows, part.zero_rows, places);
}

using PictureKey = std::tuple<std::int64_t, std::string, std::string>;

PictureKey key_of(const ProbePicture& picture) {
  return {picture.domain, picture.path, picture.hash};
}

void append_samples(ProbeRecord& merged, const ProbeRecord& record, const Places& places) {
  const auto offset = static_cast<std::int32_t>(merged.pictures.size());
  for (ProbePicture picture : record.pictures) {
    picture.domain = places.domain[static_cast<std::size_t>(picture.domain)];
    merged.pictures.push_back(std::move(picture));
  }
  const auto append = [](auto& to, const auto& from) {
    to.insert(to.end(), from.begin(), from.end());
  };
  ProbeSamples& to = merged.samples;
  const ProbeSamples& from = record.samples;
  for (const std::int32_t subtask : from.subtask) {
    to.subtask.push_back(
        static_cast<std::int32_t>(places.subtask[static_cast<std::size_t>(subtask)]));
  }
  for (const std::int32_t image : from.image) to.image.push_back(image + offset);
  append(to.tokens, from.tokens);
  append(to.visual_tokens, from.visual_tokens);
  append(to.id, from.id);
  append(to.similarity, from.similarity);
  append(to.similarity_visual, from.similarity_visual);
  append(to.similarity_text, from.similarity_text);
}

/// A column in another order; `width` values a sample.
template <typename T>
void reorder(std::vector<T>& column, const std::vector<std::size_t>& order, std::size_t width) {
  std::vector<T> sorted;
  sorted.reserve(column.size());
  for (const std::size_t s : order) {
    const auto row = column.begin() + static_cast<std::ptrdiff_t>(s * width);
    sorted.insert(sorted.end(), row, row + static_cast<std::ptrdiff_t>(width));
  }
  column = std::move(sorted);
}

/// Pictures by (domain, path bytes), one entry each; samples by picture, subtask and id.
void sort_canonically(ProbeRecord& record) {
  std::map<PictureKey, std::int32_t> places;
  for (const ProbePicture& picture : record.pictures) places.emplace(key_of(picture), 0);
  std::vector<ProbePicture> pictures;
  for (auto& [key, place] : places) {
    place = static_cast<std::int32_t>(pictures.size());
    const auto& [domain, path, hash] = key;
    pictures.push_back({.domain = domain, .path = path, .hash = hash});
  }
  ProbeSamples& samples = record.samples;
  for (std::int32_t& image : samples.image) {
    image = places.at(key_of(record.pictures[static_cast<std::size_t>(image)]));
  }
  record.pictures = std::move(pictures);

  std::vector<std::size_t> order(samples.size());
  std::iota(order.begin(), order.end(), 0U);
  std::ranges::stable_sort(order, {}, [&](std::size_t s) {
    return std::tuple(samples.image[s], samples.subtask[s], samples.id[s]);
  });
  const auto layers = static_cast<std::size_t>(record.model.num_layers);
  reorder(samples.subtask, order, 1);
  reorder(samples.image, order, 1);
  reorder(samples.tokens, order, 1);
  reorder(samples.visual_tokens, order, 1);
  reorder(samples.id, order, 1);
  reorder(samples.similarity, order, layers);
  reorder(samples.similarity_visual, order, layers);
  reorder(samples.similarity_text, order, layers);
}

void refuse_shared_samples(const ProbeRecord& merged) {
  std::set<std::pair<std::int64_t, SampleId>> seen;
  for (std::size_t s = 0; s < merged.samples.size(); ++s) {
    const ProbePicture& picture =
        merged.pictures[static_cast<std::size_t>(merged.samples.image[s])];
    require(seen.emplace(picture.domain, merged.samples.id[s]).second,
            "merge: both records have the sample of {} (domain {}); a picture must not count twice",
            picture.path, merged.domains[static_cast<std::size_t>(picture.domain)].name);
  }
}

}  // namespace

ProbeRecord merge(const ProbeRecord& first, const ProbeRecord& second) {
  require(first.model == second.model,
          "merge: the records are of different models: {} ({} layers) and {} ({} layers)",
          first.model.fingerprint, first.model.num_layers, second.model.fingerprint,
          second.model.num_layers);
  require(first.measured_layers == second.measured_layers,
          "merge: one record measured the last layer, the other did not; probe both with or both "
          "without --last-layer");
  ProbeRecord merged{.model = first.model, .measured_layers = first.measured_layers};
  const nlohmann::json options = {
      {"merged", {nlohmann::json::parse(first.options), nlohmann::json::parse(second.options)}}};
  merged.options = options.dump();
  for (const ProbeRecord* record : {&first, &second}) add_domains(merged, *record);
  merged.sums =
      zero_sums(count_subtasks(merged), merged.model.num_layers, merged.model.hidden_size);
  for (const ProbeRecord* record : {&first, &second}) {
    const Places places = places_in(merged, *record);
    add_sums(merged.sums, record->sums, places);
    append_samples(merged, *record, places);
    merged.skipped.insert(merged.skipped.end(), record->skipped.begin(), record->skipped.end());
  }
  refuse_shared_samples(merged);
  sort_canonically(merged);
  return merged;
}

}  // namespace espalier
