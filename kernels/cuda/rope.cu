#include "kernels/cuda/rope.h"

#include "kernels/cuda/launch.h"
#include "kernels/cuda/number.h"

namespace rt::cuda {
namespace {

constexpr unsigned kThreads = 256;

// grid [T], block 256, no shared memory. Moves 2 T H E elements; bound by latency in decode.
// Products are not fused, so that the bits are those of the CPU.
__global__ void __launch_bounds__(kThreads)
    rope_rows(Matrix x, uint64_t head_width, const float* cos, const float* sin, Matrix out) {
  after_previous();
  const uint64_t t = blockIdx.x;
  const uint64_t half = head_width / 2;
  for (uint64_t i = threadIdx.x; i < x.columns / 2; i += kThreads) {
    const uint64_t j = i % half;
    const uint64_t at = t * x.columns + i / half * head_width + j;
    const float c = cos[t * half + j];
    const float s = sin[t * half + j];
    const float low = load(x.data, x.element, at);
    const float high = load(x.data, x.element, at + half);
    store(out.data, out.element, at, low * c - high * s);
    store(out.data, out.element, at + half, high * c + low * s);
  }
}

}  // namespace

void rope(const Matrix& x, uint64_t head_width, const float* cos, const float* sin,
          const Matrix& out, void* stream) {
  if (x.rows == 0) return;
  launch(rope_rows, dim3(static_cast<unsigned>(x.rows)), kThreads, 0, stream, x, head_width, cos,
         sin, out);
}

}  // namespace rt::cuda
