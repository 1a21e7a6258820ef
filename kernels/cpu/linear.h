// Matrix products with weights as they lie in a file: out[t, n] = sum over k of x[t, k] * w[n, k].
//
// Sums are f32 and their order depends on K alone, so an element of the result has the same bits
// whatever the other rows, the range [begin, end) and the number of threads are:
//
//   K is cut into runs of kLinearRun. A run is summed in 8 lanes (lane j takes k = j mod 8, in
//   order, from zero), the lanes as ((0+4)+(1+5)) + ((2+6)+(3+7)), the runs' sums in order.
//
// `avx2` fuses the product into the sum, `portable` rounds it first: their bits differ.
#pragma once

#include <stdint.h>

#include "kernels/cpu/number.h"

namespace rt::cpu {

constexpr uint64_t kLinearRun = 256;

// A weight [N, K], row-major, dense, aligned to its element or not at all.
struct Matrix {
  const void* data;
  Element element;
  uint64_t columns;  // K
};

// x f32[T, K]. Computes columns [begin, end) of the result; `out` is where column `begin` of row 0
// goes, and rows are `stride` apart.
using LinearKernel = void (*)(const float* x, uint64_t tokens, const Matrix& weight,
                              uint64_t begin, uint64_t end, float* out, uint64_t stride);

void linear_portable(const float* x, uint64_t tokens, const Matrix& weight, uint64_t begin,
                     uint64_t end, float* out, uint64_t stride);
void linear_avx2(const float* x, uint64_t tokens, const Matrix& weight, uint64_t begin,
                 uint64_t end, float* out, uint64_t stride);

}  // namespace rt::cpu
