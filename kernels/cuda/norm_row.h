// One row divided by its root mean square, by a whole block: the same bits wherever it is done.
#pragma once

#include "kernels/cuda/number.h"
#include "kernels/cuda/reduce.h"

namespace rt::cuda {

// finish(d, x[row, d] / rms * (offset + weight[d])) for every d, in f32. Blocks of kThreads
// threads, all of which call it. The second read of x comes from L1: a row is at most some 28 KiB.
template <unsigned kThreads, class Finish>
__device__ inline void norm_row(const Matrix& x, uint64_t row, const Matrix& weight, float offset,
                                float eps, Finish&& finish) {
  const uint64_t begin = row * x.columns;
  float squares = 0;
  for (uint64_t d = threadIdx.x; d < x.columns; d += kThreads) {
    const float value = load(x.data, x.element, begin + d);
    squares = fmaf(value, value, squares);
  }
  const float mean = block_sum<float, kThreads>(squares) / static_cast<float>(x.columns);
  const float inverse = 1.0f / sqrtf(mean + eps);
  for (uint64_t d = threadIdx.x; d < x.columns; d += kThreads) {
    const float value = load(x.data, x.element, begin + d);
    const float scale = offset + load(weight.data, weight.element, d);
    finish(d, value * inverse * scale);
  }
}

}  // namespace rt::cuda
