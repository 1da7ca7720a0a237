// SPDX-License-Identifier: Apache-2.0
#include "espalier/text/byte_pair_encoding.h"

#include <xxhash.h>

#include <algorithm>
#include <bit>
#include <utility>

#include "espalier/base/error.h"
#include "espalier/text/byte_alphabet.h"

namespace espalier {
namespace {

/// Filling the tables is mostly waiting for memory, so their slots are sent for this many entries
/// ahead.
constexpr std::size_t kAhead = 16;

template <typename T>
void prefetch(const T& object) {
  __builtin_prefetch(&object);
}

/// Room for `count` entries at a load of two thirds at most.
std::size_t table_size(std::size_t count) { return std::bit_ceil(count + count / 2 + 2); }

std::uint32_t hash_of(std::string_view bytes, bool in_alphabet) {
  const XXH64_hash_t seed = in_alphabet ? 0 : 1;
  return static_cast<std::uint32_t>(XXH3_64bits_withSeed(bytes.data(), bytes.size(), seed));
}

std::uint64_t pair_of(std::uint32_t left, std::uint32_t right) {
  return (static_cast<std::uint64_t>(left) << 32) | right;
}

/// For the standard heap, which keeps the largest in front.
bool goes_later(const BytePairEncoding::Scratch::Candidate& a,
                const BytePairEncoding::Scratch::Candidate& b) {
  return std::pair(a.rank, a.position) > std::pair(b.rank, b.position);
}

}  // namespace

BytePairEncoding::BytePairEncoding(const VocabularyText& vocabulary) {
  index_tokens(vocabulary, add_tokens(vocabulary));
  find_bytes(vocabulary);
  index_merges(vocabulary, find_merges(vocabulary));
}

/// \return the hash of each token
std::vector<std::uint32_t> BytePairEncoding::add_tokens(const VocabularyText& vocabulary) {
  const std::string& source = vocabulary.tokens_source;
  std::vector<std::uint32_t> hashes;
  hashes.reserve(vocabulary.tokens.size());
  spans_.reserve(vocabulary.tokens.size());
  for (const auto& [symbols, id] : vocabulary.tokens) {
    require(id >= 0 && id <= kLargestId, "{}: token \"{}\" has id {}; ids lie in 0 to {}", source,
            symbols, id, kLargestId);
    require(!symbols.empty(), "{}: id {} has an empty token", source, id);
    const auto index = static_cast<std::size_t>(id);
    if (index >= spans_.size()) spans_.resize(index + 1);
    require(spans_[index].length == 0, "{}: two tokens have id {}: \"{}\" is the second", source,
            id, symbols);
    const std::size_t begin = bytes_.size();
    const bool in_alphabet = append_bytes_of_symbols(symbols, bytes_);
    if (!in_alphabet) bytes_ += symbols;
    require(bytes_.size() <= UINT32_MAX, "{}: more than 4 GiB of tokens", source);
    spans_[index] = {.begin = static_cast<std::uint32_t>(begin),
                     .length = static_cast<std::uint32_t>(bytes_.size() - begin),
                     .in_alphabet = in_alphabet};
    hashes.push_back(hash_of(bytes_in(spans_[index]), in_alphabet));
  }
  token_count_ = static_cast<std::int64_t>(hashes.size());
  return hashes;
}

void BytePairEncoding::index_tokens(const VocabularyText& vocabulary,
                                    const std::vector<std::uint32_t>& hashes) {
  token_slots_.resize(table_size(hashes.size()));
  const std::size_t mask = token_slots_.size() - 1;
  for (std::size_t i = 0; i < hashes.size(); ++i) {
    if (i + kAhead < hashes.size()) prefetch(token_slots_[hashes[i + kAhead] & mask]);
    const auto& [symbols, id] = vocabulary.tokens[i];
    const Span span = spans_[static_cast<std::size_t>(id)];
    TokenSlot& slot = token_slots_[token_slot(bytes_in(span), span.in_alphabet, hashes[i])];
    require(slot.id == kNone, "{}: token \"{}\" stands there twice, with ids {} and {}",
            vocabulary.tokens_source, symbols, slot.id, id);
    slot = {.hash = hashes[i], .id = static_cast<std::uint32_t>(id), .span = span};
  }
}

/// The slot of a token, or the empty one where it belongs. A token is its bytes and whether they
/// were spelled in the byte alphabet: "\u0120" and " " are different tokens of the same byte.
std::size_t BytePairEncoding::token_slot(std::string_view bytes, bool in_alphabet,
                                         std::uint32_t hash) const {
  const auto is_it = [&](const TokenSlot& slot) {
    return slot.hash == hash && slot.span.in_alphabet == in_alphabet &&
           bytes_in(slot.span) == bytes;
  };
  const std::size_t mask = token_slots_.size() - 1;
  std::size_t slot = hash & mask;
  while (token_slots_[slot].id != kNone && !is_it(token_slots_[slot])) slot = (slot + 1) & mask;
  return slot;
}

std::uint32_t BytePairEncoding::id_of(std::string_view bytes, bool in_alphabet) const {
  return token_slots_[token_slot(bytes, in_alphabet, hash_of(bytes, in_alphabet))].id;
}

std::optional<std::int64_t> BytePairEncoding::find_token(std::string_view symbols) const {
  std::string bytes;
  const bool in_alphabet = append_bytes_of_symbols(symbols, bytes);
  const std::uint32_t id = id_of(in_alphabet ? bytes : symbols, in_alphabet);
  return id == kNone ? std::nullopt : std::optional<std::int64_t>(id);
}

void BytePairEncoding::find_bytes(const VocabularyText& vocabulary) {
  int missing = 0;
  std::size_t first_missing = 0;
  for (std::size_t byte = 256; byte-- > 0;) {
    const char text = static_cast<char>(byte);
    id_of_byte_[byte] = id_of({&text, 1}, true);
    if (id_of_byte_[byte] != kNone) continue;
    ++missing;
    first_missing = byte;
  }
  require(
      missing == 0,
      "{}: {} of the 256 byte tokens are missing, the first for byte 0x{:02X} (\"{}\"): this is "
      "no byte-level vocabulary",
      vocabulary.tokens_source, missing, first_missing, byte_symbols()[first_missing]);
}

/// A merge on its way to the ids of its parts, which are somewhere in a large table.
struct BytePairEncoding::MergeKey {
  std::string bytes;  // of the whole; empty if a part leaves the byte alphabet
  std::size_t left_length = 0;
  std::array<std::uint32_t, 3> hashes{};  // of left, right and whole

  [[nodiscard]] std::array<std::string_view, 3> tokens() const {
    const std::string_view whole = bytes;
    return {whole.substr(0, left_length), whole.substr(left_length), whole};
  }
};

/// Sends for the slots that `resolve` will look at.
void BytePairEncoding::prepare(const VocabularyText::Merge& merge, MergeKey& key) const {
  key.bytes.clear();
  bool in_alphabet = append_bytes_of_symbols(merge.left, key.bytes);
  key.left_length = key.bytes.size();
  in_alphabet = in_alphabet && append_bytes_of_symbols(merge.right, key.bytes);
  if (!in_alphabet) key.bytes.clear();
  if (!in_alphabet) key.left_length = 0;
  const std::size_t mask = token_slots_.size() - 1;
  const auto tokens = key.tokens();
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    key.hashes[i] = hash_of(tokens[i], true);
    prefetch(token_slots_[key.hashes[i] & mask]);
  }
}

/// The pair of ids that merge and the id they merge into; kNone as id if one of them is no token.
BytePairEncoding::MergeSlot BytePairEncoding::resolve(const MergeKey& key) const {
  std::array<std::uint32_t, 3> ids{};
  const auto tokens = key.tokens();
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    ids[i] = token_slots_[token_slot(tokens[i], true, key.hashes[i])].id;
    if (ids[i] == kNone) return {};
  }
  return {.pair = pair_of(ids[0], ids[1]), .rank = 0, .id = ids[2]};
}

std::vector<BytePairEncoding::MergeSlot> BytePairEncoding::find_merges(
    const VocabularyText& vocabulary) const {
  const auto& texts = vocabulary.merges;
  std::vector<MergeSlot> merges;
  merges.reserve(texts.size());
  std::array<MergeKey, kAhead> keys;
  for (std::size_t i = 0; i < std::min(kAhead, texts.size()); ++i) prepare(texts[i], keys[i]);
  for (std::size_t i = 0; i < texts.size(); ++i) {
    merges.push_back(resolve(keys[i % kAhead]));
    merges.back().rank = static_cast<std::uint32_t>(i);
    require(merges.back().id != kNone,
            "{}: merge {} (\"{}\" + \"{}\"): both parts and the whole must be byte-level tokens of "
            "the vocabulary, and one is not",
            vocabulary.merges_source, i, texts[i].left, texts[i].right);
    if (i + kAhead < texts.size()) prepare(texts[i + kAhead], keys[i % kAhead]);
  }
  return merges;
}

void BytePairEncoding::index_merges(const VocabularyText& vocabulary,
                                    const std::vector<MergeSlot>& merges) {
  merge_slots_.resize(table_size(merges.size()));
  for (std::size_t i = 0; i < merges.size(); ++i) {
    if (i + kAhead < merges.size()) prefetch(merge_slots_[home_of(merges[i + kAhead].pair)]);
    MergeSlot& slot = merge_slots_[merge_slot(merges[i].pair)];
    require(slot.rank == kNone, "{}: merge {} (\"{}\" + \"{}\") repeats merge {}",
            vocabulary.merges_source, i, vocabulary.merges[i].left, vocabulary.merges[i].right,
            slot.rank);
    slot = merges[i];
  }
}

/// Where the search for a pair begins. The high half of the product depends on all its bits
/// (Fibonacci hashing).
std::size_t BytePairEncoding::home_of(std::uint64_t pair) const {
  return ((pair * 0x9E3779B97F4A7C15ULL) >> 32) & (merge_slots_.size() - 1);
}

std::size_t BytePairEncoding::merge_slot(std::uint64_t pair) const {
  std::size_t slot = home_of(pair);
  while (merge_slots_[slot].pair != UINT64_MAX && merge_slots_[slot].pair != pair) {
    slot = (slot + 1) & (merge_slots_.size() - 1);
  }
  return slot;
}

std::string_view BytePairEncoding::bytes_of(std::int64_t id) const {
  if (id < 0 || id >= size()) return {};
  return bytes_in(spans_[static_cast<std::size_t>(id)]);
}

std::string_view BytePairEncoding::bytes_in(Span span) const {
  return {bytes_.data() + span.begin, span.length};
}

const BytePairEncoding::MergeSlot* BytePairEncoding::merge_of(std::uint32_t left,
                                                              std::uint32_t right) const {
  const MergeSlot& slot = merge_slots_[merge_slot(pair_of(left, right))];
  return slot.rank == kNone ? nullptr : &slot;
}

void BytePairEncoding::add_candidate(std::int32_t position, Scratch& scratch) const {
  if (position < 0) return;
  const Scratch::Symbol& symbol = scratch.symbols[static_cast<std::size_t>(position)];
  if (symbol.next < 0) return;
  const std::uint32_t right = scratch.symbols[static_cast<std::size_t>(symbol.next)].id;
  const MergeSlot* merge = merge_of(symbol.id, right);
  if (merge == nullptr) return;
  scratch.heap.push_back(
      {.rank = merge->rank, .position = position, .left = symbol.id, .right = right});
  std::ranges::push_heap(scratch.heap, goes_later);
}

void BytePairEncoding::merge_at(std::int32_t position, std::uint32_t id, Scratch& scratch) const {
  auto& symbols = scratch.symbols;
  Scratch::Symbol& symbol = symbols[static_cast<std::size_t>(position)];
  Scratch::Symbol& eaten = symbols[static_cast<std::size_t>(symbol.next)];
  symbol.id = id;
  symbol.next = eaten.next;
  eaten.id = kNone;
  if (symbol.next >= 0) symbols[static_cast<std::size_t>(symbol.next)].previous = position;
  add_candidate(symbol.previous, scratch);
  add_candidate(position, scratch);
}

void BytePairEncoding::encode(std::string_view piece, Scratch& scratch,
                              std::vector<std::int64_t>& ids) const {
  assume(piece.size() < INT32_MAX, "a piece whose bytes 31 bits can number");
  auto& symbols = scratch.symbols;
  const auto count = static_cast<std::int32_t>(piece.size());
  symbols.clear();
  for (std::int32_t i = 0; i < count; ++i) {
    const auto byte = static_cast<unsigned char>(piece[static_cast<std::size_t>(i)]);
    symbols.push_back(
        {.id = id_of_byte_[byte], .previous = i - 1, .next = i + 1 < count ? i + 1 : -1});
  }
  scratch.heap.clear();
  for (std::int32_t i = 0; i < count; ++i) add_candidate(i, scratch);
  while (!scratch.heap.empty()) {
    std::ranges::pop_heap(scratch.heap, goes_later);
    const Scratch::Candidate candidate = scratch.heap.back();
    scratch.heap.pop_back();
    // A candidate is stale once a merge has changed either of its symbols.
    const Scratch::Symbol& symbol = symbols[static_cast<std::size_t>(candidate.position)];
    if (symbol.id != candidate.left || symbol.next < 0) continue;
    if (symbols[static_cast<std::size_t>(symbol.next)].id != candidate.right) continue;
    merge_at(candidate.position, merge_of(candidate.left, candidate.right)->id, scratch);
  }
  for (std::int32_t i = count > 0 ? 0 : -1; i >= 0; i = symbols[static_cast<std::size_t>(i)].next) {
    ids.push_back(symbols[static_cast<std::size_t>(i)].id);
  }
}

}  // namespace espalier
