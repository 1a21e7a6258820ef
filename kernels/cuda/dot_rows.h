// The inner loop of decode: one warp multiplies rows of weights with a few rows of values.
//
// Each lane takes 8 elements of every 256, so a warp's load of a 16-bit row is 512 adjacent bytes.
// Values are read from L1: they are 2 to 28 KiB and the same for all warps, while every weight is
// used once. The order of the additions depends on K alone, so a token gives the same bits whatever
// stands beside it.
#pragma once

#include "kernels/cuda/number.h"
#include "kernels/cuda/reduce.h"

namespace rt::cuda {

// The tokens [first, first + count) of x, of which a warp takes at most kTokens.
struct TokenRange {
  uint64_t first;
  uint64_t count;
};

// sums[r][t] = rows[r] . x[tokens.first + t], in all lanes; a row that is NULL gives 0, a token
// beyond the range anything.
template <class W, unsigned kRows, unsigned kTokens>
__device__ inline void dot_rows(const W* const (&rows)[kRows], bool rows_are_aligned,
                                const Matrix& x, bool x_is_aligned, TokenRange tokens,
                                float (&sums)[kRows][kTokens]) {
  const uint64_t K = x.columns;
  for (unsigned r = 0; r < kRows; ++r) {
    for (unsigned t = 0; t < kTokens; ++t) sums[r][t] = 0;
  }
  for (uint64_t k = threadIdx.x % 32 * 8; k < K; k += 256) {
    float w[kRows][8] = {};
    for (unsigned r = 0; r < kRows; ++r) {
      if (rows[r] != nullptr) load8(rows[r], k, K, rows_are_aligned, w[r]);
    }
    for (unsigned t = 0; t < kTokens; ++t) {
      if (t >= tokens.count) break;
      const uint64_t begin = (tokens.first + t) * K;
      float value[8];
      load8(x.data, x.element, begin + k, begin + K, x_is_aligned, value);
      for (unsigned r = 0; r < kRows; ++r) {
        for (int i = 0; i < 8; ++i) sums[r][t] = fmaf(w[r][i], value[i], sums[r][t]);
      }
    }
  }
  for (unsigned r = 0; r < kRows; ++r) {
    for (unsigned t = 0; t < kTokens; ++t) sums[r][t] = warp_sum(sums[r][t]);
  }
}

}  // namespace rt::cuda
