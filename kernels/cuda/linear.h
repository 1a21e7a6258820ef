// out[r, n] = sum over k of x[r, k] * weight[n, k], three ways. Sums are f32 and their order
// depends on K alone: a row gives the same bits alone and in a batch.
#pragma once

#include "kernels/cuda/element.h"

namespace rt::cuda {

// For a few rows of x: reads the weight once for every eight of them.
void linear_vector(const Matrix& x, const Matrix& weight, const Matrix& out, void* stream);

// The same and residual[r, n] added, in the bits that two kernels would give; the sum alone where
// the residual's data is NULL.
void linear_add_vector(const Matrix& x, const Matrix& weight, const Matrix& residual,
                       const Matrix& out, void* stream);

// For many rows, any types, in f32 without tensor cores.
void linear_tiled(const Matrix& x, const Matrix& weight, const Matrix& out, void* stream);

// For many rows on tensor cores; x and weight both bf16 or both f16.
void linear_mma(const Matrix& x, const Matrix& weight, const Matrix& out, void* stream);

}  // namespace rt::cuda
