// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <limits>
#include <optional>
#include <string>

#include "espalier/checkpoint/model_directory.h"
#include "espalier/checkpoint/side_files.h"
#include "espalier/data/probe_set.h"
#include "espalier/model/qwen3_vl.h"
#include "espalier/records/probe_record.h"
#include "espalier/text/tokenizer.h"

namespace espalier {

/// The model that is probed; all must outlive the probe.
struct ProbeModel {
  const ModelDirectory& directory;
  const Qwen3VL& model;
  const Tokenizer& tokenizer;
  const PreprocessorConfig& preprocessor;
};

/// How far a probe is.
struct ProbeProgress {
  enum class Phase { Checking, Measuring };
  Phase phase = Phase::Checking;
  std::int64_t items_done = 0;  ///< pictures
  std::int64_t items = 0;
  std::int64_t rows_done = 0;  ///< decoder rows, what the time goes with
  std::int64_t rows = 0;
  std::int64_t rows_resumed = 0;  ///< of these, done by a former run
};

struct ProbeOptions {
  bool last_layer = false;  ///< also measure the last layer, which the paper never removes
  bool skip_bad = false;    ///< leave pictures out that cannot be used, instead of stopping
  bool force = false;       ///< replace what stands at the output
  /// The most memory of the whole process; by default the mapped weights and 0.4 GB.
  std::optional<std::uint64_t> memory_bytes;
  /// A smaller pass than the memory would hold.
  std::int64_t most_pictures_a_pass = std::numeric_limits<std::int64_t>::max();
  double save_every_seconds = 30.0;  ///< how much work a kill may cost
  std::string described = "{}";      ///< a JSON object for the record: all that decides the result
  std::function<void(const ProbeProgress&)> progress;
};

/// How a run went, beside its record.
struct ProbeResult {
  ProbeRecord record;
  double seconds = 0.0;   ///< of measuring, in this run
  std::int64_t rows = 0;  ///< measured in this run
  std::int64_t most_items_a_pass = 0;
  bool streamed = false;  ///< whether weights were given back layer by layer
};

/// Measures every layer of a model on the user's pictures (sections 3.2 and 3.3, appendix A.1) and
/// writes the record into a folder. Each picture is encoded once, and what its prompts begin with
/// runs once; pictures are packed into passes that the memory holds. The result does not depend on
/// the packing beyond rounding: not at all in bfloat16 on a CPU with AVX512_BF16, about 1e-6 in a
/// similarity elsewhere.
///
/// A run that was cut off goes on where it saved last, and ends with the same bytes.
///
/// \param out          the folder; a partial run of the same options in it is continued
/// \throws InputError  for pictures that cannot be used (found before anything runs), an output
/// that
///                     exists or is another run's, too little memory, a full disk
ProbeResult probe(const ProbeModel& model, const ProbeSet& set, const std::filesystem::path& out,
                  const ProbeOptions& options);

}  // namespace espalier
