// out = a + b.
#pragma once

#include "kernels/cuda/element.h"

namespace rt::cuda {

void add(const Matrix& a, const Matrix& b, const Matrix& out, void* stream);

}  // namespace rt::cuda
