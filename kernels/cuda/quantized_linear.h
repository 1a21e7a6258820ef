// out[r, n] = sum over k of x[r, k] * weight[n, k] with a quantized weight, three ways, as linear.h
// has them for dense ones. Sums are f32 and their order depends on K alone.
#pragma once

#include "kernels/cuda/element.h"
#include "kernels/cuda/mlp.h"
#include "kernels/cuda/quantized_matrix.h"
#include "kernels/cuda/value_order.h"

namespace rt::cuda {

// For a few rows of x: reads the weight once for every eight of them. Weights are not rounded.
void quantized_linear_vector(const Matrix& x, const QuantizedMatrix& weight, const Matrix& out,
                             void* stream);

// The same and residual[r, n] added, in the bits that two kernels would give; x lies in `order`.
void quantized_linear_add_vector(const Matrix& x, ValueOrder order, const QuantizedMatrix& weight,
                                 const Matrix& residual, const Matrix& out, void* stream);

// The order in which values of f32 meet a weight fastest; rows are ordered_columns(K) apart then.
ValueOrder order_for(const QuantizedMatrix& weight);

struct Hidden {
  Matrix values;  // [T, F]
  ValueOrder order;
};

// hidden = act(gate x) * (up x); gate and up of one type.
void quantized_gate_up_vector(const Matrix& x, const QuantizedMatrix& gate,
                              const QuantizedMatrix& up, Activation activation,
                              const Matrix& hidden, void* stream);

void quantized_normed_gate_up_vector(const NormedRows& rows, const QuantizedMatrix& gate,
                                     const QuantizedMatrix& up, Activation activation,
                                     const Hidden& hidden, const Arrivals& arrivals, void* stream);

// For many rows, any width, in f32 without tensor cores.
void quantized_linear_tiled(const Matrix& x, const QuantizedMatrix& weight, const Matrix& out,
                            void* stream);

// For many rows on tensor cores: x bf16 or f16, K divisible by 32. Weights of nf4 are rounded to
// x's type; codes of int8 are exact in it, and their scales enter at the end.
void quantized_linear_mma(const Matrix& x, const QuantizedMatrix& weight, const Matrix& out,
                          void* stream);

}  // namespace rt::cuda
