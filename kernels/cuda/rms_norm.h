// out = x / sqrt(mean(x^2) + eps) * (offset + weight), per row.
#pragma once

#include "kernels/cuda/element.h"

namespace rt::cuda {

// x and out [rows, D], weight [D].
void rms_norm(const Matrix& x, const Matrix& weight, float offset, float eps, const Matrix& out,
              void* stream);

}  // namespace rt::cuda
