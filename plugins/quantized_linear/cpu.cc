// quantized_linear_cpu: linear and mlp with weights of int8, nf4 and nf4-dq. Weights are read where
// they lie (core/sdk/weight_format.hpp); nothing is packed.
#include "plugins/quantized_linear/linear.h"
#include "plugins/quantized_linear/mlp.h"

#define RT_AVX512 "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c"

namespace rt::cpu {
namespace {

template <template <class> class Op, class Set>
constexpr rt_implementation implement(const char* op, const char* name, const char* isa, int tier) {
  return sdk::implementation<Op<Set>>(
      {.op = op, .name = name, .device_kind = "cpu", .isa = isa, .tier = tier});
}

constexpr rt_implementation kLinear[] = {
    implement<QuantizedLinear, Portable>("linear", "portable", "", 100),
    implement<QuantizedLinear, Avx512>("linear", "avx512", RT_AVX512, 250),
};
constexpr rt_implementation kMlp[] = {
    implement<QuantizedMlp, Portable>("mlp", "portable", "", 100),
    implement<QuantizedMlp, Avx512>("mlp", "avx512", RT_AVX512, 250),
};
constexpr const rt_implementation* kTable[] = {&kLinear[0], &kLinear[1], &kMlp[0], &kMlp[1]};

}  // namespace
}  // namespace rt::cpu

#define RT_ROWS(op) RT_CPU_PORTABLE(op) "implementation: " op "@1 cpu avx512 " RT_AVX512 "\n"

RT_CPU_PLUGIN("quantized_linear", rt::cpu::kTable, RT_ROWS("linear") RT_ROWS("mlp"));
