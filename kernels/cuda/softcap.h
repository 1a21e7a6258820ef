// out = cap * tanh(x / cap).
#pragma once

#include "kernels/cuda/element.h"

namespace rt::cuda {

void softcap(const Matrix& x, float cap, const Matrix& out, void* stream);

}  // namespace rt::cuda
