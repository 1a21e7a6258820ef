// Rows of a table, one per token: out[t, d] = scale * table[ids[t], d]. An id outside the table
// gives a row of NaN: a kernel cannot refuse, and what the sampler makes of NaN names the mistake.
#pragma once

#include "kernels/cuda/element.h"
#include "kernels/cuda/quantized_matrix.h"

namespace rt::cuda {

// ids i32[T] in device memory, table [V, D], out [T, D].
void embedding(const int32_t* ids, const Matrix& table, float scale, const Matrix& out,
               void* stream);
void embedding(const int32_t* ids, const QuantizedMatrix& table, float scale, const Matrix& out,
               void* stream);

}  // namespace rt::cuda
