// What tensor cores ask of the operands of a product (linear and mlp).
#pragma once

#include "plugins/cuda_operator.h"

namespace rt::cuda {

// What a library's products take; with quantized weights nobody expects them.
constexpr std::uint32_t kDenseTypes =
    RT_DTYPE_BIT(RT_F32) | RT_DTYPE_BIT(RT_BF16) | RT_DTYPE_BIT(RT_F16);

// Weight `i` is [N, K] of the values' type, 16 bits wide, and its rows are whole 16-byte pieces.
inline bool takes_tensor_cores(const sdk::Node& node, std::uint32_t i) {
  const rt_dtype values = node.c().value_dtype;
  const rt_tensor& weight = node.input(i);
  return (values == RT_BF16 || values == RT_F16) && weight.dtype == values &&
         weight.shape[1] % 8 == 0;
}

// The same, or an sdk::Refusal that says what is in the way.
inline void expect_tensor_core_types(const sdk::Node& node, std::uint32_t i) {
  const rt_dtype values = node.c().value_dtype;
  const rt_tensor& weight = node.input(i);
  if (values != RT_BF16 && values != RT_F16) {
    throw sdk::Refusal(sdk::format("tensor cores: expected values of bf16 or f16, found %s",
                                   sdk::dtype_name(values)));
  }
  if (weight.dtype != values) {
    throw sdk::Refusal(
        sdk::format("tensor cores: expected a weight of the values' type %s, found %s",
                    sdk::dtype_name(values), sdk::dtype_name(weight.dtype)));
  }
  if (weight.shape[1] % 8 != 0) {
    throw sdk::Refusal(sdk::format("tensor cores: expected K divisible by 8, found %lld",
                                   static_cast<long long>(weight.shape[1])));
  }
}

// One type for values and weight `i`, as a library's product wants it.
inline void expect_one_type(const sdk::Node& node, std::uint32_t i) {
  if (node.input(i).dtype == node.c().value_dtype) return;
  throw sdk::Refusal(sdk::format("cuBLASLt: expected a weight of the values' type %s, found %s",
                                 sdk::dtype_name(node.c().value_dtype),
                                 sdk::dtype_name(node.input(i).dtype)));
}

}  // namespace rt::cuda
