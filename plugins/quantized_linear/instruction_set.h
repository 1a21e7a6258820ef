// The kernels that one implementation of linear or mlp is made of, the steps that it serves, and
// the types of weights that it serves because it rounds their products; 0: it rounds none and
// serves all.
#pragma once

#include "kernels/cpu/mlp.h"
#include "plugins/quantized_linear/weight.h"

namespace rt::cpu {

constexpr std::uint32_t kNf4Types = RT_DTYPE_BIT(RT_W_NF4) | RT_DTYPE_BIT(RT_W_NF4_DQ);

struct Portable {
  static constexpr std::uint32_t kSteps = RT_STEP_PREFILL | RT_STEP_DECODE;
  static constexpr std::uint32_t kRounded = 0;
  static constexpr const QuantizedKernels& kQuantized = kQuantizedPortable;
  static constexpr LinearKernel kDense = linear_portable;
  static constexpr JoinKernel kJoin = join_portable;
};
struct Avx2 {
  static constexpr std::uint32_t kSteps = RT_STEP_PREFILL | RT_STEP_DECODE;
  static constexpr std::uint32_t kRounded = 0;
  static constexpr const QuantizedKernels& kQuantized = kQuantizedAvx2;
  static constexpr LinearKernel kDense = linear_avx2;
  static constexpr JoinKernel kJoin = join_avx2;
};
// In 16-bit integers. Codes of int8 are not rounded, but x is; decoding them, bound by reading,
// would gain nothing.
struct Int16 {
  static constexpr std::uint32_t kSteps = RT_STEP_PREFILL;
  static constexpr std::uint32_t kRounded = RT_DTYPE_BIT(RT_W_INT8) | kNf4Types;
  static constexpr const QuantizedKernels& kQuantized = kQuantizedInt16;
  static constexpr LinearKernel kDense = linear_avx2;
  static constexpr JoinKernel kJoin = join_avx2;
};
struct Int16Decode : Int16 {
  static constexpr std::uint32_t kSteps = RT_STEP_DECODE;
  static constexpr std::uint32_t kRounded = kNf4Types;
  static constexpr const QuantizedKernels& kQuantized = kQuantizedInt16Decode;
};
struct Avx512 {
  static constexpr std::uint32_t kSteps = RT_STEP_PREFILL | RT_STEP_DECODE;
  static constexpr std::uint32_t kRounded = 0;
  static constexpr const QuantizedKernels& kQuantized = kQuantizedAvx512;
  static constexpr LinearKernel kDense = linear_avx512;
  static constexpr JoinKernel kJoin = join_avx2;
};
// Rounds x, which a prompt's many tokens repay and decoding, bound by reading the weight, would
// not.
struct Vnni {
  static constexpr std::uint32_t kSteps = RT_STEP_PREFILL;
  static constexpr std::uint32_t kRounded = RT_DTYPE_BIT(RT_W_INT8);
  static constexpr const QuantizedKernels& kQuantized = kQuantizedVnni;
  static constexpr LinearKernel kDense = linear_avx512;
  static constexpr JoinKernel kJoin = join_avx2;
};

// Rounds the values of nf4 to 127ths too.
struct VnniNf4 : Vnni {
  static constexpr std::uint32_t kSteps = RT_STEP_PREFILL | RT_STEP_DECODE;
  static constexpr std::uint32_t kRounded = kNf4Types;
};

// Rounds x and the values of nf4 to bf16. Decoding too: in f32 it is bound by unpacking codes.
struct Bf16 {
  static constexpr std::uint32_t kSteps = RT_STEP_PREFILL;
  static constexpr std::uint32_t kRounded = kNf4Types;
  static constexpr const QuantizedKernels& kQuantized = kQuantizedBf16;
  static constexpr LinearKernel kDense = linear_avx512;
  static constexpr JoinKernel kJoin = join_avx2;
};
struct Bf16Decode : Bf16 {
  static constexpr std::uint32_t kSteps = RT_STEP_DECODE;
  static constexpr const QuantizedKernels& kQuantized = kQuantizedBf16Decode;
};

// What all implementations refuse, and what those that round do.
template <class Set>
void expect_weights(const sdk::Node& node) {
  expect_f32_between(node);
  bool quantized = false;
  for (std::uint32_t i = 1; i < node.input_count(); ++i) {
    const rt_dtype dtype = node.input(i).dtype;
    quantized = quantized || sdk::weight_is_quantized(dtype);
    if (Set::kRounded == 0 || (Set::kRounded & RT_DTYPE_BIT(dtype)) != 0) continue;
    throw sdk::Refusal(sdk::format("expected weights of type %s, found %s",
                                   Set::kRounded == Vnni::kRounded    ? "int8"
                                   : Set::kRounded == Int16::kRounded ? "int8, nf4 or nf4-dq"
                                                                      : "nf4 or nf4-dq",
                                   sdk::dtype_name(dtype)));
  }
  if (quantized) return;
  throw sdk::Refusal(sdk::format("expected a quantized weight, found %s; dense ones are for %s_cpu",
                                 sdk::dtype_name(node.input(1).dtype), node.c().op));
}

}  // namespace rt::cpu
