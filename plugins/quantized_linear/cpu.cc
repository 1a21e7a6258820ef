// quantized_linear_cpu: linear and mlp with weights of int8, nf4 and nf4-dq. Weights are read where
// they lie (core/sdk/weight_format.hpp); nothing is packed.
#include <array>
#include <type_traits>

#include "plugins/quantized_linear/linear.h"
#include "plugins/quantized_linear/mlp.h"

#define RT_AVX2 "avx2,fma,f16c"
#define RT_AVX512 "avx512f,avx512bw,avx512dq,avx512vl," RT_AVX2
#define RT_VNNI RT_AVX512 ",avx512_vnni,avx512_vbmi"

namespace rt::cpu {
namespace {

// `avx512_vnni` rounds x, which a prompt's many tokens repay and decoding, bound by reading the
// weight, would not. `avx512_vnni_nf4` rounds the values of nf4 too, which costs quality
// (docs/BENCHMARKS.md), so its tier is below avx512's: it must be preferred by name.
template <class Set>
constexpr std::uint32_t kSteps =
    std::is_same_v<Set, Vnni> ? std::uint32_t{RT_STEP_PREFILL} : RT_STEP_PREFILL | RT_STEP_DECODE;

template <template <class> class Op, class Set>
constexpr rt_implementation implement(const char* op, const char* name, const char* isa, int tier) {
  return sdk::implementation<Op<Set>>({.op = op,
                                       .name = name,
                                       .device_kind = "cpu",
                                       .isa = isa,
                                       .step_classes = kSteps<Set>,
                                       .traits = Set::kRounded == 0
                                                     ? RT_TRAIT_CAPTURE_SAFE | RT_TRAIT_EXACT
                                                     : std::uint32_t{RT_TRAIT_CAPTURE_SAFE},
                                       .tier = tier,
                                       .weight_dtypes = Set::kRounded});
}

template <template <class> class Op>
constexpr std::array<rt_implementation, 5> implementations(const char* op) {
  return {implement<Op, Portable>(op, "portable", "", 100),
          implement<Op, Avx2>(op, "avx2", RT_AVX2, 200),
          implement<Op, Avx512>(op, "avx512", RT_AVX512, 250),
          implement<Op, VnniNf4>(op, "avx512_vnni_nf4", RT_VNNI, 240),
          implement<Op, Vnni>(op, "avx512_vnni", RT_VNNI, 300)};
}

constexpr auto kLinear = implementations<QuantizedLinear>("linear");
constexpr auto kMlp = implementations<QuantizedMlp>("mlp");
constexpr const rt_implementation* kTable[] = {&kLinear[0], &kLinear[1], &kLinear[2], &kLinear[3],
                                               &kLinear[4], &kMlp[0],    &kMlp[1],    &kMlp[2],
                                               &kMlp[3],    &kMlp[4]};

}  // namespace
}  // namespace rt::cpu

#define RT_ROW(op, name, isa) "implementation: " op "@1 cpu " name " " isa "\n"
#define RT_ROWS(op)               \
  RT_CPU_PORTABLE(op)             \
  RT_CPU_AVX2(op)                 \
  RT_ROW(op, "avx512", RT_AVX512) \
  RT_ROW(op, "avx512_vnni_nf4", RT_VNNI) RT_ROW(op, "avx512_vnni", RT_VNNI)

RT_CPU_PLUGIN("quantized_linear", rt::cpu::kTable, RT_ROWS("linear") RT_ROWS("mlp"));
