// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "espalier/data/encoder.h"
#include "espalier/image/image.h"
#include "espalier/text/tokenizer.h"

namespace espalier {

/// Tokens that are to be predicted: ids[begin, end), each from those before it.
struct LabelSpan {
  std::int64_t begin;
  std::int64_t end;
  bool operator==(const LabelSpan&) const = default;
};

/// A conversation, planned: everything but its pixels.
struct TrainingSample {
  std::vector<std::int64_t> ids;  ///< placeholders repeated once a merged visual token
  std::vector<LabelSpan> labels;  ///< ascending, apart from each other, none empty, none at 0
  std::vector<std::filesystem::path> images;
  std::vector<Size> picture_sizes;  ///< of the pictures, upright, before resizing
  PlacedPictures placed;            ///< how the model sees them
  std::int64_t visual_tokens = 0;
  std::int64_t label_tokens = 0;
  std::size_t source = 0;  ///< which of TrainingSet::sources
  std::string place;       ///< for errors: file:line
  bool operator==(const TrainingSample&) const = default;
};

/// What becomes of a sample with more tokens than the limit. None is ever cut.
enum class LongSamples { Drop, Error };

/// How conversations become samples.
struct TrainingSetOptions {
  /// Of the model. A generation prompt is never added, whatever `encoder.chat` says of it.
  EncoderOptions encoder;
  std::int64_t max_length = 8192;  ///< tokens of a sample, the visual ones included
  LongSamples long_samples = LongSamples::Drop;
  std::filesystem::path image_root;  ///< as in ConversationOptions
  bool skip_bad = false;             ///< leave out rows that cannot be used, instead of stopping
  std::size_t threads = 0;           ///< 0: one a core
};

/// What was read, and what came of it; tokens are those of the samples that were kept.
struct TrainingSetCounts {
  std::int64_t read = 0;  ///< rows: kept + dropped_long + dropped_bad
  std::int64_t kept = 0;
  std::int64_t dropped_long = 0;
  std::int64_t dropped_bad = 0;
  std::int64_t tokens = 0;  ///< visual and label tokens included
  std::int64_t visual_tokens = 0;
  std::int64_t label_tokens = 0;
  std::int64_t longest = 0;  ///< tokens of the longest sample
  bool operator==(const TrainingSetCounts&) const = default;
};

/// The samples to train on, in order of files and lines.
struct TrainingSet {
  std::vector<TrainingSample> samples;  ///< at least one
  std::vector<std::string> sources;     ///< in order of appearance
  TrainingSetCounts counts;
  /// SHA-256, hexadecimal, over the samples in order: ids, labels, and of each picture its grid,
  /// its path relative to the root, and how many bytes its file has. Thus it changes with rows,
  /// tokenizer and limits, but not with the folder that all of it lies in, nor with a picture that
  /// was replaced by one of the same sizes.
  std::string fingerprint;
  /// "file:line: reason" of the first 20 that were left out; of a file, what could not be read
  /// stands before what could not be used.
  std::vector<std::string> dropped;
};

/// Reads files of conversations (read_conversations) and plans a sample for each: ids, what is to
/// be predicted (the labelled answers and their `<|im_end|>`), and how its pictures are placed, for
/// which only the headers of pictures are read. A row without "source" has its file's name without
/// the ending.
///
/// The result does not depend on the number of threads.
///
/// \throws InputError  naming file and line, for a row that cannot be used (without `skip_bad`), or
///                     too long (LongSamples::Error), or an answer whose first token is not its
///                     own; or if no file is given, a file cannot be read, or no sample is left
TrainingSet open_training_set(const std::vector<std::filesystem::path>& files,
                              const Tokenizer& tokenizer, const TrainingSetOptions& options);

/// What the samples take in memory, in bytes, estimated from their sizes.
std::uint64_t set_bytes(const TrainingSet& set);

/// Reads and decodes a sample's pictures.
///
/// \throws InputError  naming the sample's place, for a picture that is broken, or has no longer
///                     the size that the sample was planned for
std::vector<Image> read_pictures(const TrainingSample& sample);

}  // namespace espalier
