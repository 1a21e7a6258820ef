// The two products of attention for one kv head: scores of some query rows
// against some keys, and the weighted sum of V rows, from rows of any type. A
// score sums its E' columns in 8 lanes, a column of the output its keys in
// order, however many rows and keys go together.
//
// For files compiled with -mavx2 -mfma -mf16c only (vector_avx2.h).
#pragma once

#include "kernels/cpu/attention_ahead.h"
#include "kernels/cpu/kv_row_avx2.h"

namespace rt::cpu {

// One head of the rows of some keys: its elements `bytes` into each row, its
// block scales `scales` into it.
struct Rows {
  const unsigned char* const* row;
  uint64_t bytes;
  uint64_t scales;
};

// scores[m * kTileKeys + c] = q[m] . key[c]; q f32[M, width], width a multiple
// of 8.
template <KvElement element, int M, int keys>
static inline void score(const float* q, uint64_t width, Rows k, float* scores, Ahead* ahead) {
  __m256 sums[M][keys];
  BlockScale<element> scales[keys];
  RT_UNROLL
  for (int c = 0; c < keys; ++c) {
    RT_UNROLL
    for (int m = 0; m < M; ++m) sums[m][c] = _mm256_setzero_ps();
  }
  for (uint64_t e = 0; e < width; e += 8) {
    ahead->fetch((keys * kEightBytes<element> + 63) / 64);
    if (has_blocks(element) && e % kKvBlock == 0) {
      RT_UNROLL
      for (int c = 0; c < keys; ++c) scales[c].find(k.row[c] + k.scales, e / kKvBlock);
    }
    __m256 queries[M];
    RT_UNROLL
    for (int m = 0; m < M; ++m) queries[m] = _mm256_loadu_ps(q + m * width + e);
    RT_UNROLL
    for (int c = 0; c < keys; ++c) {
      const __m256 key =
          scales[c].apply(load_kv<element>(k.row[c] + k.bytes + e / 8 * kEightBytes<element>));
      RT_UNROLL
      for (int m = 0; m < M; ++m) sums[m][c] = _mm256_fmadd_ps(queries[m], key, sums[m][c]);
    }
  }
  RT_UNROLL
  for (int m = 0; m < M; ++m) {
    RT_UNROLL
    for (int c = 0; c < keys; c += 4) {
      _mm_storeu_ps(scores + m * kTileKeys + c,
                    sum_lanes(sums[m][c], sums[m][c + 1], sums[m][c + 2], sums[m][c + 3]));
    }
  }
}

// sum[m][e, e + 8 columns) += weights[m][i] * row i, for keys i in [first,
// last) in order.
template <KvElement element, int M, int columns>
static inline void add_values(const float* weights, Rows v, uint32_t first, uint32_t last,
                              uint64_t width, uint64_t e, float* sum, Ahead* ahead) {
  __m256 sums[M][columns];
  sum += e;
  RT_UNROLL
  for (int m = 0; m < M; ++m) {
    RT_UNROLL
    for (int c = 0; c < columns; ++c) sums[m][c] = _mm256_loadu_ps(sum + m * width + 8 * c);
  }
  for (uint32_t i = first; i < last; ++i) {
    ahead->fetch((columns * kEightBytes<element> + 63) / 64);
    const unsigned char* from = v.row[i] + v.bytes + e / 8 * kEightBytes<element>;
    __m256 weight[M];
    BlockScale<element> scale;
    RT_UNROLL
    for (int m = 0; m < M; ++m) weight[m] = _mm256_broadcast_ss(weights + m * kTileKeys + i);
    RT_UNROLL
    for (int c = 0; c < columns; ++c) {
      if (8 * c % kKvBlock == 0) scale.find(v.row[i] + v.scales, (e + 8 * c) / kKvBlock);
      const __m256 value = scale.apply(load_kv<element>(from + c * kEightBytes<element>));
      RT_UNROLL
      for (int m = 0; m < M; ++m) sums[m][c] = _mm256_fmadd_ps(weight[m], value, sums[m][c]);
    }
  }
  RT_UNROLL
  for (int m = 0; m < M; ++m) {
    RT_UNROLL
    for (int c = 0; c < columns; ++c) _mm256_storeu_ps(sum + m * width + 8 * c, sums[m][c]);
  }
}

// The same over all columns: `wide` vectors at a time, then what is left. Parts
// of 4 and more begin where a block does, a part of 1 lies within one.
template <KvElement element, int M, int wide>
static inline void add_value_rows(const float* weights, Rows v, uint32_t first, uint32_t last,
                                  uint64_t width, float* sum, Ahead* ahead) {
  uint64_t e = 0;
  for (; e + 8 * wide <= width; e += 8 * wide) {
    add_values<element, M, wide>(weights, v, first, last, width, e, sum, ahead);
  }
  if constexpr (wide > 4) {
    if (e + 32 <= width) {
      add_values<element, M, 4>(weights, v, first, last, width, e, sum, ahead);
      e += 32;
    }
  }
  if (e + 16 <= width) {
    add_values<element, M, 2>(weights, v, first, last, width, e, sum, ahead);
    e += 16;
  }
  if (e + 8 <= width) add_values<element, M, 1>(weights, v, first, last, width, e, sum, ahead);
}

// Rows are taken by threes, a rest of 1, 2 or 4 as 1, 2 or 2 + 2: one row alone
// has too few sums under way to fill the 4 cycles of an FMA.
static inline uint32_t rows_at_once(uint32_t left) {
  return left >= 3 && left != 4 ? 3 : left >= 2 ? 2 : 1;
}

// Keys [first, last) of the tile against `rows` query rows.
template <KvElement element>
static inline void score_rows(const float* q, uint32_t rows, uint64_t width, Rows k, uint32_t first,
                              uint32_t last, float* scores, Ahead* ahead) {
  for (uint32_t i = first; i < last; i += 4) {
    const Rows quad = {k.row + i, k.bytes, k.scales};
    for (uint32_t r = 0, step; r < rows; r += step) {
      const float* from = q + r * width;
      float* to = scores + r * kTileKeys + i;
      step = rows_at_once(rows - r);
      if (step == 3) score<element, 3, 4>(from, width, quad, to, ahead);
      if (step == 2) score<element, 2, 4>(from, width, quad, to, ahead);
      if (step == 1) score<element, 1, 4>(from, width, quad, to, ahead);
    }
  }
}

template <KvElement element>
static inline void add_rows(const float* weights, uint32_t rows, Rows v, uint32_t first,
                            uint32_t last, uint64_t width, float* sum, Ahead* ahead) {
  for (uint32_t r = 0, step; r < rows; r += step) {
    const float* from = weights + r * kTileKeys;
    float* to = sum + r * width;
    step = rows_at_once(rows - r);
    if (step == 3) add_value_rows<element, 3, 4>(from, v, first, last, width, to, ahead);
    if (step == 2) add_value_rows<element, 2, 4>(from, v, first, last, width, to, ahead);
    if (step == 1) add_value_rows<element, 1, 8>(from, v, first, last, width, to, ahead);
  }
}

}  // namespace rt::cpu
