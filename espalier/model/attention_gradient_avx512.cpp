// SPDX-License-Identifier: Apache-2.0
#include "espalier/model/attention_gradient_avx512.h"

#include "espalier/model/tile_avx512.h"

// Nothing else is included: an inline function of a library, compiled here for AVX-512, could be
// the copy that the linker keeps for the whole program.

namespace espalier::avx512 {
namespace {

constexpr int64_t kRows = 96;  // query rows at once: whole tiles, and whole pairs of rows
constexpr int64_t kPairs = kRows / 2;
static_assert(kRows % kTileRows == 0 && kPairs % kLanes == 0);

/// Two rows' numbers side by side: pairs along the rows.
__m512i pairs_of(__m256i first, __m256i second) {
  return _mm512_or_si512(_mm512_cvtepu16_epi32(first),
                         _mm512_slli_epi32(_mm512_cvtepu16_epi32(second), 16));
}

/// Sixteen columns of two rows; a row that is not there is zero.
__m512i load_pairs(const uint16_t* first, const uint16_t* second, __mmask16 columns) {
  const __m256i none = _mm256_setzero_si256();
  return pairs_of(first == nullptr ? none : _mm256_maskz_loadu_epi16(columns, first),
                  second == nullptr ? none : _mm256_maskz_loadu_epi16(columns, second));
}

/// Rows of one head.
struct HeadOf {
  const uint16_t* data;
  int64_t stride;
  int64_t count;

  HeadOf(const HeadRows& rows, int64_t head, int64_t number)
      : data(rows.data + head * rows.head_stride), stride(rows.token_stride), count(number) {}

  /// A row's number `column` and those after it; null beyond the last row.
  const uint16_t* at(int64_t row, int64_t column = 0) const {
    return row < count ? data + row * stride + column : nullptr;
  }
};

/// Where everything lies in the caller's memory. Every part is a multiple of 64 bytes long.
struct Scratch {
  int64_t words;          ///< 32-bit words of a head's row
  int64_t depth;          ///< D, in whole panels
  int64_t outputs;        ///< D, in whole tiles
  int64_t width;          ///< keys, in whole panels
  uint32_t* keys;         ///< K's panels, pairs along D: [width / 64][words][64]
  uint32_t* values;       ///< V's
  uint32_t* key_pairs;    ///< K's panels, pairs along the keys: [depth / 64][width / 2][64]
  float* d_keys;          ///< turned: [outputs][width]
  float* d_values;        ///< the same
  uint32_t* queries;      ///< rows of a block: [kRows][words]
  uint32_t* gradient;     ///< the same
  uint32_t* queries_t;    ///< turned, pairs along the rows: [outputs][kPairs]
  uint32_t* gradient_t;   ///< the same
  float* scores;          ///< then probabilities: [kRows][width]
  float* d_scores;        ///< [kRows][width]
  uint16_t* d_rows;       ///< the gradient of the scores, rounded: [kRows][width]
  uint32_t* d_pairs;      ///< the same, pairs along the rows: [width / 64][kPairs][64]
  uint32_t* probability;  ///< pairs along the rows: [width / 64][kPairs][64]
  float* d_queries;       ///< [kRows][depth]
  char* end;

  Scratch(const AttentionShape& shape, void* memory)
      : words(shape.head_dim / 2),
        depth(round_up(shape.head_dim, kPanel)),
        outputs(round_up(shape.head_dim, kTileRows)),
        width(round_up(shape.keys, kPanel)),
        end(static_cast<char*>(memory)) {
    keys = take<uint32_t>(width * words);
    values = take<uint32_t>(width * words);
    key_pairs = take<uint32_t>(depth * (width / 2));
    d_keys = take<float>(outputs * width);
    d_values = take<float>(outputs * width);
    queries = take<uint32_t>(kRows * words);
    gradient = take<uint32_t>(kRows * words);
    queries_t = take<uint32_t>(round_up(outputs, kLanes) * kPairs);
    gradient_t = take<uint32_t>(round_up(outputs, kLanes) * kPairs);
    scores = take<float>(kRows * width);
    d_scores = take<float>(kRows * width);
    d_rows = take<uint16_t>(kRows * width);
    d_pairs = take<uint32_t>(kPairs * width);
    probability = take<uint32_t>(kPairs * width);
    d_queries = take<float>(kRows * depth);
  }

 private:
  template <typename Number>
  Number* take(int64_t count) {
    auto* part = reinterpret_cast<Number*>(end);
    end += round_up(count * static_cast<int64_t>(sizeof(Number)), 64);
    return part;
  }
};

/// Packs a head of K with pairs along the keys.
void pack_key_pairs(const HeadOf& keys, int64_t head_dim, const Scratch& to) {
  for (int64_t c = 0; c < to.depth; c += kLanes) {
    const __mmask16 mask = first_lanes(head_dim - c);
    uint32_t* panel = to.key_pairs + c / kPanel * kPanel * (to.width / 2) + c % kPanel;
    for (int64_t pair = 0; pair < to.width / 2; ++pair) {
      _mm512_storeu_si512(panel + pair * kPanel,
                          load_pairs(keys.at(2 * pair, c), keys.at(2 * pair + 1, c), mask));
    }
  }
}

/// One kv head's gradients on their way, a block of one head's query rows at a time.
class BackwardWalk {
 public:
  BackwardWalk(const AttentionShape& shape, const AttentionOperands& operands, int64_t kv_head,
               void* memory)
      : shape_(shape), operands_(operands), kv_head_(kv_head), scratch_(shape, memory) {}

  void walk(uint16_t* d_queries) {
    pack();
    const int64_t group = shape_.heads / shape_.kv_heads;
    for (int64_t head = kv_head_ * group; head < (kv_head_ + 1) * group; ++head) {
      for (int64_t row = 0; row < shape_.tokens; row += kRows) {
        read_block(head, row);
        multiply_scores();
        soften_rows();
        add_to_keys_and_values();
        multiply_queries();
        write_queries(head, d_queries);
      }
    }
  }

  /// Turns what was summed and rounds it.
  void write(const float* sums, uint16_t* out) const {
    for (int64_t key = 0; key < shape_.keys; key += kLanes) {
      for (int64_t c = 0; c < shape_.head_dim; c += kLanes) write_square(sums, key, c, out);
    }
  }

  const Scratch& scratch() const { return scratch_; }

 private:
  void pack() {
    const HeadOf keys(operands_.keys, kv_head_, shape_.keys);
    const HeadOf values(operands_.values, kv_head_, shape_.keys);
    for (int64_t panel = 0; panel < scratch_.width / kPanel; ++panel) {
      const int64_t place = panel * kPanel * scratch_.words;
      pack_panel({keys.data, keys.stride, keys.count, scratch_.words}, panel,
                 scratch_.keys + place);
      pack_panel({values.data, values.stride, values.count, scratch_.words}, panel,
                 scratch_.values + place);
    }
    pack_key_pairs(keys, shape_.head_dim, scratch_);
    const int64_t sums = scratch_.outputs * scratch_.width;
    for (int64_t i = 0; i < sums; ++i) scratch_.d_keys[i] = scratch_.d_values[i] = 0.0F;
  }

  /// How many keys a row of the block sees; rows beyond the last see none.
  int64_t visible(int64_t row) const {
    if (row >= rows_) return 0;
    return shape_.causal ? shape_.keys - shape_.tokens + first_row_ + row + 1 : shape_.keys;
  }
  /// How many keys the block's rows before `end` see.
  int64_t seen_before(int64_t end) const { return visible(smaller(end, rows_) - 1); }

  void read_block(int64_t head, int64_t row) {
    first_row_ = row;
    rows_ = smaller(kRows, shape_.tokens - row);
    pairs_ = round_up(rows_, kTileRows) / 2;
    seen_ = seen_before(rows_);
    read_rows(HeadOf(operands_.queries, head, shape_.tokens), scratch_.queries, scratch_.queries_t);
    read_rows(HeadOf(operands_.gradient, head, shape_.tokens), scratch_.gradient,
              scratch_.gradient_t);
  }

  /// The block's rows as they are, and turned with pairs along the rows; zero beyond the last.
  void read_rows(const HeadOf& from, uint32_t* rows, uint32_t* turned) const {
    const int64_t words = scratch_.words;
    for (int64_t r = 0; r < 2 * pairs_; ++r) {
      if (r < rows_) {
        __builtin_memcpy(rows + r * words, from.at(first_row_ + r),
                         static_cast<size_t>(words) * sizeof(uint32_t));
      } else {
        __builtin_memset(rows + r * words, 0, static_cast<size_t>(words) * sizeof(uint32_t));
      }
    }
    for (int64_t c = 0; c < scratch_.outputs; c += kLanes) {
      const __mmask16 mask = first_lanes(shape_.head_dim - c);
      for (int64_t pair = 0; pair < pairs_; pair += kLanes) {
        __m512i square[kLanes];
        for (int64_t i = 0; i < kLanes; ++i) {
          const int64_t row = first_row_ + 2 * (pair + i);
          square[i] = load_pairs(from.at(row, c), from.at(row + 1, c), mask);
        }
        transpose(square);
        for (int64_t i = 0; i < kLanes; ++i) {
          _mm512_storeu_si512(turned + (c + i) * kPairs + pair, square[i]);
        }
      }
    }
  }

  /// q k^T and g v^T, as far as the rows see.
  void multiply_scores() const {
    const int64_t words = scratch_.words;
    const int64_t width = scratch_.width;
    for (int64_t key = 0; key < seen_; key += kPanel) {
      for (int64_t row = 0; row < rows_; row += kTileRows) {
        const int64_t columns = seen_before(row + kTileRows) - key;
        if (columns <= 0) continue;
        const int64_t place = row * width + key;
        multiply<false>(scratch_.queries + row * words, words, scratch_.keys + key * words, words,
                        columns, scratch_.scores + place, width);
        multiply<false>(scratch_.gradient + row * words, words, scratch_.values + key * words,
                        words, columns, scratch_.d_scores + place, width);
      }
    }
  }

  /// What a row's probabilities are divided by, and their sum with what their gradients are.
  struct RowSums {
    float share;
    float along;
  };

  /// The row's scores become 2^(unit * (score - largest)).
  RowSums soften(int64_t row) const {
    float* scores = scratch_.scores + row * scratch_.width;
    const float* d_scores = scratch_.d_scores + row * scratch_.width;
    const int64_t count = visible(row);
    if (count == 0) return {.share = 0.0F, .along = 0.0F};
    const __m512 largest = _mm512_set1_ps(largest_of(scores, count, -3.402823466e+38F));
    const __m512 unit = _mm512_set1_ps(exponent_unit(shape_.scale));
    __m512 sum = _mm512_setzero_ps();
    __m512 along = _mm512_setzero_ps();
    for (int64_t s = 0; s < count; s += kLanes) {
      const __mmask16 mask = first_lanes(count - s);
      const __m512 below = _mm512_sub_ps(_mm512_maskz_loadu_ps(mask, scores + s), largest);
      const __m512 p = _mm512_maskz_mov_ps(mask, exp2_of(_mm512_mul_ps(below, unit)));
      _mm512_storeu_ps(scores + s, p);
      sum = _mm512_add_ps(sum, p);
      along = _mm512_fmadd_ps(p, _mm512_maskz_loadu_ps(mask, d_scores + s), along);
    }
    const float share = 1.0F / _mm512_reduce_add_ps(sum);
    return {.share = share, .along = share * _mm512_reduce_add_ps(along)};
  }

  /// Sixteen probabilities of a row and the gradients of their scores, rounded.
  struct Softened {
    __m256i p;
    __m256i d;
  };

  Softened softened(int64_t row, int64_t key, const RowSums& sums) const {
    const __mmask16 mask = first_lanes(visible(row) - key);
    const int64_t place = row * scratch_.width + key;
    const __m512 p = _mm512_mul_ps(_mm512_maskz_loadu_ps(mask, scratch_.scores + place),
                                   _mm512_set1_ps(sums.share));
    const __m512 above = _mm512_sub_ps(_mm512_maskz_loadu_ps(mask, scratch_.d_scores + place),
                                       _mm512_set1_ps(sums.along));
    const __m512 scaled = _mm512_mul_ps(p, _mm512_set1_ps(static_cast<float>(shape_.scale)));
    return {.p = (__m256i)_mm512_cvtneps_pbh(p),
            .d = (__m256i)_mm512_cvtneps_pbh(_mm512_mul_ps(scaled, above))};
  }

  /// From scores and g v^T to probabilities and the gradient of the scores, rounded: by rows, and
  /// with pairs along the rows. Zero where a row does not see, up to what the block sees.
  void soften_rows() const {
    for (int64_t pair = 0; pair < pairs_; ++pair) {
      const int64_t row = 2 * pair;
      const RowSums first = soften(row);
      const RowSums second = soften(row + 1);
      for (int64_t key = 0; key < round_up(seen_, kPanel); key += kLanes) {
        const Softened a = softened(row, key, first);
        const Softened b = softened(row + 1, key, second);
        const int64_t place = key / kPanel * kPanel * kPairs + pair * kPanel + key % kPanel;
        _mm512_storeu_si512(scratch_.probability + place, pairs_of(a.p, b.p));
        _mm512_storeu_si512(scratch_.d_pairs + place, pairs_of(a.d, b.d));
        uint16_t* rows = scratch_.d_rows + row * scratch_.width + key;
        _mm256_storeu_si256((__m256i*)rows, a.d);
        _mm256_storeu_si256((__m256i*)(rows + scratch_.width), b.d);
      }
    }
  }

  /// ds^T q and p^T g, turned, onto what the blocks before gave.
  void add_to_keys_and_values() const {
    const int64_t pairs = pieces(rows_, 2);
    for (int64_t key = 0; key < seen_; key += kPanel) {
      for (int64_t c = 0; c < scratch_.outputs; c += kTileRows) {
        const int64_t place = c * scratch_.width + key;
        multiply<true>(scratch_.queries_t + c * kPairs, kPairs, scratch_.d_pairs + key * kPairs,
                       pairs, seen_ - key, scratch_.d_keys + place, scratch_.width);
        multiply<true>(scratch_.gradient_t + c * kPairs, kPairs,
                       scratch_.probability + key * kPairs, pairs, seen_ - key,
                       scratch_.d_values + place, scratch_.width);
      }
    }
  }

  /// ds k
  void multiply_queries() const {
    const int64_t width = scratch_.width / 2;  // in words
    const auto* rows = reinterpret_cast<const uint32_t*>(scratch_.d_rows);
    for (int64_t c = 0; c < shape_.head_dim; c += kPanel) {
      for (int64_t row = 0; row < rows_; row += kTileRows) {
        multiply<false>(rows + row * width, width, scratch_.key_pairs + c * width,
                        pieces(seen_before(row + kTileRows), 2), shape_.head_dim - c,
                        scratch_.d_queries + row * scratch_.depth + c, scratch_.depth);
      }
    }
  }

  void write_queries(int64_t head, uint16_t* out) const {
    for (int64_t r = 0; r < rows_; ++r) {
      uint16_t* row = out + ((first_row_ + r) * shape_.heads + head) * shape_.head_dim;
      const float* sums = scratch_.d_queries + r * scratch_.depth;
      for (int64_t c = 0; c < shape_.head_dim; c += kLanes) {
        _mm256_mask_storeu_epi16(row + c, first_lanes(shape_.head_dim - c),
                                 (__m256i)_mm512_cvtneps_pbh(_mm512_loadu_ps(sums + c)));
      }
    }
  }

  /// 16 numbers of 16 keys.
  void write_square(const float* sums, int64_t key, int64_t c, uint16_t* out) const {
    __m512i square[kLanes];
    for (int64_t i = 0; i < kLanes; ++i) {
      const int64_t row = smaller(c + i, shape_.head_dim - 1);
      square[i] = _mm512_castps_si512(_mm512_loadu_ps(sums + row * scratch_.width + key));
    }
    transpose(square);
    for (int64_t i = 0; i < smaller(kLanes, shape_.keys - key); ++i) {
      uint16_t* row = out + ((key + i) * shape_.kv_heads + kv_head_) * shape_.head_dim + c;
      _mm256_mask_storeu_epi16(row, first_lanes(shape_.head_dim - c),
                               (__m256i)_mm512_cvtneps_pbh(_mm512_castsi512_ps(square[i])));
    }
  }

  const AttentionShape& shape_;
  const AttentionOperands& operands_;
  int64_t kv_head_;
  Scratch scratch_;
  int64_t first_row_ = 0;  ///< of the block
  int64_t rows_ = 0;       ///< of the block
  int64_t pairs_ = 0;      ///< of its rows, filled up to whole tiles
  int64_t seen_ = 0;       ///< keys that the block sees
};

}  // namespace

int64_t backward_scratch_bytes(const AttentionShape& shape) {
  return Scratch(shape, nullptr).end - static_cast<char*>(nullptr);
}

void attend_backward(const AttentionShape& shape, const AttentionOperands& operands,
                     int64_t kv_head, void* scratch, const AttentionGradients& gradients) {
  BackwardWalk walk(shape, operands, kv_head, scratch);
  walk.walk(gradients.queries);
  walk.write(walk.scratch().d_keys, gradients.keys);
  walk.write(walk.scratch().d_values, gradients.values);
}

}  // namespace espalier::avx512
