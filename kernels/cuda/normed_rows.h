// Rows that are normed on their way into a product, so that no kernel of its own has to do it:
// every block norms the tokens it multiplies into its shared memory. A row is some KiB and comes
// from L2 after the first block; in exchange a launch falls away, and the round of all
// multiprocessors that goes with it.
#pragma once

#include "kernels/cuda/dot_rows.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/norm_row.h"
#include "kernels/cuda/normed.h"

namespace rt::cuda {

// Blocks of 256 threads that a multiprocessor shall hold at least: left alone, nvcc would have one
// more where several tokens share a read, and spill.
constexpr unsigned blocks_for(unsigned tokens) {
  return tokens == 8 ? 2 : tokens == 4 ? 3 : 4;
}

// What a warp multiplies: rows [tokens.first, tokens.first + tokens.count) of x.
struct ProductRows {
  Matrix x;
  bool aligned;
  TokenRange tokens;
};

// Shared memory of a block that multiplies `tokens` of them.
inline unsigned normed_bytes(const NormedRows& rows, uint64_t tokens) {
  if (rows.weight.data == nullptr) return 0;
  return static_cast<unsigned>((tokens < rows.x.rows ? tokens : rows.x.rows) * rows.x.columns *
                               element_bytes(rows.x.element));
}

// The tokens of a block of kThreads threads: normed in shared memory, rounded as they would be
// between two operators, or as they lie where there is no norm. All threads of the block call it.
template <unsigned kThreads>
__device__ inline ProductRows product_rows(const NormedRows& rows, bool x_is_aligned,
                                           TokenRange tokens) {
  if (rows.weight.data == nullptr) return {rows.x, x_is_aligned, tokens};
  Matrix normed = rows.x;
  normed.data = dynamic_shared();
  for (uint64_t t = 0; t < tokens.count; ++t) {
    norm_row<kThreads>(rows.x, tokens.first + t, rows.weight, rows.offset, rows.eps,
                       [&](uint64_t d, float value) {
                         store(normed.data, normed.element, t * normed.columns + d, value);
                       });
  }
  __syncthreads();
  return {normed, normed.columns % 8 == 0, {0, tokens.count}};
}

}  // namespace rt::cuda
