// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace espalier {

/// Which model a record was made from.
struct ModelIdentity {
  std::string fingerprint;  ///< checkpoint/model_directory.h: 64 hexadecimal digits
  std::string architecture;
  std::int64_t num_layers = 0;   ///< L
  std::int64_t hidden_size = 0;  ///< H
  bool operator==(const ModelIdentity&) const = default;
};

/// One instruction of a domain. Subtasks of all domains are numbered together, in file order: that
/// number is the index of every [G, ...] array.
struct ProbeSubtask {
  std::string name;
  std::string prompt;  ///< empty where the rows bring their own
  std::int64_t samples = 0;
  bool operator==(const ProbeSubtask&) const = default;
};

/// One domain of the user's.
struct ProbeDomain {
  std::string name;
  std::string source;  ///< as the user named it
  std::vector<ProbeSubtask> subtasks;
  bool operator==(const ProbeDomain&) const = default;
};

/// What was left out, and why.
struct SkippedSample {
  std::string file;
  std::string reason;
  bool operator==(const SkippedSample&) const = default;
};

/// A picture, or the pictures of one row.
struct ProbePicture {
  std::int64_t domain = 0;
  std::string path;  ///< relative to the domain's source; several joined by a line feed
  std::string hash;  ///< XXH3-128 of its bytes, 32 hexadecimal digits
  bool operator==(const ProbePicture&) const = default;
};

/// 128 bits that name a sample: XXH3-128 of its picture bytes and prompt.
using SampleId = std::array<std::uint8_t, 16>;

/// The samples, column by column: S entries each, or S * L in row-major order.
struct ProbeSamples {
  std::vector<std::int32_t> subtask;
  std::vector<std::int32_t> image;          ///< index into ProbeRecord::pictures
  std::vector<std::int32_t> tokens;         ///< T
  std::vector<std::int32_t> visual_tokens;  ///< of these, picture tokens
  std::vector<SampleId> id;
  /// Eq. 6, [S, L]; NaN where not measured.
  std::vector<float> similarity;
  std::vector<float> similarity_visual;  ///< the same over picture tokens alone
  std::vector<float> similarity_text;    ///< the same over the others
  bool operator==(const ProbeSamples&) const = default;

  [[nodiscard]] std::size_t size() const { return subtask.size(); }
};

/// How the mean-pooled vectors of appendix A.1 are taken, the first index of their sums.
enum class Pooling { Mean, MeanWithoutFirst, UnitMean };
constexpr std::size_t kPoolings = 3;

/// Sums over samples, float64, row-major. Layers that were not measured hold zeros.
struct ProbeSums {
  std::vector<std::int64_t> count;  ///< [G] samples
  /// Sums of mean-pooled layer inputs and outputs (A.1), [3, G, L, H]; the first index is Pooling.
  std::vector<double> pooled_input;
  std::vector<double> pooled_output;
  /// [G, L, L]; at [i, j], j > i: mean over tokens of cos(input of i, input of j); at [i, i]:
  /// Eq. 6.
  std::vector<double> window_cosine;
  /// [G, L, L]; the same places: arccos of the last token's cosine, over pi, in [0, 1].
  std::vector<double> last_angle;
  std::vector<double> attention_cosine;  ///< [G, L] mean cos(input, input + attention branch)
  std::vector<double> mlp_cosine;        ///< [G, L] mean cos(that, output)
  std::vector<double> norm_ratio;        ///< [G, L] mean |output - input| / |output|
  std::vector<double> l2;                ///< [G, L] mean |output - input|
  /// [G, L]; HSIC_1 of Song et al. (2012) between pooled inputs (x) and outputs (y), unbiased,
  /// times the samples of its block, summed over blocks of at most 256 samples and at least 4.
  std::vector<double> hsic_xy;
  std::vector<double> hsic_xx;
  std::vector<double> hsic_yy;
  /// [G, L]; tokens of norm zero, left out of every mean.
  std::vector<std::int64_t> zero_rows;
  bool operator==(const ProbeSums&) const = default;
};

/// What one pass over the user's domains found out about a model's layers: everything that a
/// criterion needs. On disk: a folder with `probe.json` and `probe.safetensors`.
struct ProbeRecord {
  ModelIdentity model;
  std::vector<ProbeDomain> domains;
  std::vector<std::int64_t> measured_layers;  ///< ascending
  std::vector<ProbePicture> pictures;
  std::vector<SkippedSample> skipped;
  ProbeSamples samples;
  ProbeSums sums;
  std::string options;  ///< a JSON object: what was asked or defaulted
  bool operator==(const ProbeRecord&) const = default;
};

/// Subtasks of all domains together, G.
std::int64_t count_subtasks(const ProbeRecord& record);

/// [G] the domain of each subtask.
std::vector<std::int64_t> domain_of_subtasks(const ProbeRecord& record);

/// Sums of a record's shape, all zero.
ProbeSums zero_sums(std::int64_t subtasks, std::int64_t layers, std::int64_t hidden_size);

/// Where a record lies: in the folder that is named, or in `probe` below it, as in the folder of a
/// run. The named one where neither has a record.
std::filesystem::path probe_folder(const std::filesystem::path& named);

/// Reads a complete record.
///
/// \param folder       the folder that `probe --out` named
/// \throws InputError  for a missing, truncated or contradictory record, one of another schema, or
///                     one whose run has not ended (which says how to go on with it)
ProbeRecord read_probe_record(const std::filesystem::path& folder);

/// Writes `probe.json` and `probe.safetensors` into an existing folder; the first is written last,
/// so that a folder with `"complete": true` in it is whole.
///
/// \param force        replace files that stand there
/// \throws InputError  if they cannot be written
void write_probe_record(const std::filesystem::path& folder, const ProbeRecord& record, bool force);

/// `probe.json` of a run that has not ended: what it was asked, and over what.
std::string unfinished_header(const ProbeRecord& record);

/// Writes samples and sums alone, as `probe.safetensors` holds them: the state of a run.
///
/// \param notes        goes into the file's metadata
void write_probe_arrays(const std::filesystem::path& file, const ProbeRecord& record,
                        const std::map<std::string, std::string>& notes, bool force);

/// Reads samples and sums into a record whose model and domains stand already.
///
/// \return             the notes
/// \throws InputError  if they are not such a record's
std::map<std::string, std::string> read_probe_arrays(const std::filesystem::path& file,
                                                     ProbeRecord& record);

/// What a record says, in 64 hexadecimal digits: SHA-256 over everything but the names of sources
/// and the options.
std::string fingerprint(const ProbeRecord& record);

/// The record over the samples of both: sums are added, samples put in canonical order (domain,
/// path bytes, subtask, id). Domains and subtasks of either may be missing in the other.
///
/// \throws InputError  for different models or measured layers, one subtask with two prompts, or a
///                     sample that both have (it is named)
ProbeRecord merge(const ProbeRecord& first, const ProbeRecord& second);

}  // namespace espalier
