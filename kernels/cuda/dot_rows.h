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

// The tokens [first, first + count) of x, of which a warp takes at most kTokens.
struct TokenRange {
  uint64_t first;
  uint64_t count;
};

// A lane's eight elements of each row from k on; a row that is NULL, and what lies behind K, reads
// as 0.
template <class W, unsigned kRows>
__device__ inline void load_rows(const W* const (&rows)[kRows], bool rows_are_aligned, uint64_t k,
                                 uint64_t K, float (&w)[kRows][8]) {
  RT_UNROLL
  for (unsigned r = 0; r < kRows; ++r) {
    RT_UNROLL
    for (int i = 0; i < 8; ++i) w[r][i] = 0;
    if (rows[r] != nullptr && k < K) load8(rows[r], k, K, rows_are_aligned, w[r]);
  }
}

// The first of them: what a warp has on its way while its block does something else.
template <class W, unsigned kRows>
__device__ inline void first_weights(const W* const (&rows)[kRows], bool rows_are_aligned,
                                     uint64_t K, float (&w)[kRows][8]) {
  load_rows<W, kRows>(rows, rows_are_aligned, threadIdx.x % 32 * 8, K, w);
}

// sums[r][t] = rows[r] . x[tokens.first + t], in all lanes; a row that is NULL gives 0, a token
// beyond the range anything. w: the first weights.
template <class W, unsigned kRows, unsigned kTokens>
__device__ inline void dot_rows(const W* const (&rows)[kRows], bool rows_are_aligned,
                                float (&w)[kRows][8], const Matrix& x, bool x_is_aligned,
                                TokenRange tokens, float (&sums)[kRows][kTokens]) {
  const uint64_t K = x.columns;
  for (unsigned r = 0; r < kRows; ++r) {
    for (unsigned t = 0; t < kTokens; ++t) sums[r][t] = 0;
  }
  for (uint64_t k = threadIdx.x % 32 * 8; k < K; k += 256) {
    for (unsigned t = 0; t < kTokens; ++t) {
      if (t >= tokens.count) break;
      const uint64_t begin = (tokens.first + t) * K;
      float value[8];
      load8(x.data, x.element, begin + k, begin + K, x_is_aligned, value);
      for (unsigned r = 0; r < kRows; ++r) {
        for (int i = 0; i < 8; ++i) sums[r][t] = fmaf(w[r][i], value[i], sums[r][t]);
      }
    }
    load_rows<W, kRows>(rows, rows_are_aligned, k + 256, K, w);
  }
  for (unsigned r = 0; r < kRows; ++r) {
    for (unsigned t = 0; t < kTokens; ++t) sums[r][t] = warp_sum(sums[r][t]);
  }
}

}  // namespace rt::cuda
