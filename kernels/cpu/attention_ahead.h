// The rows of K and V that come next, asked for line by line while those at hand are computed.
//
// Asked for at once they would stand in line behind the misses that a core can have under way, and
// hold up the loads of those at hand. In the order in which they lie, all of a block's heads of a
// row and then the next row, since memory is read faster that way than in pieces of a head; into
// the second-level cache, since heads of rows that lie 512 bytes apart fall on an eighth of the
// sets of the first. (Zen 4, `bench_kernels 5 attn`, GB/s of one thread in decode at 2048: Phi-3's
// unshared heads 17.1 to 20.6, with AVX2 16.6 to 20.3; TinyLlama's 8 shared ones, bound by the
// core, 5.7 to 6.6, with AVX2 4.1 to 5.3.)
#pragma once

#include "kernels/cpu/attention.h"

namespace rt::cpu {

struct Ahead {
  const unsigned char* const* row;     // null: nothing is left
  const unsigned char* const* values;  // as many rows that follow them, or null
  uint32_t count;                      // of rows
  uint32_t left;
  uint64_t begin;  // of the block's heads in each row
  uint64_t bytes;  // of these heads
  uint64_t at;
  uint32_t lines;  // per step, where steps are counted

  inline void fetch(uint64_t some) {
    for (uint64_t i = 0; i < some && row != nullptr; ++i) {
      __builtin_prefetch(*row + begin + at, 0, 2);  // prefetcht1
      at += 64;
      if (at < bytes) continue;
      at = 0;
      ++row;
      if (--left > 0) continue;
      row = values;
      values = nullptr;
      left = count;
    }
  }
  inline void fetch() { fetch(lines); }
};

// `count` rows, and as many of `values` where that is not null.
static inline Ahead ahead_of(const AttentionShape& shape, const QueryBlock& block,
                             const unsigned char* const* row, const unsigned char* const* values,
                             uint32_t count) {
  const uint64_t head = shape.row.head_bytes;
  return {row, values, count, count, block.kv_begin * head, (block.kv_end - block.kv_begin) * head,
          0,   0};
}

// A tile, spread over `steps` steps.
static inline Ahead ahead_of(const AttentionShape& shape, const QueryBlock& block,
                             const KeyTile* tile, uint64_t steps) {
  if (tile == nullptr) return {};
  const uint32_t count = tile->last - tile->first;
  Ahead ahead = ahead_of(shape, block, tile->k + tile->first, tile->v + tile->first, count);
  const uint64_t lines = 2 * ((ahead.bytes + 63) / 64) * count;
  ahead.lines = (uint32_t)((lines + steps - 1) / steps);
  return ahead;
}

}  // namespace rt::cpu
