#include <stdint.h>

#include "kernels/cuda/launch.h"
#include "kernels/cuda/linear.h"
#include "kernels/cuda/mma.h"

namespace rt::cuda {
namespace {

constexpr unsigned kThreads = 256;
constexpr unsigned kBlock = 128;  // rows of x, and of the weight
constexpr unsigned kDepth = 32;   // of K at a time
// 40 halves from row to row: the 32 lanes of a fragment load (8 rows, 4 words) meet 32 banks.
constexpr unsigned kStride = kDepth + 8;
constexpr unsigned kWarpRows = 64;  // of the tile of a warp: 2 x 4 warps
constexpr unsigned kWarpColumns = 32;

template <class T>
struct Stage {
  alignas(16) T x[kBlock * kStride];
  alignas(16) T weight[kBlock * kStride];
};

// Rows [first, first + 128), columns [k, k + 32) of `m`: 512 pieces of 16 bytes, 2 for each thread.
template <class T>
__device__ void load_block(const Matrix& m, uint64_t first, uint64_t k, T* to) {
  for (unsigned piece = threadIdx.x; piece < kBlock * kDepth / 8; piece += kThreads) {
    const unsigned row = piece / (kDepth / 8);
    const unsigned column = piece % (kDepth / 8) * 8;
    const bool present = first + row < m.rows && k + column < m.columns;
    const uint64_t from = present ? (first + row) * m.columns + k + column : 0;
    copy16_async(to + row * kStride + column, static_cast<const T*>(m.data) + from, present);
  }
}

template <class T>
__device__ uint32_t pair_at(const T* block, unsigned row, unsigned column) {
  return *reinterpret_cast<const uint32_t*>(block + row * kStride + column);
}

// One warp's 64 x 32 tile over 16 of K: 4 x 4 products of tensor cores for 24 loads.
template <class T>
__device__ void multiply(const Stage<T>& stage, unsigned k, unsigned row, unsigned column,
                         float (&sums)[4][4][4]) {
  const unsigned g = threadIdx.x % kWarp / 4;
  const unsigned q = threadIdx.x % 4;
  uint32_t b[4][2];
  RT_UNROLL
  for (unsigned j = 0; j < 4; ++j) {
    RT_UNROLL
    for (unsigned half = 0; half < 2; ++half) {
      b[j][half] = pair_at(stage.weight, column + 8 * j + g, k + 8 * half + 2 * q);
    }
  }
  RT_UNROLL
  for (unsigned i = 0; i < 4; ++i) {
    uint32_t a[4];
    RT_UNROLL
    for (unsigned part = 0; part < 4; ++part) {
      a[part] = pair_at(stage.x, row + 16 * i + part % 2 * 8 + g, k + part / 2 * 8 + 2 * q);
    }
    RT_UNROLL
    for (unsigned j = 0; j < 4; ++j) mma<T>(sums[i][j], a, b[j]);
  }
}

__device__ inline void store_sums(const Matrix& out, uint64_t row, uint64_t column,
                                  const float (&sums)[4][4][4]) {
  const unsigned g = threadIdx.x % kWarp / 4;
  const unsigned q = threadIdx.x % 4;
  RT_UNROLL
  for (unsigned i = 0; i < 4; ++i) {
    RT_UNROLL
    for (unsigned j = 0; j < 4; ++j) {
      RT_UNROLL
      for (unsigned c = 0; c < 4; ++c) {
        const uint64_t r = row + 16 * i + c / 2 * 8 + g;
        const uint64_t n = column + 8 * j + 2 * q + c % 2;
        if (r < out.rows && n < out.columns) {
          store(out.data, out.element, r * out.columns + n, sums[i][j][c]);
        }
      }
    }
  }
}

// grid [N / 128, T / 128], block 256, 40 KiB of shared memory in two stages. Moves T N K (1/128 +
// 1/128) elements through L2; bound by tensor cores: 24 shared loads for 16 products, 24 cycles of
// the one beside 25 of the other on sm_90.
template <class T>
__global__ void __launch_bounds__(kThreads)
    linear_mma_tiles(Matrix x, Matrix weight, Matrix out, unsigned steps) {
  __shared__ Stage<T> stages[2];
  const uint64_t first_row = static_cast<uint64_t>(blockIdx.y) * kBlock;
  const uint64_t first_column = static_cast<uint64_t>(blockIdx.x) * kBlock;
  const unsigned warp = threadIdx.x / kWarp;
  const unsigned row = warp / 4 * kWarpRows;
  const unsigned column = warp % 4 * kWarpColumns;
  float sums[4][4][4] = {};
  load_block(x, first_row, 0, stages[0].x);
  load_block(weight, first_column, 0, stages[0].weight);
  copies_begin_group();
  for (unsigned step = 0; step < steps; ++step) {
    if (step + 1 < steps) {
      Stage<T>& next = stages[(step + 1) % 2];
      const uint64_t k = static_cast<uint64_t>(step + 1) * kDepth;
      load_block(x, first_row, k, next.x);
      load_block(weight, first_column, k, next.weight);
    }
    copies_begin_group();
    copies_wait<1>();  // this step's stage is here, the next one's may be on its way
    __syncthreads();
    RT_UNROLL
    for (unsigned k = 0; k < kDepth; k += 16) {
      multiply(stages[step % 2], k, row, column, sums);
    }
    __syncthreads();
  }
  store_sums(out, first_row + row, first_column + column, sums);
}

}  // namespace

void linear_mma(const Matrix& x, const Matrix& weight, const Matrix& out, void* stream) {
  if (x.rows == 0) return;
  const dim3 grid(divide_up(weight.rows, kBlock), divide_up(x.rows, kBlock));
  const auto kernel = x.element == Element::kBf16 ? linear_mma_tiles<Bf16> : linear_mma_tiles<F16>;
  launch(kernel, grid, kThreads, 0, stream, x, weight, out, divide_up(x.columns, kDepth));
}

}  // namespace rt::cuda
