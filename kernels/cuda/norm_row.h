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
// which call it. The second read of x comes from L1: a row is at most some 28 KiB. kFromL2: x was
// written by this kernel's other blocks.
template <unsigned kThreads, bool kFromL2 = false, class Finish>
__device__ inline void norm_row(const NormedRows& rows, uint64_t row, Finish&& finish) {
  const Matrix& x = rows.x;
  const uint64_t begin = row * x.columns;
  const auto load_row8 = [&](uint64_t d, float* out) {
    if constexpr (kFromL2) {
      load8_from_l2(x.data, x.element, begin + d, begin + x.columns, rows.is_aligned, out);
    } else {
      load8(x.data, x.element, begin + d, begin + x.columns, rows.is_aligned, out);
    }
  };
  float value[8];
  float squares = 0;
  for (uint64_t d = threadIdx.x * uint64_t{8}; d < x.columns; d += kThreads * 8) {
    load_row8(d, value);
    RT_UNROLL
    for (int i = 0; i < 8; ++i) squares = fmaf(value[i], value[i], squares);
  }
  const float mean = block_sum<float, kThreads>(squares) / static_cast<float>(x.columns);
  const float inverse = 1.0f / sqrtf(mean + rows.eps);
  for (uint64_t d = threadIdx.x * uint64_t{8}; d < x.columns; d += kThreads * 8) {
    float weight[8];
    load8(rows.weight.data, rows.weight.element, d, x.columns, rows.is_aligned, weight);
    load_row8(d, value);
    RT_UNROLL
    for (int i = 0; i < 8; ++i) value[i] = value[i] * inverse * (rows.offset + weight[i]);
    finish(d, value);
  }
}

// The row normed and, where there is a residual, added to it; rounded between, as two operators
// would.
template <unsigned kThreads, bool kFromL2 = false>
__device__ inline void norm_add_row(const NormedRows& rows, uint64_t row, const Matrix& residual,
                                    const Matrix& out, bool out_is_aligned) {
  const uint64_t begin = row * out.columns;
  const uint64_t end = begin + out.columns;
  norm_row<kThreads, kFromL2>(rows, row, [&](uint64_t d, float* y) {
    if (residual.data != nullptr) {
      float other[8];
      load8(residual.data, residual.element, begin + d, end, out_is_aligned, other);
      RT_UNROLL
      for (int i = 0; i < 8; ++i) y[i] = other[i] + rounded(y[i], out.element);
    }
    store8(out.data, out.element, begin + d, end, out_is_aligned, y);
  });
}

}  // namespace rt::cuda
