#include "kernels/cuda/softcap.h"

#include "kernels/cuda/launch.h"
#include "kernels/cuda/number.h"

namespace rt::cuda {
namespace {

constexpr unsigned kThreads = 256;

// grid [count / 256], block 256, no shared memory. Moves 2 count elements; bound by latency:
// 256,000 logits are 1 MB, in L2 since the head wrote them.
__global__ void __launch_bounds__(kThreads) softcap_elements(Matrix x, float cap, Matrix out) {
  after_previous();
  const uint64_t i = static_cast<uint64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= out.rows * out.columns) return;
  store(out.data, out.element, i, cap * tanhf(load(x.data, x.element, i) / cap));
}

}  // namespace

void softcap(const Matrix& x, float cap, const Matrix& out, void* stream) {
  const uint64_t count = out.rows * out.columns;
  if (count == 0) return;
  launch(softcap_elements, dim3(divide_up(count, kThreads)), kThreads, 0, stream, x, cap, out);
}

}  // namespace rt::cuda
