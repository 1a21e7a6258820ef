// One tile of keys against one block of query rows, for vectors L (lanes_avx2.h, lanes_avx512.h).
// Per kv head: keys to the panel, scores, softmax, values to the panel, sums.
//
// A score sums its E products in their order, a column of the output its keys in theirs, however
// many rows and keys go together; so a query's bits are those of its keys alone.
//
// Per key and head 4 E flop on E (bytes(K) + bytes(V)) / E read, and some 2 operations per element
// to widen it, shared by the H/G rows of the head: bound by arithmetic where 8 heads share one
// (TinyLlama), by reading where none do (Phi-3).
#pragma once

#include "kernels/cpu/attention_ahead.h"
#include "kernels/cpu/attention_pack.h"
#include "kernels/cpu/softmax_rows.h"

namespace rt::cpu {

// scores[m * kTileKeys + i] = q[m] . key i for M rows q f32[M, E'] and 4 vectors of keys at panel.
template <class L, int M>
static inline void score(const float* q, uint64_t width, uint32_t head_width, const float* panel,
                         float* scores, Ahead* ahead) {
  typename L::F sums[M][4];
  RT_UNROLL
  for (int m = 0; m < M; ++m) {
    RT_UNROLL
    for (int c = 0; c < 4; ++c) sums[m][c] = L::zero();
  }
  if constexpr (!L::kFetchesEachStep) ahead->fetch();
  for (uint32_t e = 0; e < head_width; ++e, panel += kTileKeys) {
    if constexpr (L::kFetchesEachStep) ahead->fetch();
    typename L::F queries[M];
    RT_UNROLL
    for (int m = 0; m < M; ++m) queries[m] = L::all(q[m * width + e]);
    RT_UNROLL
    for (int c = 0; c < 4; ++c) {
      const typename L::F keys = L::load(panel + c * L::kCount);
      RT_UNROLL
      for (int m = 0; m < M; ++m) sums[m][c] = L::multiply_add(queries[m], keys, sums[m][c]);
    }
  }
  RT_UNROLL
  for (int m = 0; m < M; ++m) {
    RT_UNROLL
    for (int c = 0; c < 4; ++c) L::store(scores + m * kTileKeys + c * L::kCount, sums[m][c]);
  }
}

// sum[m][0, C vectors) += weights[m][i] * values[i] for keys i in [first, last), in order.
template <class L, int M, int C>
static inline void add_columns(const float* weights, const float* values, uint32_t first,
                               uint32_t last, uint64_t width, float* sum, Ahead* ahead) {
  typename L::F sums[M][C];
  RT_UNROLL
  for (int m = 0; m < M; ++m) {
    RT_UNROLL
    for (int c = 0; c < C; ++c) sums[m][c] = L::load(sum + m * width + c * L::kCount);
  }
  if constexpr (!L::kFetchesEachStep) ahead->fetch();
  for (uint32_t i = first; i < last; ++i) {
    if constexpr (L::kFetchesEachStep) ahead->fetch();
    typename L::F weight[M];
    RT_UNROLL
    for (int m = 0; m < M; ++m) weight[m] = L::all(weights[m * kTileKeys + i]);
    RT_UNROLL
    for (int c = 0; c < C; ++c) {
      const typename L::F value = L::load(values + i * width + c * L::kCount);
      RT_UNROLL
      for (int m = 0; m < M; ++m) sums[m][c] = L::multiply_add(weight[m], value, sums[m][c]);
    }
  }
  RT_UNROLL
  for (int m = 0; m < M; ++m) {
    RT_UNROLL
    for (int c = 0; c < C; ++c) L::store(sum + m * width + c * L::kCount, sums[m][c]);
  }
}

// The same over all E' columns; one row alone takes twice the vectors, to have 8 chains of FMA.
template <class L, int M>
static inline void add_values(const float* weights, const float* values, uint32_t first,
                              uint32_t last, uint64_t width, float* sum, Ahead* ahead) {
  constexpr int kWide = M == 1 ? 8 : 4;
  uint64_t e = 0;
  for (; e + kWide * L::kCount <= width; e += kWide * L::kCount) {
    add_columns<L, M, kWide>(weights, values + e, first, last, width, sum + e, ahead);
  }
  if constexpr (kWide > 4) {
    if (e + 4 * L::kCount <= width) {
      add_columns<L, M, 4>(weights, values + e, first, last, width, sum + e, ahead);
      e += 4 * L::kCount;
    }
  }
  if (e + 2 * L::kCount <= width) {
    add_columns<L, M, 2>(weights, values + e, first, last, width, sum + e, ahead);
    e += 2 * L::kCount;
  }
  if (e < width) add_columns<L, M, 1>(weights, values + e, first, last, width, sum + e, ahead);
}

// The rows of one kv head in a block, and the keys of the tile that each sees.
template <class L>
struct TileRows {
  const AttentionShape& shape;
  const uint32_t* begins;
  const uint32_t* ends;
  uint32_t rows;
  uint32_t group;        // rows of one token
  uint64_t width;        // E'
  const float* q;        // f32[rows, E']
  float* sum_v;          // f32[rows, E']
  float* scores;         // f32[rows, kTileKeys]
  SoftmaxState* states;  // [rows]
  Ahead* ahead;

  uint32_t begin(uint32_t r) const { return begins[r / group]; }
  uint32_t end(uint32_t r) const { return ends[r / group]; }

  template <int M>
  void score_some(uint32_t r, const float* panel, uint32_t first, uint32_t last) const {
    constexpr uint32_t kStep = 4 * L::kCount;
    for (uint32_t i = first / kStep * kStep; i < last; i += kStep) {
      score<L, M>(q + r * width, width, shape.head_width, panel + i, scores + r * kTileKeys + i,
                  ahead);
    }
  }
  template <int M>
  void add(uint32_t r, const float* values, uint32_t first, uint32_t last) const {
    if (first >= last) return;
    add_values<L, M>(scores + r * kTileKeys, values, first, last, width, sum_v + r * width, ahead);
  }
  // Rows [r, r + M): the keys that all see go together, those before and after row by row.
  template <int M>
  void add_some(uint32_t r, const float* values, uint32_t, uint32_t) const {
    uint32_t from = begin(r);
    uint32_t to = end(r);
    for (uint32_t m = r + 1; m < r + M; ++m) {
      if (begin(m) > from) from = begin(m);
      if (end(m) < to) to = end(m);
    }
    if (from >= to) {
      for (uint32_t m = r; m < r + M; ++m) add<1>(m, values, begin(m), end(m));
      return;
    }
    for (uint32_t m = r; m < r + M && M > 1; ++m) add<1>(m, values, begin(m), from);
    add<M>(r, values, from, to);
    for (uint32_t m = r; m < r + M && M > 1; ++m) add<1>(m, values, to, end(m));
  }

  // Rows are taken by L::kRows, and a rest as it comes; but 4 of 3 at a time as 2 + 2.
  uint32_t at_once(uint32_t left) const {
    if (L::kRows == 3 && left == 4) return 2;
    return left < L::kRows ? left : L::kRows;
  }
  void score_all(const float* panel, uint32_t first, uint32_t last) const {
    for (uint32_t r = 0, step; r < rows; r += step) {
      step = at_once(rows - r);
      if constexpr (L::kRows == 4) {
        if (step == 4) score_some<4>(r, panel, first, last);
      }
      if (step == 3) score_some<3>(r, panel, first, last);
      if (step == 2) score_some<2>(r, panel, first, last);
      if (step == 1) score_some<1>(r, panel, first, last);
    }
  }
  void add_all(const float* values) const {
    for (uint32_t r = 0, step; r < rows; r += step) {
      step = at_once(rows - r);
      if constexpr (L::kRows == 4) {
        if (step == 4) add_some<4>(r, values, 0, 0);
      }
      if (step == 3) add_some<3>(r, values, 0, 0);
      if (step == 2) add_some<2>(r, values, 0, 0);
      if (step == 1) add_some<1>(r, values, 0, 0);
    }
  }
};

// How often the walks over a block's rows, over E columns and kTileKeys keys, ask for lines.
template <class L>
static inline uint64_t walk_steps(const AttentionShape& shape, const QueryBlock& block,
                                  uint32_t rows) {
  const uint64_t walks = (block.kv_end - block.kv_begin) * ((rows + L::kRows - 1) / L::kRows);
  const uint64_t steps = walks * (shape.head_width + kTileKeys);
  return L::kFetchesEachStep ? steps : (steps - 1) / (4 * L::kCount) + 1;
}

template <class L, KvElement element>
static inline void attend_tile(const AttentionShape& shape, const KeyTile& tile,
                               const KeyTile* next, const uint32_t* begins, const uint32_t* ends,
                               const QueryBlock& block) {
  const uint64_t width = padded_width(shape.head_width);
  const uint32_t group = shape.heads / shape.kv_heads;
  const uint32_t rows = block.tokens * group;
  Ahead ahead = ahead_of(shape, block, next, walk_steps<L>(shape, block, rows));
  for (uint32_t g = block.kv_begin; g < block.kv_end; ++g) {
    const uint64_t r = uint64_t{g - block.kv_begin} * rows;
    const TileRows<L> some = {shape,
                              begins,
                              ends,
                              rows,
                              group,
                              width,
                              block.q + r * width,
                              block.sum_v + r * width,
                              block.scores + r * kTileKeys,
                              block.states + r,
                              &ahead};
    pack_keys<L, element>(shape.row, tile.k, g, tile.first, tile.last, block.panel);
    some.score_all(block.panel, tile.first, tile.last);
    soften_rows<L>(shape, {begins, ends, rows, group}, rows, width, some.scores, some.states,
                   some.sum_v);
    for (uint32_t i = tile.first; i < tile.last; ++i) {
      pack_along<L, element>(shape.row, tile.v[i], g, width, block.panel + i * width);
    }
    some.add_all(block.panel);
  }
}

template <class L>
static inline void attend(const AttentionShape& shape, const KeyTile& tile, const KeyTile* next,
                          const uint32_t* begins, const uint32_t* ends, const QueryBlock& block) {
  switch (shape.row.element) {
    case KvElement::kF32:
      return attend_tile<L, KvElement::kF32>(shape, tile, next, begins, ends, block);
    case KvElement::kBf16:
      return attend_tile<L, KvElement::kBf16>(shape, tile, next, begins, ends, block);
    case KvElement::kF16:
      return attend_tile<L, KvElement::kF16>(shape, tile, next, begins, ends, block);
    case KvElement::kInt8:
      return attend_tile<L, KvElement::kInt8>(shape, tile, next, begins, ends, block);
    case KvElement::kQ8_0:
      return attend_tile<L, KvElement::kQ8_0>(shape, tile, next, begins, ends, block);
    case KvElement::kQ4_0:
      return attend_tile<L, KvElement::kQ4_0>(shape, tile, next, begins, ends, block);
  }
}

}  // namespace rt::cpu
