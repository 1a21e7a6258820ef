#include <stdint.h>

#include "kernels/cuda/launch.h"
#include "kernels/cuda/linear.h"
#include "kernels/cuda/tile.h"

namespace rt::cuda {
namespace {

// grid [N / 64, T / 64], block 256, 8.5 KiB of shared memory. Moves T N K (1/64 + 1/64) elements
// through L2; bound by f32 arithmetic: 16 multiply-adds for 8 reads of shared memory.
__global__ void __launch_bounds__(kTileThreads) linear_tiles(Matrix x, Matrix weight, Matrix out) {
  __shared__ Tile x_tile;
  __shared__ Tile weight_tile;
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

}  // namespace

void linear_tiled(const Matrix& x, const Matrix& weight, const Matrix& out, void* stream) {
  if (x.rows == 0) return;
  const dim3 grid(divide_up(weight.rows, kTileRows), divide_up(x.rows, kTileRows));
  launch(linear_tiles, grid, kTileThreads, 0, stream, x, weight, out);
}

}  // namespace rt::cuda
