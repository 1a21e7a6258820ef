// out[r] = x[rows[r]].
#pragma once

#include "kernels/cuda/element.h"

namespace rt::cuda {

// rows i32[R] in device memory; x [T, D], out [R, D] of one type.
void select_rows(const int32_t* rows, const Matrix& x, const Matrix& out, void* stream);

}  // namespace rt::cuda
