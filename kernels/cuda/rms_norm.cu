#include "kernels/cuda/rms_norm.h"

#include "kernels/cuda/launch.h"
#include "kernels/cuda/norm_row.h"

namespace rt::cuda {
namespace {

constexpr unsigned kThreads = 256;

// grid [rows], block 256, 32 bytes of shared memory. Moves 2 rows D elements (3 with a residual)
// and D of the weight; bound by latency in decode, by bandwidth in prefill.
__global__ void __launch_bounds__(kThreads)
    rms_norm_rows(NormedRows rows, Matrix residual, Matrix out) {
  after_previous();
  const uint64_t begin = static_cast<uint64_t>(blockIdx.x) * out.columns;
  norm_row<kThreads>(rows.x, blockIdx.x, rows.weight, rows.offset, rows.eps,
                     [&](uint64_t d, float value) { store_sum(out, residual, begin + d, value); });
}

}  // namespace

void rms_norm(const NormedRows& rows, const Matrix& residual, const Matrix& out, void* stream) {
  if (rows.x.rows == 0) return;
  launch(rms_norm_rows, dim3(static_cast<unsigned>(rows.x.rows)), kThreads, 0, stream, rows,
         residual, out);
}

}  // namespace rt::cuda
