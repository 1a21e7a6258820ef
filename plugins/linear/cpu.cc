// linear on CPUs: the pool shares the rows of the weight, so that every thread walks its part of
// the file once, from front to back.
#include "kernels/cpu/linear.h"

#include <algorithm>

#include "plugins/cpu_operator.h"

namespace rt::cpu {
namespace {

constexpr std::uint64_t kGrain = 16;  // weight rows: the height of the panel in linear_avx2.cc

template <LinearKernel kernel>
struct Linear {
  explicit Linear(const sdk::Node&) {}
  static void supports(const sdk::Node& node) { expect_f32_values(node); }

  void execute(const sdk::Call& call) {
    const rt_tensor& w = call.input(1);  // [N, K]
    const std::uint64_t tokens = call.input(0).shape[0];
    const std::uint64_t rows = w.shape[0];
    const Matrix weight = {w.data, element_of(w.dtype), static_cast<std::uint64_t>(w.shape[1])};
    loop(call, rows, kGrain, tokens * weight.columns,
         [&](std::uint64_t begin, std::uint64_t end, std::uint32_t) {
           kernel(call.in<float>(0), tokens, weight, begin, end, call.out<float>(0) + begin, rows);
         });
  }
};

// x is packed into the workspace, tokens in parts, before the rows are shared.
template <class Weights>
struct LinearPacked {
  explicit LinearPacked(const sdk::Node&) {}
  static void supports(const sdk::Node& node) { Weights::expect(node); }
  static void require(const sdk::Node& node, rt_requirements& need) {
    const std::uint64_t tokens = std::max(node.bounds().tokens, node.bounds().rows);
    need.workspace_bytes = Weights::kProduct.bytes(
        std::min(tokens, kMostPacked), static_cast<std::uint64_t>(node.input(1).shape[1]));
  }

  void execute(const sdk::Call& call) {
    const rt_tensor& w = call.input(1);  // [N, K]
    const std::uint64_t tokens = call.input(0).shape[0];
    const std::uint64_t rows = w.shape[0];
    const Matrix weight = {w.data, element_of(w.dtype), static_cast<std::uint64_t>(w.shape[1])};
    for (std::uint64_t t = 0, part; t < tokens; t += part) {
      part = std::min(tokens - t, kMostPacked);
      const void* x = packed(call, Weights::kProduct, call.in<float>(0) + t * weight.columns, part,
                             weight.columns, call.workspace<void>());
      float* out = call.out<float>(0) + t * rows;
      loop(call, rows, kGrain, part * weight.columns,
           [&](std::uint64_t begin, std::uint64_t end, std::uint32_t) {
             Weights::kProduct.multiply(x, part, weight, begin, end, out + begin, rows);
           });
    }
  }
};

constexpr rt_implementation kPortable = sdk::implementation<Linear<linear_portable>>(
    {.op = "linear", .name = "portable", .device_kind = "cpu"});
constexpr rt_implementation kAvx2 = sdk::implementation<Linear<linear_avx2>>(
    {.op = "linear", .name = "avx2", .device_kind = "cpu", .isa = "avx2,fma,f16c", .tier = 200});
constexpr rt_implementation kInt16 =
    sdk::implementation<LinearPacked<Int16Weights>>(int16_product("linear"));
constexpr rt_implementation kAvx512 = sdk::implementation<Linear<linear_avx512>>(
    {.op = "linear", .name = "avx512", .device_kind = "cpu", .isa = RT_ISA_AVX512, .tier = 250});
constexpr rt_implementation kAvx512Bf16 =
    sdk::implementation<LinearPacked<Bf16Weights>>(bf16_product("linear", false));
constexpr rt_implementation kFastBf16 =
    sdk::implementation<LinearPacked<Bf16Weights>>(bf16_product("linear", true));

}  // namespace
}  // namespace rt::cpu

RT_LIBRARY("linear_cpu", "0.1.0", rt::cpu::kPortable, rt::cpu::kAvx2, rt::cpu::kInt16,
           rt::cpu::kAvx512, rt::cpu::kAvx512Bf16, rt::cpu::kFastBf16)
