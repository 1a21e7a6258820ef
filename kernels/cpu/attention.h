// Causal attention of grouped query heads over a KV cache, tile by tile.
//
// Keys are met in tiles of kTileKeys tokens that begin at multiples of kTileKeys; a tile is given
// as the addresses of its rows [G, E], so these functions know nothing of stripes. Within a tile,
// and from tile to tile, sums have one order, so the result for a query is a function of the keys
// it sees and of nothing else: not of the step it came in, the split over threads, or the planner.
#pragma once

#include <stdint.h>

#include "kernels/cpu/kv_row.h"

namespace rt::cpu {

constexpr uint32_t kTileKeys = 64;

struct AttentionShape {
  uint32_t heads;       // H
  uint32_t kv_heads;    // G
  uint32_t head_width;  // E
  float scale;
  float softcap;   // 0: off
  KvRowShape row;  // of K and V
};

// Rows of tokens [first, last) of one tile, counted from the tile's begin; others are not set.
struct KeyTile {
  const unsigned char* k[kTileKeys];  // each [G, E]
  const unsigned char* v[kTileKeys];
  uint32_t first;
  uint32_t last;
};

// Softmax in progress: the largest score, and the sum of exp(score - largest).
struct SoftmaxState {
  float largest;
  float sum;
};

// Takes one tile into the softmax of one query head: q, sum_v f32[E] of head h. A state that has
// seen nothing is {-infinity, 0} with sum_v zero; the result is sum_v / state.sum.
void attend_portable(const AttentionShape& shape, const KeyTile& tile, uint32_t h, const float* q,
                     SoftmaxState* state, float* sum_v);

// --- avx2, avx512: several queries at a time.
//
// Tiles are summed into chunks of kChunkTiles tiles that begin at multiples of kChunkTiles * 64
// tokens, each from a fresh state; finished chunks are merged in order. So one query's chunks can
// be computed by different threads, and a query has the same bits in decode, in a chunk of a prompt
// and in a batch.

constexpr uint32_t kChunkTiles = 8;
constexpr uint32_t kChunkKeys = kChunkTiles * kTileKeys;

// Rows of query heads that meet the same tiles: `tokens` adjacent tokens of one sequence with the
// heads of kv heads [kv_begin, kv_end). Row order: [kv head, token, head of the group]. Widths are
// padded with zeros to a multiple of 16: E' below.
struct QueryBlock {
  uint32_t tokens;
  uint32_t kv_begin;
  uint32_t kv_end;
  uint32_t sub_keys;     // avx2's keys per walk over the kv heads: 8: whole rows, 64: reuse a panel
  float* q;              // f32[rows, E']
  float* sum_v;          // f32[rows, E']
  SoftmaxState* states;  // [rows]
  float* scores;         // f32[rows, kTileKeys], scratch
  float* panel;          // f32[kTileKeys, E'], scratch
};

constexpr uint64_t padded_width(uint64_t head_width) {
  return (head_width + 15) / 16 * 16;
}

// Copies the block's rows of q f32[tokens, H*E] (row 0: the block's first token).
void load_queries_avx2(const AttentionShape& shape, const QueryBlock& block, const float* q);

// Forgets all keys.
void reset_avx2(const AttentionShape& shape, const QueryBlock& block);

// Takes one tile into the block: token i of the block sees keys [begins[i], ends[i]) of the tile,
// counted from its begin, within [tile.first, tile.last).
// `next`: the tile that comes after it, or null; its rows are fetched ahead.
using AttendTile = void(const AttentionShape& shape, const KeyTile& tile, const KeyTile* next,
                        const uint32_t* begins, const uint32_t* ends, const QueryBlock& block);
// Heads that kSharedHeads or more query heads share pay for laying the keys across a panel; where
// fewer do, keys are used along their rows.
AttendTile attend_avx2;
AttendTile attend_avx512;
constexpr uint32_t kSharedHeads = 3;

// What attend_avx2 does with shared heads.
AttendTile attend_shared_avx2;

// A cache of bf16 and heads of at most kMostBf16Width; rounds queries and softmax weights to bf16.
AttendTile attend_bf16;
constexpr uint32_t kMostBf16Width = 256;

// Merges a later chunk into an earlier one: (a, sum_a) of the earlier, for one row.
void merge_avx2(uint64_t width, const SoftmaxState& later, const float* later_sum_v,
                SoftmaxState* state, float* sum_v);

// out[0, width) = sum_v / state.sum
void finish_avx2(uint64_t width, const SoftmaxState& state, const float* sum_v, float* out);

}  // namespace rt::cpu
