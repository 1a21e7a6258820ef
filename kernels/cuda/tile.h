// A 64 x 64 tile of a matrix product in f32, for prefill without tensor cores: exact mode, and
// types that tensor cores do not take.
#pragma once

#include "kernels/cuda/number.h"

namespace rt::cuda {

constexpr unsigned kTileThreads = 256;
constexpr unsigned kTileRows = 64;     // of x, and of the weight
constexpr unsigned kTileColumns = 16;  // of K at a time

// f32[16][64] of x and of one weight; 4 columns more than needed, so that the 64 threads that store
// one row of a tile do not meet in one bank.
struct Tile {
  float values[kTileColumns][kTileRows + 4];
};

// Rows [first, first + 64) and columns [k, k + 16) of `m`; what is outside is 0. 4 elements for
// each thread.
__device__ inline void load_tile(const Matrix& m, uint64_t first, uint64_t k, Tile& tile) {
  const unsigned row = threadIdx.x / 4;
  const unsigned column = threadIdx.x % 4 * 4;
  for (unsigned i = 0; i < 4; ++i) {
    const bool inside = first + row < m.rows && k + column + i < m.columns;
    tile.values[column + i][row] =
        inside ? load(m.data, m.element, (first + row) * m.columns + k + column + i) : 0.0f;
  }
}

// sums[i][j] += x[4 (tid / 16) + i] . weight[4 (tid % 16) + j] over the columns of the tiles.
__device__ inline void multiply_tiles(const Tile& x, const Tile& weight, float (&sums)[4][4]) {
  const unsigned row = threadIdx.x / 16 * 4;
  const unsigned column = threadIdx.x % 16 * 4;
  for (unsigned k = 0; k < kTileColumns; ++k) {
    for (unsigned i = 0; i < 4; ++i) {
      for (unsigned j = 0; j < 4; ++j) {
        sums[i][j] = fmaf(x.values[k][row + i], weight.values[k][column + j], sums[i][j]);
      }
    }
  }
}

}  // namespace rt::cuda
