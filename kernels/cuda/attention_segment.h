// How prefill attention cuts its queries among blocks, whatever multiplies them: a block has some
// heads of one group for some tokens, and takes those of one sequence after another.
#pragma once

#include "kernels/cuda/attention.h"
#include "kernels/cuda/kv_rows.h"
#include "kernels/cuda/launch.h"

namespace rt::cuda {

// A block's rows are block_tokens tokens of tile_heads heads each; row r is head r % tile_heads.
struct QueryTiles {
  AttentionShape shape;
  uint32_t group;         // H / G
  uint32_t tile_heads;    // query heads of a block, of one group: a power of two, at most its rows
  uint32_t head_tiles;    // ceil(group / tile_heads)
  uint32_t block_tokens;  // rows of a block / tile_heads
  bool kv_is_aligned;
};

inline QueryTiles query_tiles(const AttentionShape& shape, const KvCache& kv, unsigned rows) {
  QueryTiles tiles{};
  tiles.shape = shape;
  tiles.group = shape.heads / shape.kv_heads;
  tiles.tile_heads = 1;
  while (tiles.tile_heads < tiles.group && tiles.tile_heads < rows) tiles.tile_heads *= 2;
  tiles.head_tiles = divide_up(tiles.group, tiles.tile_heads);
  tiles.block_tokens = rows / tiles.tile_heads;
  tiles.kv_is_aligned = cache_is_aligned(kv);
  return tiles;
}

// The grid that for_each_segment expects.
inline dim3 query_grid(const QueryTiles& tiles, const StepTokens& step) {
  return dim3(divide_up(step.tokens, tiles.block_tokens), tiles.shape.kv_heads * tiles.head_tiles);
}

// The tokens [first, first + count) of the step, all of sequence b, and the heads from `head` on.
struct Segment {
  uint64_t first;
  uint32_t count;
  uint32_t b;
  uint32_t g;
  uint32_t head;
  uint32_t heads;
};

__device__ inline bool row_exists(const QueryTiles& tiles, const Segment& segment, unsigned row) {
  return row / tiles.tile_heads < segment.count && row % tiles.tile_heads < segment.heads;
}

// Where row's query begins in [T, H*E].
__device__ inline uint64_t query_at(const QueryTiles& tiles, const Segment& segment, unsigned row) {
  const uint64_t t = segment.first + row / tiles.tile_heads;
  return (t * tiles.shape.heads + segment.head + row % tiles.tile_heads) * tiles.shape.head_width;
}

// attend(segment) for each sequence that this block has tokens of; all threads.
template <class Attend>
__device__ inline void for_each_segment(const QueryTiles& tiles, const StepTokens& step,
                                        const Attend& attend) {
  // Blocks of late tokens have most keys, so they come first.
  const uint64_t begin = static_cast<uint64_t>(gridDim.x - 1 - blockIdx.x) * tiles.block_tokens;
  const uint64_t limit = begin + tiles.block_tokens;
  const uint64_t end = limit < step.tokens ? limit : step.tokens;
  Segment segment{};
  segment.g = blockIdx.y / tiles.head_tiles;
  const uint32_t first_in_group = blockIdx.y % tiles.head_tiles * tiles.tile_heads;
  segment.head = segment.g * tiles.group + first_in_group;
  const uint32_t left = tiles.group - first_in_group;
  segment.heads = left < tiles.tile_heads ? left : tiles.tile_heads;
  for (uint64_t first = begin; first < end; first += segment.count) {
    segment.first = first;
    segment.b = static_cast<uint32_t>(step.sequences[first]);
    const auto sequence_end = static_cast<uint64_t>(step.offsets[segment.b + 1]);
    segment.count = static_cast<uint32_t>((sequence_end < end ? sequence_end : end) - first);
    attend(segment);
  }
}

}  // namespace rt::cuda
