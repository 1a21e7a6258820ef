// quantized_linear_cpu: linear and mlp with weights of int8, nf4 and nf4-dq. Weights are read where
// they lie (core/sdk/weight_format.hpp); nothing is packed.
#include <array>

#include "plugins/quantized_linear/linear.h"
#include "plugins/quantized_linear/mlp.h"

#define RT_AVX2 "avx2,fma,f16c"
#define RT_AVX512 "avx512f,avx512bw,avx512dq,avx512vl," RT_AVX2
#define RT_FAST_BF16 RT_AVX512 ",avx512_bf16,fast_bf16"
#define RT_VNNI RT_AVX512 ",avx512_vnni,avx512_vbmi"

namespace rt::cpu {
namespace {

// Those in 16-bit integers come before avx2 and after avx512. Those that round nf4 to bf16 come
// before avx512, as they do with weights of bf16 and for the same reason (bf16_product in
// cpu_operator.h); it is what bitsandbytes computes in bf16. `avx512_vnni_nf4` rounds its values to
// 127ths, which costs more quality (docs/BENCHMARKS.md), so its tier is below avx512's: it must be
// preferred by name.
template <template <class> class Op, class Set>
constexpr rt_implementation implement(const char* op, const char* name, const char* isa, int tier) {
  return sdk::implementation<Op<Set>>({.op = op,
                                       .name = name,
                                       .device_kind = "cpu",
                                       .isa = isa,
                                       .step_classes = Set::kSteps,
                                       .traits = Set::kRounded == 0
                                                     ? RT_TRAIT_CAPTURE_SAFE | RT_TRAIT_EXACT
                                                     : std::uint32_t{RT_TRAIT_CAPTURE_SAFE},
                                       .tier = tier,
                                       .weight_dtypes = Set::kRounded});
}

template <template <class> class Op>
constexpr std::array<rt_implementation, 9> implementations(const char* op) {
  return {implement<Op, Portable>(op, "portable", "", 100),
          implement<Op, Avx2>(op, "avx2", RT_AVX2, 200),
          implement<Op, Int16>(op, "int16", RT_AVX2, 230),
          implement<Op, Int16Decode>(op, "int16_decode", RT_AVX2, 230),
          implement<Op, Avx512>(op, "avx512", RT_AVX512, 250),
          implement<Op, VnniNf4>(op, "avx512_vnni_nf4", RT_VNNI, 240),
          implement<Op, Bf16>(op, "fast_bf16", RT_FAST_BF16, 260),
          implement<Op, Bf16Decode>(op, "fast_bf16_decode", RT_FAST_BF16, 260),
          implement<Op, Vnni>(op, "avx512_vnni", RT_VNNI, 300)};
}

constexpr auto kLinear = implementations<QuantizedLinear>("linear");
constexpr auto kMlp = implementations<QuantizedMlp>("mlp");

}  // namespace
}  // namespace rt::cpu

RT_LIBRARY("quantized_linear_cpu", "0.1.0", rt::cpu::kLinear, rt::cpu::kMlp)
