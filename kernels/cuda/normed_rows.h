// Rows that are normed on their way into a product, so that no kernel of its own has to do it:
// every block norms the tokens it multiplies into its shared memory. A row is some KiB and comes
// from L2 after the first block; in exchange a launch falls away, and the round of all
// multiprocessors that goes with it.
#pragma once

#include "kernels/cuda/launch.h"
#include "kernels/cuda/norm_row.h"
#include "kernels/cuda/normed.h"

namespace rt::cuda {

// The tokens [first, first + count) of x, of which a warp takes at most kTokens.
struct TokenRange {
  uint64_t first;
  uint64_t count;
};

__device__ inline TokenRange tokens_of_block(const Matrix& x, unsigned most) {
  const uint64_t first = static_cast<uint64_t>(blockIdx.y) * most;
  const uint64_t left = x.rows - first;
  return {first, left < most ? left : most};
}

// What a warp multiplies: rows [tokens.first, tokens.first + tokens.count) of x.
struct ProductRows {
  Matrix x;
  TokenRange tokens;
};

// Shared memory of a block that multiplies `tokens` of them, `stride` values apart.
inline unsigned normed_bytes(const NormedRows& rows, uint64_t tokens, uint64_t stride) {
  if (rows.weight.data == nullptr) return 0;
  return static_cast<unsigned>((tokens < rows.x.rows ? tokens : rows.x.rows) * stride *
                               element_bytes(rows.x.element));
}

// The tokens of a block of kThreads threads: normed in shared memory, rounded as they would be
// between two operators, or as they lie where there is no norm. All threads of the block call it.
// store(normed, t, d, y) puts eight values from column d on of token t.
template <unsigned kThreads, class Store>
__device__ inline ProductRows product_rows(const NormedRows& rows, TokenRange tokens,
                                           Store&& store) {
  if (rows.weight.data == nullptr) return {rows.x, tokens};
  Matrix normed = rows.x;
  normed.data = dynamic_shared();
  for (uint64_t t = 0; t < tokens.count; ++t) {
    norm_row<kThreads>(rows, tokens.first + t,
                       [&](uint64_t d, const float* y) { store(normed, t, d, y); });
  }
  __syncthreads();
  return {normed, {0, tokens.count}};
}

// The same, in the order in which they are counted.
template <unsigned kThreads>
__device__ inline ProductRows product_rows(const NormedRows& rows, TokenRange tokens) {
  return product_rows<kThreads>(rows, tokens,
                                [](const Matrix& normed, uint64_t t, uint64_t d, const float* y) {
                                  store8(normed.data, normed.element, t * normed.columns + d,
                                         (t + 1) * normed.columns, normed.columns % 8 == 0, y);
                                });
}

}  // namespace rt::cuda
