// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "espalier/data/domain_source.h"
#include "espalier/data/encoder.h"
#include "espalier/data/prompts.h"

namespace espalier {

/// What is asked about a picture.
struct ProbeQuestion {
  std::int32_t subtask = 0;  ///< counted over all domains, in file order
  std::string prompt;
  bool operator==(const ProbeQuestion&) const = default;
};

/// A picture, or the pictures of one row, with everything that is asked about them.
struct ProbeItem {
  std::int64_t domain = 0;
  std::string path;                          ///< as in the source; several joined by a line feed
  std::vector<std::filesystem::path> files;  ///< where they lie
  std::vector<ProbeQuestion> questions;
  std::string place;  ///< for errors
  bool operator==(const ProbeItem&) const = default;
};

/// A domain of the set, with the subtasks that its items use.
struct ProbeSetDomain {
  std::string name;
  std::string source;
  std::vector<Subtask> subtasks;
  bool operator==(const ProbeSetDomain&) const = default;
};

/// What a probe runs over, in canonical order: by domain, then path bytes.
struct ProbeSet {
  std::vector<ProbeSetDomain> domains;
  std::vector<ProbeItem> items;
};

/// Which prompts a row without one of its own gets.
enum class Pairing { All, RoundRobin };

struct ProbeSetOptions {
  Pairing pairing = Pairing::All;
  std::optional<std::int64_t> limit;  ///< pictures a domain, drawn with the seed
  std::uint64_t seed = 0;
};

/// Joins the users' pictures with the prompts of their domains. Rows over the same pictures become
/// one item.
///
/// \param prompts      a domain that is not among them needs rows with prompts
/// \throws InputError  for a domain that comes twice or has no prompt, or a subtask that has both a
///                     prompt of the domain's and prompts of rows
ProbeSet make_probe_set(const std::vector<DomainSource>& sources,
                        const std::vector<DomainPrompts>& prompts, const ProbeSetOptions& options);

/// An item's picture files, read, decoded and placed, and its samples' token ids.
struct OpenedItem {
  std::array<std::uint8_t, 16> hash;  ///< XXH3-128 of the files' bytes
  /// XXH3-128 of the files' bytes and the prompt, one a question
  std::vector<std::array<std::uint8_t, 16>> sample_ids;
  std::vector<std::vector<std::int64_t>> ids;  ///< tokens, one list a question
  std::vector<Image> images;
  PlacedPictures placed;
};

/// Opens an item. Each sample is one user message, the pictures first, then the prompt (appendix
/// A.1 of the paper).
///
/// \throws InputError  naming the item's place, for a picture or a prompt that cannot be used
OpenedItem open_item(const ProbeItem& item, const Tokenizer& tokenizer,
                     const EncoderOptions& options);

}  // namespace espalier
