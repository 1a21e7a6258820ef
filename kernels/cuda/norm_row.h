// One row divided by its root mean square, by a whole block: the same bits wherever it is done.
#pragma once

#include "kernels/cuda/normed.h"
#include "kernels/cuda/number.h"
#include "kernels/cuda/reduce.h"

namespace rt::cuda {

// The weight of a norm on its way to L2: read long ago or never, it would come last of what the
// norm waits for. May stand above after_previous().
template <unsigned kThreads>
__device__ inline void fetch_norm(const NormedRows& rows) {
#ifdef __CUDA_ARCH__
  const uint64_t bytes = rows.weight.columns * (rows.weight.element == Element::kF32 ? 4 : 2);
  for (uint64_t at = threadIdx.x * uint64_t{128}; at < bytes; at += kThreads * 128) {
    asm volatile("prefetch.global.L2 [%0];" ::"l"(static_cast<const char*>(rows.weight.data) + at));
  }
#else
  (void)rows;
#endif
}

// finish(d, y) for eight columns [d, d + 8) at a time, where y[i] is x[row, d + i] / rms * (offset
// + weight[d + i]) in f32 and anything beyond the last column. Blocks of kThreads threads, all of
// which call it. The second read of x comes from L1: a row is at most some 28 KiB.
template <unsigned kThreads, class Finish>
__device__ inline void norm_row(const NormedRows& rows, uint64_t row, Finish&& finish) {
  const Matrix& x = rows.x;
  const uint64_t begin = row * x.columns;
  const uint64_t end = begin + x.columns;
  float value[8];
  float squares = 0;
  for (uint64_t d = threadIdx.x * uint64_t{8}; d < x.columns; d += kThreads * 8) {
    load8(x.data, x.element, begin + d, end, rows.is_aligned, value);
    RT_UNROLL
    for (int i = 0; i < 8; ++i) squares = fmaf(value[i], value[i], squares);
  }
  const float mean = block_sum<float, kThreads>(squares) / static_cast<float>(x.columns);
  const float inverse = 1.0f / sqrtf(mean + rows.eps);
  for (uint64_t d = threadIdx.x * uint64_t{8}; d < x.columns; d += kThreads * 8) {
    float weight[8];
    load8(rows.weight.data, rows.weight.element, d, x.columns, rows.is_aligned, weight);
    load8(x.data, x.element, begin + d, end, rows.is_aligned, value);
    RT_UNROLL
    for (int i = 0; i < 8; ++i) value[i] = value[i] * inverse * (rows.offset + weight[i]);
    finish(d, value);
  }
}

}  // namespace rt::cuda
