#include <stdint.h>

#include "kernels/cuda/launch.h"
#include "kernels/cuda/quantized_codes.h"
#include "kernels/cuda/quantized_linear.h"
#include "kernels/cuda/tile.h"

namespace rt::cuda {
namespace {

struct QuantizedSource {
  const QuantizedMatrix& weight;
  const SharedCodebook& book;
  uint64_t rows, columns;
};
__device__ inline float element_at(const QuantizedSource& source, uint64_t row, uint64_t column) {
  return value_at(source.weight, source.book, row, column);
}

// grid [N / 64, T / 64], block 256, 8.6 KiB of shared memory. As linear_tiles; a weight is widened
// once for 64 tokens.
__global__ void __launch_bounds__(kTileThreads, 2)
    quantized_linear_tiles(Matrix x, QuantizedMatrix weight, Matrix out, Codebook book) {
  __shared__ Tile x_tile;
  __shared__ Tile weight_tile;
  __shared__ SharedCodebook shared;
  fill(shared, book);
  __syncthreads();
  after_previous();
  const QuantizedSource source = {weight, shared, weight.rows, weight.columns};
  multiply_by_tiles(x, source, out, x_tile, weight_tile);
}

}  // namespace

void quantized_linear_tiled(const Matrix& x, const QuantizedMatrix& weight, const Matrix& out,
                            void* stream) {
  if (x.rows == 0) return;
  const dim3 grid(divide_up(weight.rows, kTileRows), divide_up(x.rows, kTileRows));
  launch(quantized_linear_tiles, grid, kTileThreads, 0, stream, x, weight, out, kNf4Codebook);
}

}  // namespace rt::cuda
