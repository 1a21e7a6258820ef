// The inner loop of decode: one warp multiplies rows of weights with a few rows of values.
//
// Each lane takes 8 elements of every 256, so a warp's load of a 16-bit row is 512 adjacent bytes.
// Values are read from L1: they are 2 to 28 KiB and the same for all warps, while every weight is
// used once. The order of the additions depends on K alone, so a token gives the same bits whatever
// stands beside it.
#pragma once

#include "kernels/cuda/launch.h"
#include "kernels/cuda/number.h"
#include "kernels/cuda/reduce.h"

namespace rt::cuda {

constexpr unsigned kChunk = 256;  // elements of a row that a warp reads at once

// Weights under way: of each of kRows rows the next kDepth chunks, as they lie in memory.
template <class W, unsigned kRows, unsigned kDepth>
struct RowStream {
  Raw8<W> raw[kRows][kDepth];

  // Chunk `slot` from `from` on, of which `left` elements are there.
  __device__ void load(const W* const (&from)[kRows], unsigned left, unsigned slot) {
    const unsigned at = slot * kChunk + threadIdx.x % kWarp * 8;
    if (at >= left) return;
    RT_UNROLL
    for (unsigned r = 0; r < kRows; ++r) raw[r][slot] = load_raw_weight8(from[r] + at);
  }
  __device__ void begin(const W* const (&rows)[kRows], unsigned K) {
    RT_UNROLL
    for (unsigned slot = 0; slot < kDepth; ++slot) load(rows, K, slot);
  }
};

template <unsigned kRows, unsigned kTokens>
__device__ inline void sum_lanes(unsigned tokens, float (&sums)[kRows][kTokens]) {
  RT_UNROLL
  for (unsigned t = 0; t < kTokens; ++t) {
    if (t >= tokens) break;
    RT_UNROLL
    for (unsigned r = 0; r < kRows; ++r) sums[r][t] = warp_sum(sums[r][t]);
  }
}

// sums[row][token], where row and token are each lane's own: chosen among registers.
template <unsigned kRows, unsigned kTokens>
__device__ inline float sum_of_lane(const float (&sums)[kRows][kTokens], unsigned row,
                                    unsigned token) {
  float sum = sums[0][0];
  RT_UNROLL
  for (unsigned t = 0; t < kTokens; ++t) {
    RT_UNROLL
    for (unsigned r = 0; r < kRows; ++r) sum = r == row && t == token ? sums[r][t] : sum;
  }
  return sum;
}

// Adds chunk `slot` of each row times its part of x; rows of x lie K apart.
template <class X, class W, unsigned kRows, unsigned kDepth, unsigned kTokens>
__device__ inline void add_chunk(const RowStream<W, kRows, kDepth>& stream, unsigned slot,
                                 const X* x, unsigned K, unsigned tokens,
                                 float (&sums)[kRows][kTokens]) {
  float w[kRows][8];
  RT_UNROLL
  for (unsigned r = 0; r < kRows; ++r) unpack(stream.raw[r][slot], w[r]);
  RT_UNROLL
  for (unsigned t = 0; t < kTokens; ++t) {
    if (t > 0 && t >= tokens) break;
    float value[8];
    load8(x + static_cast<uint64_t>(t) * K, value);
    RT_UNROLL
    for (unsigned r = 0; r < kRows; ++r) {
      RT_UNROLL
      for (int i = 0; i < 8; ++i) sums[r][t] = fmaf(w[r][i], value[i], sums[r][t]);
    }
  }
}

// sums[r][t] = rows[r] . x[t], in all lanes, of `tokens` rows of x that lie K apart; beyond them
// anything. `stream` holds the first chunks of `rows` before and those of `next` after, if
// `has_next`. Rows of 8 n elements that are 16-byte aligned.
//
// Half of the chunks are used, then asked for again, and the other half. A warp waits for loads by
// counters that stand at 0 when all of a counter's loads are there, and nvcc gives weights one: a
// chunk asked for as soon as its place is free would be waited for with the next use of any other.
template <class X, class W, unsigned kRows, unsigned kDepth, unsigned kTokens>
__device__ inline void dot_rows(RowStream<W, kRows, kDepth>& stream, const W* const (&rows)[kRows],
                                const W* const (&next)[kRows], bool has_next, unsigned K,
                                const X* x, unsigned tokens, float (&sums)[kRows][kTokens]) {
  constexpr unsigned kTurn = kDepth * kChunk;
  constexpr unsigned kBank = kDepth >= 2 ? kDepth / 2 : 1;
  RT_UNROLL
  for (unsigned r = 0; r < kRows; ++r) {
    RT_UNROLL
    for (unsigned t = 0; t < kTokens; ++t) sums[r][t] = 0;
  }
  for (unsigned k = 0; k < K; k += kTurn) {
    const bool is_last = K - k <= kTurn;
    const unsigned left = !is_last ? K - k - kTurn : has_next ? K : 0;
    const W* from[kRows];
    RT_UNROLL
    for (unsigned r = 0; r < kRows; ++r) from[r] = is_last ? next[r] : rows[r] + k + kTurn;
    RT_UNROLL
    for (unsigned bank = 0; bank < kDepth; bank += kBank) {
      RT_UNROLL
      for (unsigned slot = bank; slot < bank + kBank; ++slot) {
        const unsigned at = k + slot * kChunk + threadIdx.x % kWarp * 8;
        if (at < K) add_chunk(stream, slot, x + at, K, tokens, sums);
      }
      RT_UNROLL
      for (unsigned slot = bank; slot < bank + kBank; ++slot) stream.load(from, left, slot);
    }
  }
  sum_lanes(tokens, sums);
}

// The same for rows of any width and alignment, with nothing ahead.
template <class W, unsigned kRows, unsigned kTokens>
__device__ inline void dot_elements(const W* const (&rows)[kRows], const Matrix& x,
                                    uint64_t first_token, unsigned tokens,
                                    float (&sums)[kRows][kTokens]) {
  const uint64_t K = x.columns;
  RT_UNROLL
  for (unsigned r = 0; r < kRows; ++r) {
    RT_UNROLL
    for (unsigned t = 0; t < kTokens; ++t) sums[r][t] = 0;
  }
  for (uint64_t k = threadIdx.x % kWarp * 8; k < K; k += kChunk) {
    float w[kRows][8];
    RT_UNROLL
    for (unsigned r = 0; r < kRows; ++r) load8(rows[r], k, K, false, w[r]);
    RT_UNROLL
    for (unsigned t = 0; t < kTokens; ++t) {
      if (t >= tokens) break;
      const uint64_t begin = (first_token + t) * K;
      float value[8];
      load8(x.data, x.element, begin + k, begin + K, false, value);
      RT_UNROLL
      for (unsigned r = 0; r < kRows; ++r) {
        RT_UNROLL
        for (int i = 0; i < 8; ++i) sums[r][t] = fmaf(w[r][i], value[i], sums[r][t]);
      }
    }
  }
  sum_lanes(tokens, sums);
}

}  // namespace rt::cuda
