// The two products of attention for one kv head with AVX-512, on rows that lie along E: straight
// from the cache, whatever their type, or from a panel of f32.
//
// A score sums its E' products in 16 lanes, which sum_lanes8 adds; a column of the output sums its
// keys in their order: however many rows and keys go together. A value of a quantized row is
// code * scale in one rounding, as kv_row.h reads it.
#pragma once

#include "kernels/cpu/attention_ahead.h"
#include "kernels/cpu/lanes_avx512.h"
#include "kernels/cpu/vector_avx512.h"

namespace rt::cpu {
namespace {

// One head of the rows of some keys: its elements `bytes` into each row, its scales `scales`.
struct HeadRows {
  const unsigned char* const* row;
  uint64_t bytes;
  uint64_t scales;
};

constexpr int kKeysAtOnce = 8;

// Bytes of sixteen elements.
template <KvElement element>
constexpr uint64_t kSixteenBytes = element == KvElement::kF32    ? 64
                                   : element == KvElement::kQ4_0 ? 8
                                   : is_dense(element)           ? 32
                                                                 : 16;

// Widens one row, block after block.
template <KvElement element>
struct Widener {
  // Dense: not used. Codes of a byte: their scale in all lanes. Nibbles: what each of the 16 codes
  // stands for, to be picked by a permutation instead of four operations.
  __m512 scale;

  // Before the elements [e, e + 16), for each of a row in turn or for the first ones wanted.
  inline void find(const unsigned char* scales, uint64_t e, bool first = false) {
    if constexpr (element == KvElement::kInt8) {
      if (e == 0 || first) scale = _mm512_set1_ps(*(const float_unaligned*)scales);
    } else if constexpr (!is_dense(element)) {
      if (e % kKvBlock != 0 && !first) return;
      int16_t half;
      memcpy(&half, scales + e / kKvBlock * 2, 2);
      scale = _mm512_cvtph_ps(_mm256_set1_epi16(half));
      if constexpr (element == KvElement::kQ4_0) {
        const __m512 codes = _mm512_setr_ps(-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7);
        scale = _mm512_mul_ps(codes, scale);
      }
    }
  }
  inline __m512 load(const unsigned char* p) const {
    if constexpr (is_dense(element)) {
      return Lanes16::widen<element>(p, 16);
    } else if constexpr (element == KvElement::kQ4_0) {
      uint32_t nibbles[2];
      memcpy(nibbles, p, 8);
      const __m512i both =
          _mm512_mask_set1_epi32(_mm512_set1_epi32((int)nibbles[0]), 0xff00, (int)nibbles[1]);
      const __m512i shifts =
          _mm512_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28, 0, 4, 8, 12, 16, 20, 24, 28);
      return _mm512_permutexvar_ps(_mm512_srlv_epi32(both, shifts), scale);
    } else {
      return _mm512_mul_ps(Lanes16::widen<element>(p, 16), scale);
    }
  }

 private:
  typedef float float_unaligned __attribute__((aligned(1), may_alias));
};

// scores[m * kTileKeys + c] = q[m] . key c, c < 8, for M rows q f32[M, E']. As many lines are
// fetched as are read.
template <KvElement element, int M>
inline void score_eight(const float* q, uint64_t width, HeadRows k, float* scores, Ahead* ahead) {
  __m512 sums[M][kKeysAtOnce];
  Widener<element> wideners[kKeysAtOnce];
  RT_UNROLL
  for (int m = 0; m < M; ++m) {
    RT_UNROLL
    for (int c = 0; c < kKeysAtOnce; ++c) sums[m][c] = _mm512_setzero_ps();
  }
  for (uint64_t e = 0; e < width; e += 16) {
    ahead->fetch(kKeysAtOnce * kSixteenBytes<element> / 64);
    __m512 queries[M];
    RT_UNROLL
    for (int m = 0; m < M; ++m) queries[m] = _mm512_loadu_ps(q + m * width + e);
    RT_UNROLL
    for (int c = 0; c < kKeysAtOnce; ++c) {
      wideners[c].find(k.row[c] + k.scales, e);
      __m512 key = wideners[c].load(k.row[c] + k.bytes + e / 16 * kSixteenBytes<element>);
      asm("" : "+v"(key));  // loaded once for M sums
      RT_UNROLL
      for (int m = 0; m < M; ++m) sums[m][c] = _mm512_fmadd_ps(queries[m], key, sums[m][c]);
    }
  }
  RT_UNROLL
  for (int m = 0; m < M; ++m) _mm256_storeu_ps(scores + m * kTileKeys, sum_lanes8(sums[m]));
}

// sum[m][e, e + 16 C) += weights[m][i] * row i, for keys i in [first, last) in order. Lines as
// above.
template <KvElement element, int M, int C>
inline void add_columns_of(const float* weights, HeadRows v, uint32_t first, uint32_t last,
                           uint64_t width, uint64_t e, float* sum, Ahead* ahead) {
  __m512 sums[M][C];
  sum += e;
  RT_UNROLL
  for (int m = 0; m < M; ++m) {
    RT_UNROLL
    for (int c = 0; c < C; ++c) sums[m][c] = _mm512_loadu_ps(sum + m * width + 16 * c);
  }
  for (uint32_t i = first; i < last; ++i) {
    ahead->fetch((C * kSixteenBytes<element> + 63) / 64);
    const unsigned char* from = v.row[i] + v.bytes + e / 16 * kSixteenBytes<element>;
    __m512 weight[M];
    Widener<element> widener;
    RT_UNROLL
    for (int m = 0; m < M; ++m) weight[m] = _mm512_set1_ps(weights[m * kTileKeys + i]);
    RT_UNROLL
    for (int c = 0; c < C; ++c) {
      widener.find(v.row[i] + v.scales, e + 16 * c, c == 0);
      __m512 value = widener.load(from + c * kSixteenBytes<element>);
      asm("" : "+v"(value));
      RT_UNROLL
      for (int m = 0; m < M; ++m) sums[m][c] = _mm512_fmadd_ps(weight[m], value, sums[m][c]);
    }
  }
  RT_UNROLL
  for (int m = 0; m < M; ++m) {
    RT_UNROLL
    for (int c = 0; c < C; ++c) _mm512_storeu_ps(sum + m * width + 16 * c, sums[m][c]);
  }
}

// Rows are taken by threes, and a rest of 1, 2 or 4 as 1, 2 or 2 + 2.
inline uint32_t rows_at_once(uint32_t left) {
  return left >= 3 && left != 4 ? 3 : left >= 2 ? 2 : 1;
}

// Eight keys against `rows` query rows.
template <KvElement element>
inline void score_rows(const float* q, uint32_t rows, uint64_t width, HeadRows k, float* scores,
                       Ahead* ahead) {
  for (uint32_t r = 0, step; r < rows; r += step) {
    const float* from = q + r * width;
    float* to = scores + r * kTileKeys;
    step = rows_at_once(rows - r);
    if (step == 3) score_eight<element, 3>(from, width, k, to, ahead);
    if (step == 2) score_eight<element, 2>(from, width, k, to, ahead);
    if (step == 1) score_eight<element, 1>(from, width, k, to, ahead);
  }
}

// Columns [e, e + 16 C) of all rows: the rows of V that they use stay in the first-level cache.
template <KvElement element, int C>
inline void add_strip(const float* weights, uint32_t rows, HeadRows v, uint32_t first,
                      uint32_t last, uint64_t width, uint64_t e, float* sum, Ahead* ahead) {
  for (uint32_t r = 0, step; r < rows; r += step) {
    const float* from = weights + r * kTileKeys;
    float* to = sum + r * width;
    step = rows_at_once(rows - r);
    if (step == 3) add_columns_of<element, 3, C>(from, v, first, last, width, e, to, ahead);
    if (step == 2) add_columns_of<element, 2, C>(from, v, first, last, width, e, to, ahead);
    if (step == 1) add_columns_of<element, 1, C>(from, v, first, last, width, e, to, ahead);
  }
}

template <KvElement element>
inline void add_rows(const float* weights, uint32_t rows, HeadRows v, uint32_t first, uint32_t last,
                     uint64_t width, float* sum, Ahead* ahead) {
  uint64_t e = 0;
  for (; e + 16 * 8 <= width; e += 16 * 8) {
    add_strip<element, 8>(weights, rows, v, first, last, width, e, sum, ahead);
  }
  const uint64_t left = (width - e) / 16;
  if (left >= 6) {
    add_strip<element, 6>(weights, rows, v, first, last, width, e, sum, ahead);
    e += 16 * 6;
  } else if (left >= 4) {
    add_strip<element, 4>(weights, rows, v, first, last, width, e, sum, ahead);
    e += 16 * 4;
  }
  for (; e < width; e += 16)
    add_strip<element, 1>(weights, rows, v, first, last, width, e, sum, ahead);
}

}  // namespace
}  // namespace rt::cpu
