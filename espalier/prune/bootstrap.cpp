// SPDX-License-Identifier: Apache-2.0
#include "espalier/prune/bootstrap.h"

#include <algorithm>
#include <array>
#include <optional>

#include "espalier/base/error.h"
#include "espalier/base/parallel.h"
#include "espalier/base/random.h"
#include "espalier/prune/order.h"

namespace espalier {

namespace {

std::size_t index(std::int64_t layer) { return static_cast<std::size_t>(layer); }

/// Resamples that are made together: the table of similarities is read once for all of them.
constexpr std::size_t kBlock = 8;

/// What every resample is made from; read by all threads.
struct Ground {
  const std::vector<std::int64_t>& prunable;
  const std::vector<const Criterion*>& criteria;
  const std::vector<SelectionInQuestion>& selections;
  std::vector<std::vector<std::int32_t>> pictures;  ///< of each domain, those with samples
  std::size_t num_pictures;
  std::array<std::optional<SimilarityTable>, kTokenSets> tables;  ///< by Tokens, where needed
};

/// Counts over resamples; each thread has its own.
struct Tally {
  /// [criteria][prunable][rank]: in how many resamples a layer has a rank.
  std::vector<std::vector<std::vector<std::uint32_t>>> ranks;
  std::vector<std::uint64_t> same_set;              ///< [selections]
  std::vector<std::vector<std::uint64_t>> removed;  ///< [selections][L]

  Tally(const Ground& ground, std::size_t num_layers)
      : ranks(ground.criteria.size(),
              std::vector(ground.prunable.size(),
                          std::vector<std::uint32_t>(ground.prunable.size()))),
        same_set(ground.selections.size()),
        removed(ground.selections.size(), std::vector<std::uint64_t>(num_layers)) {}

  void add(const Tally& other) {
    for (std::size_t c = 0; c < ranks.size(); ++c) {
      for (std::size_t i = 0; i < ranks[c].size(); ++i) add_to(ranks[c][i], other.ranks[c][i]);
    }
    add_to(same_set, other.same_set);
    for (std::size_t s = 0; s < removed.size(); ++s) add_to(removed[s], other.removed[s]);
  }

 private:
  template <typename T>
  static void add_to(std::vector<T>& sums, const std::vector<T>& others) {
    for (std::size_t i = 0; i < sums.size(); ++i) sums[i] += others[i];
  }
};

/// Pictures that count, by domain.
std::vector<std::vector<std::int32_t>> pictures_of_domains(const ProbeRecord& record) {
  std::vector<bool> has_samples(record.pictures.size());
  for (const std::int32_t image : record.samples.image) {
    has_samples[static_cast<std::size_t>(image)] = true;
  }
  std::vector<std::vector<std::int32_t>> pictures(record.domains.size());
  for (std::size_t p = 0; p < record.pictures.size(); ++p) {
    if (!has_samples[p]) continue;
    pictures[index(record.pictures[p].domain)].push_back(static_cast<std::int32_t>(p));
  }
  return pictures;
}

/// How often each picture was drawn.
std::vector<std::uint32_t> draw(const Ground& ground, std::uint64_t seed, std::uint64_t resample) {
  Random random(seed, resample);
  std::vector<std::uint32_t> weights(ground.num_pictures);
  for (const auto& pictures : ground.pictures) {
    for (std::size_t i = 0; i < pictures.size(); ++i) {
      ++weights[static_cast<std::size_t>(pictures[random.below(pictures.size())])];
    }
  }
  return weights;
}

void tally_ranks(const Ground& ground, std::size_t criterion, const LayerScores& scores,
                 Tally& tally) {
  const auto order = order_layers(ground.prunable, scores);
  for (std::size_t rank = 0; rank < order.size(); ++rank) {
    const auto place = std::ranges::lower_bound(ground.prunable, order[rank]);
    ++tally.ranks[criterion][static_cast<std::size_t>(place - ground.prunable.begin())][rank];
  }
}

void tally_selection(const Ground& ground, std::size_t selection, const Candidates& candidates,
                     Tally& tally) {
  const SelectionInQuestion& question = ground.selections[selection];
  try {
    const Choice choice = select(candidates, std::ssize(question.removed), question.rule);
    if (choice.removed == question.removed) ++tally.same_set[selection];
    for (const std::int64_t layer : choice.removed) ++tally.removed[selection][index(layer)];
  } catch (const InputError&) {
    // This resample's scores leave the rule no way to K: another outcome, and so unstable.
  }
}

void tally_resample(const Ground& ground, const Evidence& evidence, Tally& tally) {
  for (std::size_t c = 0; c < ground.criteria.size(); ++c) {
    const Criterion* criterion = ground.criteria[c];
    CriterionScores scores = criterion->score(evidence);
    tally_ranks(ground, c, scores.scores, tally);
    const Candidates candidates{.prunable = ground.prunable, .scores = std::move(scores.scores)};
    for (std::size_t s = 0; s < ground.selections.size(); ++s) {
      if (ground.selections[s].criterion == criterion) {
        tally_selection(ground, s, candidates, tally);
      }
    }
  }
}

/// The resamples from `first` to before `last`.
void tally_block(const Ground& ground, std::uint64_t seed, std::size_t first, std::size_t last,
                 Tally& tally) {
  std::vector<std::vector<std::uint32_t>> weights;
  for (std::size_t r = first; r < last; ++r) weights.push_back(draw(ground, seed, r));
  std::array<std::vector<GroupSums>, kTokenSets> sums;
  for (std::size_t t = 0; t < kTokenSets; ++t) {
    if (ground.tables[t]) sums[t] = add_up(*ground.tables[t], weights);
  }
  for (std::size_t i = 0; i < weights.size(); ++i) {
    Evidence evidence{.prunable = ground.prunable};
    for (std::size_t t = 0; t < kTokenSets; ++t) {
      if (!ground.tables[t]) continue;
      evidence.means[t] = take_means(*ground.tables[t], sums[t][i], ground.pictures.size());
    }
    tally_resample(ground, evidence, tally);
  }
}

/// All resamples, shared out by blocks; counts do not depend on which thread took which.
Tally tally_all(const Ground& ground, std::size_t num_layers, const BootstrapOptions& options) {
  const auto resamples = index(options.resamples);
  const std::size_t blocks = (resamples + kBlock - 1) / kBlock;
  const std::size_t workers = thread_count(options.threads, blocks);
  std::vector<Tally> tallies(workers, Tally(ground, num_layers));
  in_parallel(workers, blocks, [&](std::size_t worker, std::size_t block) {
    const std::size_t first = block * kBlock;
    tally_block(ground, options.seed, first, std::min(first + kBlock, resamples), tallies[worker]);
  });
  Tally total(ground, num_layers);
  for (const Tally& tally : tallies) total.add(tally);
  return total;
}

/// The ranks inside which the middle `level` of the resamples falls.
RankInterval middle(const std::vector<std::uint32_t>& counts, std::int64_t resamples,
                    double level) {
  // This many are cut off at each end; the small addition keeps 0.025 * 1000 from becoming 24.
  const auto cut =
      static_cast<std::int64_t>((1.0 - level) / 2.0 * static_cast<double>(resamples) + 1e-9);
  const auto rank_at = [&](std::int64_t place) {
    std::int64_t seen = 0;
    std::int64_t rank = 0;
    for (const std::uint32_t count : counts) {
      ++rank;
      seen += count;
      if (seen > place) break;
    }
    return rank;
  };
  return {.lo = rank_at(cut), .hi = rank_at(resamples - 1 - cut)};
}

}  // namespace

BootstrapResult bootstrap(const ProbeRecord& record, const std::vector<std::int64_t>& prunable,
                          Averaging averaging, const std::vector<const Criterion*>& criteria,
                          const std::vector<SelectionInQuestion>& selections,
                          const BootstrapOptions& options) {
  require(options.resamples >= 1 && options.level > 0.0 && options.level < 1.0,
          "bootstrap: wanted at least 1 resample and a level between 0 and 1, found {} and {}",
          options.resamples, options.level);
  const auto layers = index(record.model.num_layers);
  Ground ground{.prunable = prunable,
                .criteria = criteria,
                .selections = selections,
                .pictures = pictures_of_domains(record),
                .num_pictures = record.pictures.size()};
  for (const Criterion* criterion : criteria) {
    assume(criterion->tokens.has_value(), "only functions of means over samples are resampled");
    auto& table = ground.tables[static_cast<std::size_t>(*criterion->tokens)];
    if (!table) table = tabulate(record, *criterion->tokens, averaging);
  }
  const Tally tally = tally_all(ground, layers, options);
  BootstrapResult result;
  for (const auto& of_criterion : tally.ranks) {
    std::vector<RankInterval> intervals(layers);
    for (std::size_t i = 0; i < prunable.size(); ++i) {
      intervals[index(prunable[i])] = middle(of_criterion[i], options.resamples, options.level);
    }
    result.rank_intervals.push_back(std::move(intervals));
  }
  const auto total = static_cast<double>(options.resamples);
  for (std::size_t s = 0; s < selections.size(); ++s) {
    Stability stability{.same_set = static_cast<double>(tally.same_set[s]) / total};
    for (const std::uint64_t count : tally.removed[s]) {
      stability.removal_share.push_back(static_cast<double>(count) / total);
    }
    result.stabilities.push_back(std::move(stability));
  }
  return result;
}

}  // namespace espalier
