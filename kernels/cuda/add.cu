#include "kernels/cuda/add.h"

#include "kernels/cuda/launch.h"
#include "kernels/cuda/number.h"

namespace rt::cuda {
namespace {

constexpr unsigned kThreads = 256;

// grid [count / 256], block 256, no shared memory. Moves 3 count elements; bound by latency in
// decode, by bandwidth in prefill.
__global__ void __launch_bounds__(kThreads) add_elements(Matrix a, Matrix b, Matrix out) {
  after_previous();
  const uint64_t i = static_cast<uint64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= out.rows * out.columns) return;
  store(out.data, out.element, i, load(a.data, a.element, i) + load(b.data, b.element, i));
}

}  // namespace

void add(const Matrix& a, const Matrix& b, const Matrix& out, void* stream) {
  const uint64_t count = out.rows * out.columns;
  if (count == 0) return;
  launch(add_elements, dim3(divide_up(count, kThreads)), kThreads, 0, stream, a, b, out);
}

}  // namespace rt::cuda
