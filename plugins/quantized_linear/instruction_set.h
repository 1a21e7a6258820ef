// The kernels that one implementation of linear or mlp is made of.
#pragma once

#include "kernels/cpu/mlp.h"
#include "plugins/quantized_linear/weight.h"

namespace rt::cpu {

struct Portable {
  static constexpr const QuantizedKernels& kQuantized = kQuantizedPortable;
  static constexpr LinearKernel kDense = linear_portable;
  static constexpr JoinKernel kJoin = join_portable;
};
struct Avx2 {
  static constexpr const QuantizedKernels& kQuantized = kQuantizedAvx2;
  static constexpr LinearKernel kDense = linear_avx2;
  static constexpr JoinKernel kJoin = join_avx2;
};
struct Avx512 {
  static constexpr const QuantizedKernels& kQuantized = kQuantizedAvx512;
  static constexpr LinearKernel kDense = linear_avx512;
  static constexpr JoinKernel kJoin = join_avx2;
};
struct Vnni {
  static constexpr const QuantizedKernels& kQuantized = kQuantizedVnni;
  static constexpr LinearKernel kDense = linear_avx512;
  static constexpr JoinKernel kJoin = join_avx2;
};

// What all implementations refuse, and what those that serve int8 alone do.
template <class Set>
void expect_weights(const sdk::Node& node) {
  expect_f32_between(node);
  bool quantized = false;
  for (std::uint32_t i = 1; i < node.input_count(); ++i) {
    const rt_dtype dtype = node.input(i).dtype;
    quantized = quantized || sdk::weight_is_quantized(dtype);
    if constexpr (std::is_same_v<Set, Vnni>) {
      if (dtype == RT_W_INT8) continue;
      throw sdk::Refusal(
          sdk::format("expected weights of type int8, found %s", sdk::dtype_name(dtype)));
    }
  }
  if (quantized) return;
  throw sdk::Refusal(sdk::format("expected a quantized weight, found %s; dense ones are for %s_cpu",
                                 sdk::dtype_name(node.input(1).dtype), node.c().op));
}

}  // namespace rt::cpu
