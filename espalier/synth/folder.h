// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "espalier/base/files.h"
#include "espalier/synth/samples.h"
#include "espalier/synth/split.h"

namespace espalier {

/// What `espalier synth` is asked for.
struct SynthOptions {
  std::vector<std::string> domains;  ///< "math", "scenes" or both; none twice
  std::uint64_t count = 0;           ///< pictures a domain, at least 1
  std::uint64_t seed = 0;
  Split split = Split::Train;
  int scale = 1;                      ///< how often 128 x 32 or 64 x 64 goes into each side
  std::vector<KindWeight> kinds;      ///< of problems; empty: all alike
  std::vector<std::string> subtasks;  ///< what conversations.jsonl holds; empty: all
  bool text_only = false;             ///< problems stand in the prompts, without pictures
  SynthPrompts prompts;               ///< of the prompted subtasks of all domains
  std::vector<std::filesystem::path> font_folders = {"/usr/share/fonts", "/usr/local/share/fonts"};
  unsigned threads = 0;  ///< 0: all cores; the bytes written do not depend on it
  /// Called now and then with the pictures that are done, and all.
  std::function<void(std::uint64_t done, std::uint64_t all)> progress;
};

/// How much was written.
struct SynthCounts {
  std::uint64_t pictures = 0;
  std::uint64_t conversations = 0;
  std::uint64_t questions = 0;
  std::map<std::string, std::uint64_t> kinds;  ///< pictures (or problems) by kind
};

/// "two-digit-sum,unknown=3": kinds of problems with their weights, 1 where none is given.
///
/// \throws InputError  for an unknown or repeated name, or a weight that is no whole number from 1
///                     to 1000
std::vector<KindWeight> parse_kinds(std::string_view text);

/// Writes `images/DOMAIN/NNNNNN.png`, `DOMAIN.jsonl`, `conversations.jsonl`, `questions.jsonl` and
/// `synth.json` into a folder, which it leaves to be committed. The same options give the same
/// bytes; no two pictures are the same.
///
/// \throws InputError  for options that miss or exclude one another, a typeface that is missing,
///                     a full disk
SynthCounts write_synth(const OutputDirectory& out, const SynthOptions& options);

}  // namespace espalier
