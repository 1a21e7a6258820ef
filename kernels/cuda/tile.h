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

__device__ inline float element_at(const Matrix& m, uint64_t row, uint64_t column) {
  return load(m.data, m.element, row * m.columns + column);
}

// Rows [first, first + 64) and columns [k, k + 16) of `m`, a Matrix or what else has an
// element_at; what is outside is 0. 4 elements for
// each thread.
template <class Source>
__device__ inline void load_tile(const Source& m, uint64_t first, uint64_t k, Tile& tile) {
  const unsigned row = threadIdx.x / 4;
  const unsigned column = threadIdx.x % 4 * 4;
  for (unsigned i = 0; i < 4; ++i) {
    const bool inside = first + row < m.rows && k + column + i < m.columns;
    tile.values[column + i][row] = inside ? element_at(m, first + row, k + column + i) : 0.0f;
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

// The block's tile of out = x . weight.
template <class Weight>
__device__ inline void multiply_by_tiles(const Matrix& x, const Weight& weight, const Matrix& out,
                                         Tile& x_tile, Tile& weight_tile) {
  const uint64_t first_row = static_cast<uint64_t>(blockIdx.y) * kTileRows;
  const uint64_t first_column = static_cast<uint64_t>(blockIdx.x) * kTileRows;
  float sums[4][4] = {};
  for (uint64_t k = 0; k < x.columns; k += kTileColumns) {
    load_tile(x, first_row, k, x_tile);
    load_tile(weight, first_column, k, weight_tile);
    __syncthreads();
    multiply_tiles(x_tile, weight_tile, sums);
    __syncthreads();
  }
  for (unsigned i = 0; i < 4; ++i) {
    const uint64_t row = first_row + threadIdx.x / 16 * 4 + i;
    for (unsigned j = 0; j < 4; ++j) {
      const uint64_t column = first_column + threadIdx.x % 16 * 4 + j;
      if (row < out.rows && column < out.columns) {
        store(out.data, out.element, row * out.columns + column, sums[i][j]);
      }
    }
  }
}

}  // namespace rt::cuda
