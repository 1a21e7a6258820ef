#include <stdint.h>

#include "kernels/cuda/launch.h"
#include "kernels/cuda/linear.h"
#include "kernels/cuda/mma_tile.h"

namespace rt::cuda {
namespace {

// grid [N / columns, T / rows of the tile], block 128, three stages of 16 or 24 KiB. Moves
// T N K (1/128 + 1/128) elements through L2 in large tiles. For 128 x 128 x 32 products sm_90 takes
// 256 cycles of shared memory (32 KiB) and 256 to 400 of tensor cores, which mma.sync does not
// fill there.
template <class T, class Tile>
__global__ void __launch_bounds__(kMmaThreads)
    linear_mma_tiles(Matrix x, Matrix weight, Matrix out) {
  after_previous();
  auto* const stages = static_cast<MmaStage<T, Tile>*>(dynamic_shared());
  DenseWeight<T, Tile> rows(weight, static_cast<uint64_t>(blockIdx.x) * Tile::kColumns);
  multiply_tile(x, rows, out, stages);
}

template <class T, class Tile>
void launch_tiles(const Matrix& x, const Matrix& weight, const Matrix& out, void* stream) {
  launch(linear_mma_tiles<T, Tile>, tile_grid<Tile>(x, weight.rows), kMmaThreads,
         kMmaStages * sizeof(MmaStage<T, Tile>), stream, x, weight, out);
}

template <class T>
void launch_values(const Matrix& x, const Matrix& weight, const Matrix& out, void* stream) {
  if (takes_large_tiles(x, weight.rows)) {
    return launch_tiles<T, LargeTile>(x, weight, out, stream);
  }
  launch_tiles<T, SmallTile>(x, weight, out, stream);
}

}  // namespace

void linear_mma(const Matrix& x, const Matrix& weight, const Matrix& out, void* stream) {
  if (x.rows == 0) return;
  if (x.element == Element::kBf16) return launch_values<Bf16>(x, weight, out, stream);
  launch_values<F16>(x, weight, out, stream);
}

}  // namespace rt::cuda
