// Quantized weights of a node as the kernels want them, and products with weights of any type.
#pragma once

#include <algorithm>
#include <cstring>

#include "kernels/cpu/linear.h"
#include "kernels/cpu/quantized_linear.h"
#include "plugins/cpu_operator.h"

namespace rt::cpu {

static_assert(static_cast<rt_dtype>(Codes::kInt8) == RT_W_INT8);
static_assert(static_cast<rt_dtype>(Codes::kNf4) == RT_W_NF4);
static_assert(static_cast<rt_dtype>(Codes::kNf4Dq) == RT_W_NF4_DQ);
static_assert(std::equal(std::begin(kNf4Values), std::end(kNf4Values), std::begin(sdk::kNf4)));
static_assert(kScaleBlock == sdk::kNf4Block && kNestedScales == sdk::kNestedBlock);
static_assert(kInt8Scale == sdk::kInt8Step);

inline sdk::WeightFormat format_of(const rt_tensor& w) {
  return sdk::weight_format(w.dtype, static_cast<std::uint64_t>(w.shape[0]),
                            static_cast<std::uint64_t>(w.shape[1]));
}

// At bind time, without data, for the sizes of workspaces; at a call with all of it.
inline QuantizedMatrix quantized_matrix(const rt_tensor& w) {
  const sdk::WeightFormat format = format_of(w);
  const auto* base = static_cast<const unsigned char*>(w.data);
  QuantizedMatrix matrix{};
  matrix.kind = static_cast<Codes>(w.dtype);
  matrix.columns = format.columns;
  matrix.block = format.block;
  matrix.row_scales = format.row_scales;
  matrix.row_bytes = format.row_code_bytes;
  if (base == nullptr) return matrix;
  matrix.codes = base + format.codes_offset;
  matrix.scales = base + format.scales_offset;
  if (w.dtype != RT_W_NF4_DQ) return matrix;
  sdk::WeightHeader header;
  std::memcpy(&header, base, sizeof header);
  matrix.map = reinterpret_cast<const float*>(base + format.map_offset);
  matrix.nested = reinterpret_cast<const float*>(base + format.nested_offset);
  matrix.phase = header.phase;
  matrix.offset = header.offset;
  return matrix;
}

// A weight of any type, and the kernels for it.
struct Product {
  Product(const QuantizedKernels& quantized_kernels, LinearKernel dense_kernel, const rt_tensor& w)
      : kernels(quantized_kernels), linear(dense_kernel), dtype(w.dtype) {
    if (sdk::weight_is_quantized(dtype)) {
      quantized = quantized_matrix(w);
    } else {
      dense = {w.data, element_of(w.dtype), static_cast<std::uint64_t>(w.shape[1])};
    }
  }

  bool is_quantized() const { return sdk::weight_is_quantized(dtype); }
  std::uint64_t prepared_bytes(std::uint64_t tokens) const {
    return is_quantized() ? kernels.prepared_bytes(quantized, tokens) : 0;
  }
  // nf4 and nf4-dq read x in one order.
  bool reads_the_same(const Product& other) const {
    return is_quantized() == other.is_quantized() &&
           (dtype == RT_W_INT8) == (other.dtype == RT_W_INT8);
  }

  // What multiply reads: x itself, or what is prepared of it on the pool.
  const void* prepare(const sdk::Call& call, const float* x, std::uint64_t tokens,
                      void* prepared) const {
    if (prepared_bytes(tokens) == 0) return x;
    loop(call, tokens, 4, quantized.columns,
         [&](std::uint64_t begin, std::uint64_t end, std::uint32_t) {
           kernels.prepare(quantized, x, tokens, begin, end, prepared);
         });
    return prepared;
  }

  void multiply(const void* x, std::uint64_t tokens, std::uint64_t begin, std::uint64_t end,
                float* out, std::uint64_t stride) const {
    if (is_quantized()) return kernels.multiply(quantized, x, tokens, begin, end, out, stride);
    linear(static_cast<const float*>(x), tokens, dense, begin, end, out, stride);
  }

  const QuantizedKernels& kernels;
  LinearKernel linear;
  rt_dtype dtype;
  QuantizedMatrix quantized{};
  Matrix dense{};
};

// Weight rows: with few tokens as in linear, with many enough for a panel's tokens to pay.
inline std::uint64_t grain_of(std::uint64_t tokens) {
  return tokens <= 8 ? 16 : 64;
}

}  // namespace rt::cpu
