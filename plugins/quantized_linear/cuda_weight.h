// Products with weights of any type.
#pragma once

#include "kernels/cuda/linear.h"
#include "kernels/cuda/quantized_linear.h"
#include "plugins/cuda_quantized.h"

namespace rt::cuda {

using DenseKernel = void (*)(const Matrix&, const Matrix&, const Matrix&, void*);
using QuantizedKernel = void (*)(const Matrix&, const QuantizedMatrix&, const Matrix&, void*);

// x [T, K] by w [N, K] of any type.
template <QuantizedKernel quantized, DenseKernel dense>
void multiply(const Matrix& x, const rt_tensor& w, const Matrix& out, void* stream) {
  if (sdk::weight_is_quantized(w.dtype)) return quantized(x, quantized_matrix(w), out, stream);
  dense(x, matrix(w), out, stream);
}

}  // namespace rt::cuda
