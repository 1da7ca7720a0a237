// SPDX-License-Identifier: Apache-2.0
#include "espalier/model/product_avx512.h"

#include "espalier/model/tile_avx512.h"

namespace espalier::avx512 {
namespace {

static_assert(kPanelTokens == kPanel);

constexpr int64_t kGroupPanels = 8;     // tokens whose sums stay in the second cache
constexpr int64_t kWordsAtOnce = 1024;  // of the summed dimension, so that both factors stay there

/// Rows of the weight that do not fill a tile, filled up with zeros.
struct TailRows {
  uint32_t words[kTileRows][kWordsAtOnce];
};

/// One block of outputs on its way: the sums [rows][group's tokens] for one group of tokens at a
/// time.
class BlockProduct {
 public:
  BlockProduct(const Product& product, const uint32_t* packed, int64_t begin, int64_t end,
               void* scratch)
      : product_(product),
        packed_(packed),
        begin_(begin),
        rows_(end - begin),
        words_(product.in / 2),
        tail_(static_cast<TailRows*>(scratch)),
        sums_(reinterpret_cast<float*>(tail_ + 1)) {}

  void multiply_all() {
    const int64_t panels = pieces(product_.tokens, kPanel);
    for (int64_t panel = 0; panel < panels; panel += kGroupPanels) {
      first_panel_ = panel;
      columns_ = smaller(kGroupPanels, panels - panel) * kPanel;
      for (int64_t word = 0; word < words_; word += kWordsAtOnce) multiply_words(word);
      write_group();
    }
  }

 private:
  /// Tokens of the group from its column `c` on.
  int64_t tokens_from(int64_t c) const { return product_.tokens - first_panel_ * kPanel - c; }

  void multiply_words(int64_t word) {
    const int64_t count = smaller(kWordsAtOnce, words_ - word);
    for (int64_t c = 0; c < columns_; c += kPanel) {
      const uint32_t* panel =
          packed_ + (first_panel_ + c / kPanel) * words_ * kPanel + word * kPanel;
      for (int64_t row = 0; row < rows_; row += kTileRows) {
        float* sums = sums_ + row * columns_ + c;
        const Rows weight = weight_rows(row, word, count);
        const auto multiply_tiles = word == 0 ? multiply<false> : multiply<true>;
        multiply_tiles(weight.words, weight.stride, panel, count, tokens_from(c), sums, columns_);
      }
    }
  }

  struct Rows {
    const uint32_t* words;
    int64_t stride;
  };

  /// The six rows of the weight from `row` on, where they lie; fewer are filled up in `tail_`.
  Rows weight_rows(int64_t row, int64_t word, int64_t count) const {
    const uint16_t* weight = product_.weight + (begin_ + row) * product_.in + 2 * word;
    if (row + kTileRows <= rows_) return {reinterpret_cast<const uint32_t*>(weight), words_};
    for (int64_t r = 0; r < kTileRows; ++r) {
      if (row + r < rows_) {
        __builtin_memcpy(tail_->words[r], weight + r * product_.in, static_cast<size_t>(count) * 4);
      } else {
        __builtin_memset(tail_->words[r], 0, static_cast<size_t>(count) * 4);
      }
    }
    return {tail_->words[0], kWordsAtOnce};
  }

  void write_group() const {
    for (int64_t c = 0; c < smaller(columns_, tokens_from(0)); c += kLanes) {
      for (int64_t row = 0; row < rows_; row += kLanes) write_square(row, c);
    }
  }

  /// 16 outputs of 16 tokens: turned, the bias added, rounded.
  void write_square(int64_t row, int64_t c) const {
    __m512i square[kLanes];
    for (int64_t i = 0; i < kLanes; ++i) {
      const float* sums = sums_ + smaller(row + i, rows_ - 1) * columns_ + c;
      square[i] = _mm512_castps_si512(_mm512_loadu_ps(sums));
    }
    transpose(square);
    const __mmask16 mask = first_lanes(rows_ - row);
    const __m512 bias = bias_from(begin_ + row, mask);
    const int64_t token = first_panel_ * kPanel + c;
    for (int64_t i = 0; i < smaller(kLanes, tokens_from(c)); ++i) {
      const __m512 sum = _mm512_add_ps(_mm512_castsi512_ps(square[i]), bias);
      _mm256_mask_storeu_epi16(product_.result + (token + i) * product_.out + begin_ + row, mask,
                               (__m256i)_mm512_cvtneps_pbh(sum));
    }
  }

  __m512 bias_from(int64_t output, __mmask16 mask) const {
    if (product_.bias == nullptr) return _mm512_setzero_ps();
    const __m256i bits = _mm256_maskz_loadu_epi16(mask, product_.bias + output);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
  }

  const Product& product_;
  const uint32_t* packed_;
  int64_t begin_;
  int64_t rows_;
  int64_t words_;  ///< 32-bit words of a row
  TailRows* tail_;
  float* sums_;
  int64_t first_panel_ = 0;  ///< of the group
  int64_t columns_ = 0;      ///< of the group, whole panels
};

}  // namespace

int64_t packed_panel_words(const Product& product) { return product.in / 2 * kPanel; }

void pack_tokens(const Product& product, int64_t panel, uint32_t* packed) {
  pack_panel({.data = product.x,
              .stride = product.x_stride,
              .count = product.tokens,
              .words = product.in / 2},
             panel, packed);
}

int64_t product_scratch_bytes(const Product& product, int64_t rows) {
  const int64_t columns = smaller(kGroupPanels, pieces(product.tokens, kPanel)) * kPanel;
  return static_cast<int64_t>(sizeof(TailRows)) + round_up(rows, kTileRows) * columns * 4;
}

void multiply_block(const Product& product, const uint32_t* packed, int64_t begin, int64_t end,
                    void* scratch) {
  BlockProduct(product, packed, begin, end, scratch).multiply_all();
}

}  // namespace espalier::avx512
