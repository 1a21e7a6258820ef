// out[r, d] = x[r, d] / sqrt(mean over d of x[r]^2 + eps) * (offset + weight[d]), plus residual[r,
// d] where there is one.
#pragma once

#include "kernels/cuda/normed.h"

namespace rt::cuda {

void rms_norm(const NormedRows& rows, const Matrix& residual, const Matrix& out, void* stream);

}  // namespace rt::cuda
