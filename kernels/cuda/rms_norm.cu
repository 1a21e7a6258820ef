#include "kernels/cuda/rms_norm.h"

#include "kernels/cuda/launch.h"
#include "kernels/cuda/number.h"
#include "kernels/cuda/reduce.h"

namespace rt::cuda {
namespace {

constexpr unsigned kThreads = 256;

// grid [rows], block 256, 32 bytes of shared memory. Moves 2 rows D elements and D of the weight
// (the second read of x comes from L1: a row is at most some 28 KiB); bound by latency in decode,
// by bandwidth in prefill.
__global__ void __launch_bounds__(kThreads)
    rms_norm_rows(Matrix x, Matrix weight, float offset, float eps, Matrix out) {
  const uint64_t row = static_cast<uint64_t>(blockIdx.x) * x.columns;
  float squares = 0;
  for (uint64_t d = threadIdx.x; d < x.columns; d += kThreads) {
    const float value = load(x.data, x.element, row + d);
    squares = fmaf(value, value, squares);
  }
  const float mean = block_sum<float, kThreads>(squares) / static_cast<float>(x.columns);
  const float inverse = 1.0f / sqrtf(mean + eps);
  for (uint64_t d = threadIdx.x; d < x.columns; d += kThreads) {
    const float value = load(x.data, x.element, row + d);
    const float scale = offset + load(weight.data, weight.element, d);
    store(out.data, out.element, row + d, value * inverse * scale);
  }
}

}  // namespace

void rms_norm(const Matrix& x, const Matrix& weight, float offset, float eps, const Matrix& out,
              void* stream) {
  if (x.rows == 0) return;
  launch(rms_norm_rows, dim3(static_cast<unsigned>(x.rows)), kThreads, 0, stream, x, weight, offset,
         eps, out);
}

}  // namespace rt::cuda
