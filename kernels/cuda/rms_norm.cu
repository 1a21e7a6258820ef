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
  norm_add_row<kThreads>(rows, blockIdx.x, residual, out, out_is_aligned);
}

}  // namespace

void rms_norm(const NormedRows& rows, const Matrix& residual, const Matrix& out, void* stream) {
  if (rows.x.rows == 0) return;
  launch(rms_norm_rows, dim3(static_cast<unsigned>(rows.x.rows)), kThreads, 0, stream, rows,
         residual, out, rows_aligned(out) && (residual.data == nullptr || rows_aligned(residual)));
}

}  // namespace rt::cuda
