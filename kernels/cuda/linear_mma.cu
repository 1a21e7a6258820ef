#include <stdint.h>

#include "kernels/cuda/launch.h"
#include "kernels/cuda/linear.h"
#include "kernels/cuda/mma_tile.h"

namespace rt::cuda {
namespace {

// grid [N / 128, T / 128], block 256, 40 KiB of shared memory in two stages. Moves T N K (1/128 +
// 1/128) elements through L2; bound by tensor cores: 3 KiB of shared memory for 16 products, 24
// cycles of the one beside 25 of the other on sm_90.
template <class T>
__global__ void __launch_bounds__(kMmaThreads)
    linear_mma_tiles(Matrix x, Matrix weight, Matrix out, unsigned steps) {
  after_previous();
  __shared__ MmaStage<T> stages[2];
  DenseBlock<T> block = {weight, static_cast<uint64_t>(blockIdx.x) * kMmaBlock};
  multiply_blocks(x, block, out, steps, stages);
}

}  // namespace

void linear_mma(const Matrix& x, const Matrix& weight, const Matrix& out, void* stream) {
  if (x.rows == 0) return;
  const dim3 grid(divide_up(weight.rows, kMmaBlock), divide_up(x.rows, kMmaBlock));
  const auto kernel = x.element == Element::kBf16 ? linear_mma_tiles<Bf16> : linear_mma_tiles<F16>;
  launch(kernel, grid, kMmaThreads, 0, stream, x, weight, out, divide_up(x.columns, kMmaDepth));
}

}  // namespace rt::cuda
