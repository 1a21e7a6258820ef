#include "kernels/cuda/rms_norm.h"

#include "kernels/cuda/launch.h"
#include "kernels/cuda/norm_row.h"

namespace rt::cuda {
namespace {

constexpr unsigned kThreads = 256;

// grid [rows], block 256, 32 bytes of shared memory. Moves 2 rows D elements (3 with a residual)
// and D of the weight; bound by latency in decode, by bandwidth in prefill.
__global__ void __launch_bounds__(kThreads)
    rms_norm_rows(NormedRows rows, Matrix residual, Matrix out, bool out_is_aligned) {
  fetch_norm<kThreads>(rows);
  after_previous();
  const uint64_t begin = static_cast<uint64_t>(blockIdx.x) * out.columns;
  const uint64_t end = begin + out.columns;
  norm_row<kThreads>(rows, blockIdx.x, [&](uint64_t d, float* y) {
    if (residual.data != nullptr) {
      float other[8];
      load8(residual.data, residual.element, begin + d, end, out_is_aligned, other);
      RT_UNROLL
      for (int i = 0; i < 8; ++i) y[i] = other[i] + rounded(y[i], out.element);
    }
    store8(out.data, out.element, begin + d, end, out_is_aligned, y);
  });
}

}  // namespace

void rms_norm(const NormedRows& rows, const Matrix& residual, const Matrix& out, void* stream) {
  if (rows.x.rows == 0) return;
  launch(rms_norm_rows, dim3(static_cast<unsigned>(rows.x.rows)), kThreads, 0, stream, rows,
         residual, out, rows_aligned(out) && (residual.data == nullptr || rows_aligned(residual)));
}

}  // namespace rt::cuda
