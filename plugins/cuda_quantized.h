// A quantized weight of a node as CUDA kernels want it.
#pragma once

#include <cstddef>

#include "core/sdk/weight_format.hpp"
#include "kernels/cuda/linear.h"
#include "kernels/cuda/norm_after.h"
#include "kernels/cuda/quantized_linear.h"
#include "plugins/cuda_operator.h"

namespace rt::cuda {

static_assert(static_cast<rt_dtype>(Codes::kInt8) == RT_W_INT8);
static_assert(static_cast<rt_dtype>(Codes::kNf4) == RT_W_NF4);
static_assert(static_cast<rt_dtype>(Codes::kNf4Dq) == RT_W_NF4_DQ);
static_assert(std::equal(std::begin(kNf4Codebook.values), std::end(kNf4Codebook.values),
                         std::begin(sdk::kNf4)));
static_assert(kNestedScales == sdk::kNestedBlock && kInt8Step == sdk::kInt8Step);
static_assert(sizeof(NestedHeader) == sizeof(sdk::WeightHeader));
static_assert(offsetof(NestedHeader, phase) == offsetof(sdk::WeightHeader, phase));

// Addresses only: nothing is read, it lies on the device.
inline QuantizedMatrix quantized_matrix(const rt_tensor& w) {
  const sdk::WeightFormat format = sdk::weight_format(
      w.dtype, static_cast<std::uint64_t>(w.shape[0]), static_cast<std::uint64_t>(w.shape[1]));
  const auto* base = static_cast<const unsigned char*>(w.data);
  return {static_cast<Codes>(w.dtype),
          format.rows,
          format.columns,
          format.block,
          format.row_scales,
          format.row_code_bytes,
          base + format.codes_offset,
          base + format.scales_offset,
          reinterpret_cast<const float*>(base + format.map_offset),
          reinterpret_cast<const float*>(base + format.nested_offset),
          reinterpret_cast<const NestedHeader*>(base)};
}

// Decode's product of x [T, K] with w [N, K] of any type, and a residual where its data is not
// NULL. x lies in `order`, which only values for a quantized weight may.
inline void multiply_add(const Matrix& x, ValueOrder order, const rt_tensor& w,
                         const Matrix& residual, const Matrix& out, void* stream) {
  if (dense(w.dtype)) return linear_add_vector(x, matrix(w), residual, out, stream);
  quantized_linear_add_vector(x, order, quantized_matrix(w), residual, out, stream);
}

// The same, and a norm and a residual after it.
inline void multiply_norm_add(const Matrix& x, ValueOrder order, const rt_tensor& w,
                              const NormAfter& after, void* stream) {
  if (dense(w.dtype)) return linear_norm_add(x, matrix(w), after, stream);
  quantized_linear_norm_add(x, order, quantized_matrix(w), after, stream);
}

}  // namespace rt::cuda
