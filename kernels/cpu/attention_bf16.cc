// Attention with AVX-512 BF16 over a cache of bf16: queries and softmax weights are rounded to
// bf16, scores, maxima and sums stay f32. For prefill: bound by vdpbf16ps where 64 rows share a
// tile.
//
// Per kv head and tile, as in attention_tile.h: keys across a panel, a pair of elements in each
// dword, scores, softmax, then values along, a pair of keys in each dword, sums. A score sums its
// pairs of elements in order, a column of the output its pairs of keys; keys that a row does not
// see have the weight 0, so a query's bits are those of its keys alone.
//
// Per key and head 4 E flop, two products a lane and instruction.
#include "kernels/cpu/lanes_avx512.h"

#include "kernels/cpu/attention_tile.h"
#include "kernels/cpu/softmax_bf16.h"

namespace rt::cpu {
namespace {

constexpr uint32_t kRowsAtOnce = 4;
static_assert(kMostBf16Width % 32 == 0);

inline __m512 add_pairs(__m512 sum, __m512i a, __m512i b) {
  return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b);
}

// count <= 32 elements of f32 at `from`, to nearest even; zeros beyond.
inline __m512i round_some(const float* from, uint32_t count) {
  const uint32_t all = count >= 32 ? ~0u : (1u << count) - 1;
  const __m512 low = _mm512_maskz_loadu_ps((__mmask16)all, from);
  const __m512 high = _mm512_maskz_loadu_ps((__mmask16)(all >> 16), from + 16);
  return (__m512i)_mm512_cvtne2ps_pbh(high, low);
}

// panel u32[E' / 2][kTileKeys]: elements 2 p, 2 p + 1 of key i. Keys [first, last), and what
// completes their vectors: those repeat a key.
void pack_key_pairs(const KvRowShape& shape, const KeyTile& tile, uint32_t g, uint32_t pairs,
                    uint32_t* panel) {
  for (uint32_t i = tile.first / 16 * 16; i < tile.last; i += 16) {
    const unsigned char* rows[16];
    for (uint32_t j = 0; j < 16; ++j) {
      const uint32_t key = i + j < tile.first ? tile.first : i + j;
      rows[j] = tile.k[key < tile.last ? key : tile.last - 1] + g * shape.head_bytes;
    }
    for (uint32_t p = 0; p < pairs; p += 16) {
      const uint64_t left = shape.head_bytes - uint64_t{p} * 4;
      __m512i dwords[16];
      RT_UNROLL
      for (uint32_t j = 0; j < 16; ++j) {
        dwords[j] = Lanes16::load_bytes(rows[j] + uint64_t{p} * 4, left < 64 ? left : 64);
      }
      Lanes16::transpose(dwords);
      for (uint32_t c = 0; c < 16 && p + c < pairs; ++c) {
        _mm512_storeu_si512(panel + uint64_t{p + c} * kTileKeys + i, dwords[c]);
      }
    }
  }
}

// panel u32[kTileKeys / 2][E']: element e of keys 2 i, 2 i + 1; 0 for keys that are not in the
// tile.
void pack_value_pairs(const KvRowShape& shape, const KeyTile& tile, uint32_t g, uint64_t width,
                      uint32_t* panel) {
  alignas(64) static constexpr uint16_t kLow[32] = {0,  32, 1,  33, 2,  34, 3,  35, 4,  36, 5,
                                                    37, 6,  38, 7,  39, 8,  40, 9,  41, 10, 42,
                                                    11, 43, 12, 44, 13, 45, 14, 46, 15, 47};
  const __m512i low = _mm512_load_si512(kLow);
  const __m512i high = _mm512_add_epi16(low, _mm512_set1_epi16(16));
  for (uint32_t i = tile.first / 2; i < (tile.last + 1) / 2; ++i) {
    uint32_t* to = panel + i * width;
    for (uint64_t e = 0; e < width; e += 32) {
      const uint64_t at = e * 2;
      const uint64_t bytes = at >= shape.head_bytes       ? 0
                             : shape.head_bytes - at < 64 ? shape.head_bytes - at
                                                          : 64;
      __m512i pair[2];
      for (uint32_t j = 0; j < 2; ++j) {
        const uint32_t key = 2 * i + j;
        pair[j] = key < tile.first || key >= tile.last
                      ? _mm512_setzero_si512()
                      : Lanes16::load_bytes(tile.v[key] + g * shape.head_bytes + at, bytes);
      }
      _mm512_storeu_si512(to + e, _mm512_permutex2var_epi16(pair[0], low, pair[1]));
      if (e + 16 == width) break;
      _mm512_storeu_si512(to + e + 16, _mm512_permutex2var_epi16(pair[0], high, pair[1]));
    }
  }
}

// scores[m * kTileKeys + i] = q[m] . key i for all keys of the panel; q f32[M, E'].
template <int M>
void score_rows(const float* q, uint64_t width, uint32_t pairs, const uint32_t* panel,
                float* scores, Ahead* ahead) {
  alignas(64) uint32_t queries[M][kMostBf16Width / 2];
  for (int m = 0; m < M; ++m) {
    for (uint64_t e = 0; e < width; e += 32) {
      _mm512_store_si512(&queries[m][e / 2], round_some(q + m * width + e, (uint32_t)(width - e)));
    }
  }
  __m512 sums[M][4];
  RT_UNROLL
  for (int m = 0; m < M; ++m) {
    RT_UNROLL
    for (int c = 0; c < 4; ++c) sums[m][c] = _mm512_setzero_ps();
  }
  for (uint32_t p = 0; p < pairs; ++p, panel += kTileKeys) {
    ahead->fetch();
    __m512i query[M];
    RT_UNROLL
    for (int m = 0; m < M; ++m) query[m] = _mm512_set1_epi32((int)queries[m][p]);
    RT_UNROLL
    for (int c = 0; c < 4; ++c) {
      const __m512i keys = _mm512_loadu_si512(panel + 16 * c);
      RT_UNROLL
      for (int m = 0; m < M; ++m) sums[m][c] = add_pairs(sums[m][c], query[m], keys);
    }
  }
  RT_UNROLL
  for (int m = 0; m < M; ++m) {
    RT_UNROLL
    for (int c = 0; c < 4; ++c) _mm512_storeu_ps(scores + m * kTileKeys + 16 * c, sums[m][c]);
  }
}

// sum[m][e, e + 16 C) += pairs of weights times pairs of values, pairs [first, last) in order.
template <int M, int C>
void add_columns(const float* weights, const uint32_t* values, uint32_t first, uint32_t last,
                 uint64_t width, float* sum, Ahead* ahead) {
  __m512 sums[M][C];
  RT_UNROLL
  for (int m = 0; m < M; ++m) {
    RT_UNROLL
    for (int c = 0; c < C; ++c) sums[m][c] = _mm512_loadu_ps(sum + m * width + 16 * c);
  }
  for (uint32_t i = first; i < last; ++i) {
    ahead->fetch();
    __m512i weight[M];
    RT_UNROLL
    for (int m = 0; m < M; ++m) {
      weight[m] = _mm512_castps_si512(_mm512_set1_ps(weights[m * kTileKeys + i]));
    }
    RT_UNROLL
    for (int c = 0; c < C; ++c) {
      const __m512i value = _mm512_loadu_si512(values + i * width + 16 * c);
      RT_UNROLL
      for (int m = 0; m < M; ++m) sums[m][c] = add_pairs(sums[m][c], weight[m], value);
    }
  }
  RT_UNROLL
  for (int m = 0; m < M; ++m) {
    RT_UNROLL
    for (int c = 0; c < C; ++c) _mm512_storeu_ps(sum + m * width + 16 * c, sums[m][c]);
  }
}

template <int M>
void add_values(const float* weights, const uint32_t* values, uint32_t first, uint32_t last,
                uint64_t width, float* sum, Ahead* ahead) {
  uint64_t e = 0;
  for (; e + 64 <= width; e += 64) {
    add_columns<M, 4>(weights, values + e, first, last, width, sum + e, ahead);
  }
  for (; e + 32 <= width; e += 32) {
    add_columns<M, 2>(weights, values + e, first, last, width, sum + e, ahead);
  }
  if (e < width) add_columns<M, 1>(weights, values + e, first, last, width, sum + e, ahead);
}

// The rows of one kv head, kRowsAtOnce at a time, a rest as 2 and 1: body(M, first row).
template <class Body>
void for_rows(uint32_t rows, const Body& body) {
  uint32_t r = 0;
  for (; r + kRowsAtOnce <= rows; r += kRowsAtOnce) body.template operator()<kRowsAtOnce>(r);
  if (r + 2 <= rows) {
    body.template operator()<2>(r);
    r += 2;
  }
  if (r < rows) body.template operator()<1>(r);
}

}  // namespace

void attend_bf16(const AttentionShape& shape, const KeyTile& tile, const KeyTile* next,
                 const uint32_t* begins, const uint32_t* ends, const QueryBlock& block) {
  const uint64_t width = padded_width(shape.head_width);
  const uint32_t pairs = (shape.head_width + 1) / 2;
  const uint32_t group = shape.heads / shape.kv_heads;
  const uint32_t rows = block.tokens * group;
  auto* keys = (uint32_t*)block.panel;              // [E' / 2][kTileKeys]
  uint32_t* values = keys + width / 2 * kTileKeys;  // [kTileKeys / 2][E']
  // A walk over pairs has half the steps.
  Ahead ahead = ahead_of(shape, block, next, walk_steps<Lanes16>(shape, block, rows) / 2);
  for (uint32_t g = block.kv_begin; g < block.kv_end; ++g) {
    const uint64_t at = uint64_t{g - block.kv_begin} * rows;
    const float* q = block.q + at * width;
    float* sum_v = block.sum_v + at * width;
    float* scores = block.scores + at * kTileKeys;
    pack_key_pairs(shape.row, tile, g, pairs, keys);
    for_rows(rows, [&]<int M>(uint32_t r) {
      score_rows<M>(q + r * width, width, pairs, keys, scores + r * kTileKeys, &ahead);
    });
    soften_rows_bf16(shape, {begins, ends, rows, group}, width, scores, block.states + at, sum_v);
    pack_value_pairs(shape.row, tile, g, width, values);
    for_rows(rows, [&]<int M>(uint32_t r) {
      add_values<M>(scores + r * kTileKeys, values, tile.first / 2, (tile.last + 1) / 2, width,
                    sum_v + r * width, &ahead);
    });
  }
}

}  // namespace rt::cpu
