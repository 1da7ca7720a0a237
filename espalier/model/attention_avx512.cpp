// SPDX-License-Identifier: Apache-2.0
#include "espalier/model/attention_avx512.h"

#include "espalier/model/tile_avx512.h"

// Nothing else is included: an inline function of a library, compiled here for AVX-512, could be
// the copy that the linker keeps for the whole program.

namespace espalier::avx512 {
namespace {

constexpr int64_t kBlockKeys = 512;  // keys between two corrections of the maximum
static_assert(kBlockRows % kTileRows == 0 && kBlockKeys % kPanel == 0);

// ---- the softmax of a row, block of keys by block of keys ----

/// What a row has seen so far: the largest score, and the sum of 2^(unit * (score - largest)).
struct RowState {
  float largest = -3.402823466e+38F;
  float sum = 0.0F;
};

/// The probabilities of up to 16 keys, not yet divided by their sum.
struct Softener {
  __m512 largest;
  __m512 unit;

  __m512 operator()(const float* scores, __mmask16 visible) const {
    const __m512 below = _mm512_sub_ps(_mm512_maskz_loadu_ps(visible, scores), largest);
    return _mm512_maskz_mov_ps(visible, exp2_of(_mm512_mul_ps(below, unit)));
  }
};

/// Turns the scores of a row's next `count` visible keys into probabilities, not yet divided by
/// their sum, rounded to bfloat16; those from there to `width`, a multiple of 32, become 0.
///
/// \param unit  what a score is multiplied with to become an exponent of 2
/// \return      the factor due to what was summed with the old largest score
float soften(const float* scores, int64_t count, int64_t width, float unit, RowState& state,
             uint16_t* probabilities) {
  const float largest = largest_of(scores, count, state.largest);
  const Softener probability{.largest = _mm512_set1_ps(largest), .unit = _mm512_set1_ps(unit)};
  __m512 low_sum = _mm512_setzero_ps();
  __m512 high_sum = _mm512_setzero_ps();
  for (int64_t s = 0; s < width; s += 2 * kLanes) {
    const __m512 low = probability(scores + s, first_lanes(count - s));
    const __m512 high = probability(scores + s + kLanes, first_lanes(count - s - kLanes));
    low_sum = _mm512_add_ps(low_sum, low);
    high_sum = _mm512_add_ps(high_sum, high);
    _mm512_storeu_si512(probabilities + s, (__m512i)_mm512_cvtne2ps_pbh(high, low));
  }
  const float change = (state.largest - largest) * unit;
  const float factor = change == 0.0F ? 1.0F : _mm512_cvtss_f32(exp2_of(_mm512_set1_ps(change)));
  state.sum = state.sum * factor + _mm512_reduce_add_ps(_mm512_add_ps(low_sum, high_sum));
  state.largest = largest;
  return factor;
}

void scale_row(float* row, int64_t width, float factor) {
  const __m512 by = _mm512_set1_ps(factor);
  for (int64_t c = 0; c < width; c += kLanes) {
    _mm512_storeu_ps(row + c, _mm512_mul_ps(by, _mm512_loadu_ps(row + c)));
  }
}

/// row * factor, rounded to bfloat16.
void round_row(const float* row, int64_t columns, float factor, uint16_t* out) {
  const __m512 by = _mm512_set1_ps(factor);
  for (int64_t c = 0; c < columns; c += kLanes) {
    const __m256bh rounded = _mm512_cvtneps_pbh(_mm512_mul_ps(by, _mm512_loadu_ps(row + c)));
    _mm256_mask_storeu_epi16(out + c, first_lanes(columns - c), (__m256i)rounded);
  }
}

// ---- rows of a group of heads ----

/// The rows (token, head of the group), tokens outermost, of the query heads of one kv head.
struct Group {
  const AttentionShape& shape;
  int64_t kv_head;
  int64_t size;  ///< query heads

  Group(const AttentionShape& of, int64_t head)
      : shape(of), kv_head(head), size(of.heads / of.kv_heads) {}

  int64_t rows() const { return shape.tokens * size; }
  int64_t token(int64_t row) const { return row / size; }
  int64_t head(int64_t row) const { return kv_head * size + row % size; }

  /// How many keys a row sees. Rows beyond the last, which fill a tile, see what the last sees.
  int64_t visible(int64_t row) const {
    if (!shape.causal) return shape.keys;
    return shape.keys - shape.tokens + 1 + token(smaller(row, rows() - 1));
  }

  const uint16_t* query(const HeadRows& queries, int64_t row) const {
    return queries.data + token(row) * queries.token_stride + head(row) * queries.head_stride;
  }

  uint16_t* result(uint16_t* out, int64_t row) const {
    return out + (token(row) * shape.heads + head(row)) * shape.head_dim;
  }
};

// ---- blocks of rows over packed K and V ----

/// What `attend_block` writes while it runs. Every part is a multiple of 64 bytes long.
struct BlockScratch {
  int64_t columns;          ///< head_dim, rounded up to whole registers
  float* sums;              ///< [kBlockRows][columns], probabilities times V
  float* scores;            ///< [kBlockRows][kBlockKeys]
  uint16_t* probabilities;  ///< [kBlockRows][kBlockKeys]
  uint32_t* queries;        ///< [kBlockRows][head_dim / 2]
  RowState rows[kBlockRows];

  BlockScratch(const AttentionShape& shape, void* memory)
      : columns(round_up(shape.head_dim, kLanes)),
        sums(static_cast<float*>(memory)),
        scores(sums + kBlockRows * columns),
        probabilities(reinterpret_cast<uint16_t*>(scores + kBlockRows * kBlockKeys)),
        queries(reinterpret_cast<uint32_t*>(probabilities + kBlockRows * kBlockKeys)) {}
};

/// One block on its way: its rows' scores, probabilities and sums for one block of keys at a time.
class BlockWalk {
 public:
  BlockWalk(const AttentionShape& shape, const PackedHead& head, int64_t block, void* memory)
      : group_(shape, head.kv_head),
        head_(head),
        first_row_(block * kBlockRows),
        rows_(smaller(kBlockRows, group_.rows() - first_row_)),
        tiles_(pieces(rows_, kTileRows)),
        words_(shape.head_dim / 2),
        scratch_(shape, memory) {}

  void read_queries(const HeadRows& queries) {
    for (int64_t r = 0; r < tiles_ * kTileRows; ++r) {
      const int64_t row = first_row_ + smaller(r, rows_ - 1);
      __builtin_memcpy(scratch_.queries + r * words_, group_.query(queries, row),
                       static_cast<size_t>(words_) * sizeof(uint32_t));
    }
    const int64_t sums = tiles_ * kTileRows * scratch_.columns;
    for (int64_t i = 0; i < sums; ++i) scratch_.sums[i] = 0.0F;
  }

  void walk() {
    const int64_t end = visible(rows_ - 1);
    for (int64_t key = 0; key < end; key += kBlockKeys) {
      multiply_queries_and_keys(key, smaller(end, key + kBlockKeys));
      soften_scores(key);
      multiply_probabilities_and_values(key);
    }
  }

  void write(uint16_t* out) const {
    for (int64_t r = 0; r < rows_; ++r) {
      round_row(scratch_.sums + r * scratch_.columns, group_.shape.head_dim,
                1.0F / scratch_.rows[r].sum, group_.result(out, first_row_ + r));
    }
  }

 private:
  int64_t visible(int64_t row) const { return group_.visible(first_row_ + row); }

  /// The keys from `key` on, within a block of keys, that some row of a tile sees.
  int64_t seen_by_tile(int64_t tile, int64_t key) const {
    return smaller(kBlockKeys, visible((tile + 1) * kTileRows - 1) - key);
  }

  /// Panel by panel, so that a panel of K stays in the first cache for all tiles.
  void multiply_queries_and_keys(int64_t begin, int64_t end) {
    for (int64_t key = begin; key < end; key += kPanel) {
      const uint32_t* panel = head_.keys + key * words_;
      for (int64_t tile = 0; tile < tiles_; ++tile) {
        const int64_t columns = seen_by_tile(tile, key);
        if (columns <= 0) continue;
        multiply<false>(scratch_.queries + tile * kTileRows * words_, words_, panel, words_,
                        columns, scratch_.scores + tile * kTileRows * kBlockKeys + key - begin,
                        kBlockKeys);
      }
    }
  }

  void soften_scores(int64_t key) {
    const float unit = exponent_unit(group_.shape.scale);
    for (int64_t tile = 0; tile < tiles_; ++tile) {
      const int64_t width = round_up(larger(0, seen_by_tile(tile, key)), 2 * kLanes);
      if (width == 0) continue;
      for (int64_t r = tile * kTileRows; r < (tile + 1) * kTileRows; ++r) {
        const int64_t count = larger(0, smaller(kBlockKeys, visible(r) - key));
        const float factor = soften(scratch_.scores + r * kBlockKeys, count, width, unit,
                                    scratch_.rows[r], scratch_.probabilities + r * kBlockKeys);
        if (factor == 1.0F || key == 0) continue;
        scale_row(scratch_.sums + r * scratch_.columns, scratch_.columns, factor);
      }
    }
  }

  void multiply_probabilities_and_values(int64_t key) {
    const int64_t pairs = pieces(group_.shape.keys, 2);
    const auto* probabilities = reinterpret_cast<const uint32_t*>(scratch_.probabilities);
    for (int64_t c = 0; c < group_.shape.head_dim; c += kPanel) {
      const uint32_t* panel = head_.values + c * pairs + key / 2 * kPanel;
      for (int64_t tile = 0; tile < tiles_; ++tile) {
        const int64_t seen = seen_by_tile(tile, key);
        if (seen <= 0) continue;
        multiply<true>(probabilities + tile * kTileRows * kBlockKeys / 2, kBlockKeys / 2, panel,
                       pieces(seen, 2), group_.shape.head_dim - c,
                       scratch_.sums + tile * kTileRows * scratch_.columns + c, scratch_.columns);
      }
    }
  }

  Group group_;
  PackedHead head_;
  int64_t first_row_;
  int64_t rows_;
  int64_t tiles_;
  int64_t words_;  ///< 32-bit words of a head's row
  BlockScratch scratch_;
};

// ---- few rows over K and V as they lie ----

constexpr int64_t kFewKeys = 16;   // scored together: one register of sums
constexpr int64_t kFewRows = 4;    // 4 rows x 4 registers of sums
constexpr int64_t kFewAhead = 16;  // keys from the load to the prefetch: rows of K and V lie apart
constexpr int64_t kFewBlock = 64;  // keys whose V stays in the first cache for all rows

/// [a0+a1, b0+b1, ...]: one step of the sums over the lanes of several registers at once.
template <int kStep>
__m512 fold(__m512 a, __m512 b) {
  if constexpr (kStep == 0) {
    return _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
  } else if constexpr (kStep == 1) {
    const __m512d low = _mm512_unpacklo_pd(_mm512_castps_pd(a), _mm512_castps_pd(b));
    const __m512d high = _mm512_unpackhi_pd(_mm512_castps_pd(a), _mm512_castps_pd(b));
    return _mm512_add_ps(_mm512_castpd_ps(low), _mm512_castpd_ps(high));
  } else {
    return _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xdd));
  }
}

/// Lane i of the result is the sum of the lanes of sums[i].
__m512 sum_lanes(const __m512 (&sums)[kFewKeys]) {
  __m512 quads[4];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    // lane 4 l + j: the sum of the four lanes of group l of sums[4 i + j]
    quads[i] =
        fold<1>(fold<0>(sums[4 * i], sums[4 * i + 1]), fold<0>(sums[4 * i + 2], sums[4 * i + 3]));
  }
  return fold<2>(fold<2>(quads[0], quads[1]), fold<2>(quads[2], quads[3]));
}

/// The scores of one row against the 16 keys from `key` on; beyond the last key, the last again.
void score_few(const uint16_t* query, int64_t head_dim, const uint16_t* keys, int64_t key_stride,
               int64_t remaining, float* scores) {
  __m512 sums[kFewKeys];
#pragma GCC unroll 16
  for (int i = 0; i < kFewKeys; ++i) sums[i] = _mm512_setzero_ps();
  for (int64_t c = 0; c < head_dim; c += 2 * kLanes) {
    const __mmask32 mask = first_halves(head_dim - c);
    const __m512bh pairs = as_pairs(_mm512_maskz_loadu_epi16(mask, query + c));
#pragma GCC unroll 16
    for (int i = 0; i < kFewKeys; ++i) {
      const uint16_t* row = keys + smaller(i, remaining - 1) * key_stride;
      _mm_prefetch(row + kFewAhead * key_stride + c, _MM_HINT_T0);
      sums[i] = _mm512_dpbf16_ps(sums[i], pairs, as_pairs(_mm512_maskz_loadu_epi16(mask, row + c)));
    }
  }
  _mm512_storeu_ps(scores, sum_lanes(sums));
}

/// 32 columns of two rows of V, interleaved: pairs along the keys. A register of pairs holds the
/// columns 8 l + 0..3 (low) or 8 l + 4..7 (high), l = 0..3.
struct ValuePairs {
  __m512bh low;
  __m512bh high;

  ValuePairs(const uint16_t* first, const uint16_t* second, __mmask32 mask) {
    const __m512i a = _mm512_maskz_loadu_epi16(mask, first);
    const __m512i b = _mm512_maskz_loadu_epi16(mask, second);
    low = as_pairs(_mm512_unpacklo_epi16(a, b));
    high = as_pairs(_mm512_unpackhi_epi16(a, b));
  }
};

/// Adds probabilities times V of `count` keys to 64 columns of kRows rows' sums, in the columns'
/// order of ValuePairs. The probability of a key beyond an odd count is 0.
template <int kRows>
void add_values(const uint16_t* probabilities, int64_t probability_stride, const uint16_t* values,
                int64_t value_stride, int64_t count, int64_t columns, float* sums,
                int64_t sum_stride) {
  __m512 acc[kRows][4];
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) acc[r][i] = _mm512_loadu_ps(sums + r * sum_stride + i * kLanes);
  }
  const __mmask32 left = first_halves(columns);
  const __mmask32 right = first_halves(columns - 2 * kLanes);
  for (int64_t s = 0; s < count; s += 2) {
    const uint16_t* first = values + s * value_stride;
    const uint16_t* second = s + 1 < count ? first + value_stride : first;
    for (int64_t c = 0; c < kPanel; c += 2 * kLanes) {
      _mm_prefetch(first + kFewAhead * value_stride + c, _MM_HINT_T0);
      _mm_prefetch(second + kFewAhead * value_stride + c, _MM_HINT_T0);
    }
    const ValuePairs a(first, second, left);
    const ValuePairs b(first + 2 * kLanes, second + 2 * kLanes, right);
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      const __m512bh pair = pair_at(probabilities + r * probability_stride + s);
      acc[r][0] = _mm512_dpbf16_ps(acc[r][0], pair, a.low);
      acc[r][1] = _mm512_dpbf16_ps(acc[r][1], pair, a.high);
      acc[r][2] = _mm512_dpbf16_ps(acc[r][2], pair, b.low);
      acc[r][3] = _mm512_dpbf16_ps(acc[r][3], pair, b.high);
    }
  }
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) _mm512_storeu_ps(sums + r * sum_stride + i * kLanes, acc[r][i]);
  }
}

/// Puts each 32 columns of a row, in the order of ValuePairs, into their natural order.
void order_columns(float* row, int64_t width) {
  const __m512i first = _mm512_setr_epi32(0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23);
  const __m512i second =
      _mm512_setr_epi32(8, 9, 10, 11, 24, 25, 26, 27, 12, 13, 14, 15, 28, 29, 30, 31);
  for (int64_t c = 0; c < width; c += 2 * kLanes) {
    const __m512 low = _mm512_loadu_ps(row + c);
    const __m512 high = _mm512_loadu_ps(row + c + kLanes);
    _mm512_storeu_ps(row + c, _mm512_permutex2var_ps(low, first, high));
    _mm512_storeu_ps(row + c + kLanes, _mm512_permutex2var_ps(low, second, high));
  }
}

/// What `attend_few` writes while it runs.
struct FewScratch {
  int64_t width;            ///< keys, rounded up to 32
  int64_t columns;          ///< head_dim, rounded up to 64
  float* sums;              ///< [rows][columns]
  float* scores;            ///< [rows][width]
  uint16_t* probabilities;  ///< [rows][width]

  FewScratch(const AttentionShape& shape, void* memory)
      : width(round_up(shape.keys, 2 * kLanes)),
        columns(round_up(shape.head_dim, kPanel)),
        sums(static_cast<float*>(memory)),
        scores(sums + Group(shape, 0).rows() * columns),
        probabilities(reinterpret_cast<uint16_t*>(scores + Group(shape, 0).rows() * width)) {}
};

void add_values_of_rows(int64_t rows, const uint16_t* probabilities, int64_t probability_stride,
                        const uint16_t* values, int64_t value_stride, int64_t count,
                        int64_t columns, float* sums, int64_t sum_stride) {
  const auto add = rows == 1   ? add_values<1>
                   : rows == 2 ? add_values<2>
                   : rows == 3 ? add_values<3>
                               : add_values<4>;
  add(probabilities, probability_stride, values, value_stride, count, columns, sums, sum_stride);
}

// ---- packing ----

}  // namespace

int64_t packed_keys_words(const AttentionShape& shape) {
  return round_up(shape.keys, kPanel) * (shape.head_dim / 2);
}

int64_t packed_values_words(const AttentionShape& shape) {
  return pieces(shape.keys, 2) * round_up(shape.head_dim, kPanel);
}

void pack_keys(const AttentionShape& shape, const HeadRows& keys, int64_t kv_head,
               uint32_t* packed) {
  const PanelRows rows{.data = keys.data + kv_head * keys.head_stride,
                       .stride = keys.token_stride,
                       .count = shape.keys,
                       .words = shape.head_dim / 2};
  for (int64_t panel = 0; panel < pieces(shape.keys, kPanel); ++panel) {
    pack_panel(rows, panel, packed + panel * kPanel * rows.words);
  }
}

/// [panel of 64 columns][keys / 2][64 columns]
void pack_values(const AttentionShape& shape, const HeadRows& values, int64_t kv_head,
                 uint32_t* packed) {
  const uint16_t* head = values.data + kv_head * values.head_stride;
  for (int64_t c = 0; c < shape.head_dim; c += kPanel) {
    for (int64_t key = 0; key < shape.keys; key += 2) {
      const uint16_t* first = head + key * values.token_stride + c;
      const uint16_t* second = first + values.token_stride;
      for (int64_t half = 0; half < kPanel; half += kLanes, packed += kLanes) {
        const __mmask16 mask = first_lanes(shape.head_dim - c - half);
        const __mmask16 second_mask = key + 1 < shape.keys ? mask : __mmask16{0};
        const __m256i low = _mm256_maskz_loadu_epi16(mask, first + half);
        const __m256i high = _mm256_maskz_loadu_epi16(second_mask, second + half);
        const __m512i pairs = _mm512_or_si512(_mm512_cvtepu16_epi32(low),
                                              _mm512_slli_epi32(_mm512_cvtepu16_epi32(high), 16));
        _mm512_storeu_si512(packed, pairs);
      }
    }
  }
}

// ---- the two ways ----

int64_t block_scratch_bytes(const AttentionShape& shape) {
  const int64_t row_bytes =
      round_up(shape.head_dim, kLanes) * 4 + kBlockKeys * 6 + shape.head_dim * 2;
  return kBlockRows * row_bytes;
}

void attend_block(const AttentionShape& shape, const HeadRows& queries, const PackedHead& head,
                  int64_t block, void* scratch, uint16_t* out) {
  BlockWalk rows(shape, head, block, scratch);
  rows.read_queries(queries);
  rows.walk();
  rows.write(out);
}

int64_t few_scratch_bytes(const AttentionShape& shape) {
  const int64_t rows = Group(shape, 0).rows();
  return rows * (round_up(shape.head_dim, kPanel) * 4 + round_up(shape.keys, 2 * kLanes) * 6);
}

void attend_few(const AttentionShape& shape, const HeadRows& queries, const HeadRows& keys,
                const HeadRows& values, int64_t kv_head, void* scratch, uint16_t* out) {
  const Group group(shape, kv_head);
  const FewScratch few(shape, scratch);
  const uint16_t* k = keys.data + kv_head * keys.head_stride;
  const uint16_t* v = values.data + kv_head * values.head_stride;
  for (int64_t key = 0; key < shape.keys; key += kFewKeys) {
    for (int64_t r = 0; r < group.rows(); ++r) {
      score_few(group.query(queries, r), shape.head_dim, k + key * keys.token_stride,
                keys.token_stride, shape.keys - key, few.scores + r * few.width + key);
    }
  }
  RowState states[64];
  for (int64_t r = 0; r < group.rows(); ++r) {
    soften(few.scores + r * few.width, group.visible(r), few.width, exponent_unit(shape.scale),
           states[r], few.probabilities + r * few.width);
  }
  for (int64_t i = 0; i < group.rows() * few.columns; ++i) few.sums[i] = 0.0F;
  for (int64_t key = 0; key < shape.keys; key += kFewBlock) {
    for (int64_t r = 0; r < group.rows(); r += kFewRows) {
      for (int64_t c = 0; c < shape.head_dim; c += kPanel) {
        add_values_of_rows(smaller(kFewRows, group.rows() - r),
                           few.probabilities + r * few.width + key, few.width,
                           v + key * values.token_stride + c, values.token_stride,
                           smaller(kFewBlock, shape.keys - key), shape.head_dim - c,
                           few.sums + r * few.columns + c, few.columns);
      }
    }
  }
  for (int64_t r = 0; r < group.rows(); ++r) {
    float* sums = few.sums + r * few.columns;
    order_columns(sums, few.columns);
    round_row(sums, shape.head_dim, 1.0F / states[r].sum, group.result(out, r));
  }
}

}  // namespace espalier::avx512
