// A 128 x 128 tile of a matrix product on tensor cores, for prefill, with weights of any type: a
// dense one flows into shared memory behind the threads' backs, a quantized one passes through
// registers.
#pragma once

#include <stdint.h>

#include "kernels/cuda/launch.h"
#include "kernels/cuda/mma.h"

namespace rt::cuda {

constexpr unsigned kMmaThreads = 256;
constexpr unsigned kMmaBlock = 128;  // rows of x, and of the weight
constexpr unsigned kMmaDepth = 32;   // of K at a time
// 40 halves from row to row: the eight rows of 16 bytes of a tile meet 32 banks.
constexpr unsigned kMmaStride = kMmaDepth + 8;
constexpr unsigned kMmaWarpRows = 64;  // of the tile of a warp: 2 x 4 warps
constexpr unsigned kMmaWarpColumns = 32;

template <class T>
struct MmaStage {
  alignas(16) T x[kMmaBlock * kMmaStride];
  alignas(16) T weight[kMmaBlock * kMmaStride];
};

// Rows [first, first + 128), columns [k, k + 32) of `m`: 512 pieces of 16 bytes, 2 for each thread.
template <class T>
__device__ inline void load_mma_block(const Matrix& m, uint64_t first, uint64_t k, T* to) {
  for (unsigned piece = threadIdx.x; piece < kMmaBlock * kMmaDepth / 8; piece += kMmaThreads) {
    const unsigned row = piece / (kMmaDepth / 8);
    const unsigned column = piece % (kMmaDepth / 8) * 8;
    const bool present = first + row < m.rows && k + column < m.columns;
    const uint64_t from = present ? (first + row) * m.columns + k + column : 0;
    copy16_async(to + row * kMmaStride + column, static_cast<const T*>(m.data) + from, present);
  }
}

// One warp's 64 x 32 tile over 16 of K: 4 x 4 products of tensor cores for 6 loads.
template <class T>
__device__ inline void multiply_mma(const MmaStage<T>& stage, unsigned k, unsigned row,
                                    unsigned column, float (&sums)[4][4][4]) {
  const unsigned lane = threadIdx.x % kWarp;
  uint32_t b[2][4];  // of 16 columns each
  RT_UNROLL
  for (unsigned j = 0; j < 2; ++j) {
    const unsigned n = column + 16 * j + lane / 16 * 8 + lane % 8;
    load_matrices(stage.weight + n * kMmaStride + k + lane / 8 % 2 * 8, b[j]);
  }
  RT_UNROLL
  for (unsigned i = 0; i < 4; ++i) {
    uint32_t a[4];
    load_matrices(stage.x + (row + 16 * i + lane % 16) * kMmaStride + k + lane / 16 * 8, a);
    RT_UNROLL
    for (unsigned j = 0; j < 4; ++j) {
      mma<T>(sums[i][j], a, {b[j / 2][j % 2 * 2], b[j / 2][j % 2 * 2 + 1]});
    }
  }
}

template <class Weight>
__device__ inline void store_sums(const Matrix& out, const Weight& weight, uint64_t row,
                                  uint64_t column, const float (&sums)[4][4][4]) {
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
          store(out.data, out.element, r * out.columns + n, weight.finished(n, sums[i][j][c]));
        }
      }
    }
  }
}

// The weight of a product, block by block; so for one that is dense, of x's type:
//   begin(k, stage)  asks for columns [k, k + 32) of the block's rows
//   finish(stage)    what was asked for goes to the stage, if it is not on its way by itself
//   finished(n, sum) column n of the result
template <class T>
struct DenseBlock {
  Matrix weight;
  uint64_t first_row;

  __device__ void begin(uint64_t k, MmaStage<T>& stage) {
    load_mma_block(weight, first_row, k, stage.weight);
  }
  __device__ void finish(MmaStage<T>&) {}
  __device__ float finished(uint64_t, float sum) const { return sum; }
};

// The block's tile of out, in `steps` of 32 columns through two stages.
template <class T, class Weight>
__device__ inline void multiply_blocks(const Matrix& x, Weight& weight, const Matrix& out,
                                       unsigned steps, MmaStage<T> (&stages)[2]) {
  const uint64_t first_row = static_cast<uint64_t>(blockIdx.y) * kMmaBlock;
  const uint64_t first_column = static_cast<uint64_t>(blockIdx.x) * kMmaBlock;
  const unsigned warp = threadIdx.x / kWarp;
  const unsigned row = warp / 4 * kMmaWarpRows;
  const unsigned column = warp % 4 * kMmaWarpColumns;
  float sums[4][4][4] = {};
  load_mma_block(x, first_row, 0, stages[0].x);
  weight.begin(0, stages[0]);
  weight.finish(stages[0]);
  copies_begin_group();
  for (unsigned step = 0; step < steps; ++step) {
    MmaStage<T>& next = stages[(step + 1) % 2];
    if (step + 1 < steps) {
      const uint64_t k = static_cast<uint64_t>(step + 1) * kMmaDepth;
      load_mma_block(x, first_row, k, next.x);
      weight.begin(k, next);
    }
    copies_begin_group();
    copies_wait<1>();  // this step's stage is here, the next one's may be on its way
    __syncthreads();
    RT_UNROLL
    for (unsigned k = 0; k < kMmaDepth; k += 16) {
      multiply_mma(stages[step % 2], k, row, column, sums);
    }
    if (step + 1 < steps) weight.finish(next);
    __syncthreads();
  }
  store_sums(out, weight, first_row + row, first_column + column, sums);
}

}  // namespace rt::cuda
