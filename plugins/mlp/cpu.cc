// mlp on CPUs: gate and up are joined block by block into hidden [T, F], the only workspace; then
// down is an ordinary product.
#include "kernels/cpu/mlp.h"

#include "plugins/cpu_operator.h"

namespace rt::cpu {
namespace {

constexpr std::uint64_t kGrain = 16;  // weight rows, as in linear

template <GateUpKernel gate_up, LinearKernel linear>
struct Mlp {
  explicit Mlp(const sdk::Node& node)
      : activation(node.attrs().string("activation") == "silu" ? Activation::kSilu
                                                               : Activation::kGeluTanh) {}
  static void supports(const sdk::Node& node) { expect_f32_values(node); }
  static void require(const sdk::Node& node, rt_requirements& need) {
    need.workspace_bytes = std::uint64_t{4} * node.bounds().tokens * node.input(1).shape[0];
  }

  static Matrix matrix(const rt_tensor& w) {
    return {w.data, element_of(w.dtype), static_cast<std::uint64_t>(w.shape[1])};
  }

  void execute(const sdk::Call& call) {
    const std::uint64_t tokens = call.input(0).shape[0];
    const std::uint64_t width = call.input(0).shape[1];   // D
    const std::uint64_t hidden = call.input(1).shape[0];  // F
    const Matrix gate = matrix(call.input(1));
    const Matrix up = matrix(call.input(2));
    const Matrix down = matrix(call.input(3));
    float* h = call.workspace<float>();
    loop(call, hidden, kGrain, 2 * tokens * width,
         [&](std::uint64_t begin, std::uint64_t end, std::uint32_t) {
           gate_up(call.in<float>(0), tokens, gate, up, activation, begin, end, h + begin, hidden);
         });
    loop(call, width, kGrain, tokens * hidden,
         [&](std::uint64_t begin, std::uint64_t end, std::uint32_t) {
           linear(h, tokens, down, begin, end, call.out<float>(0) + begin, width);
         });
  }

  Activation activation;
};

struct MlpBf16 : Mlp<gate_up_avx512_bf16, linear_avx512_bf16> {
  using Mlp::Mlp;
  static void supports(const sdk::Node& node) {
    expect_f32_values(node);
    for (const std::uint32_t weight : {1u, 2u, 3u}) expect_bf16_weight(node, weight);
  }
};

constexpr rt_implementation kPortable = sdk::implementation<Mlp<gate_up_portable, linear_portable>>(
    {.op = "mlp", .name = "portable", .device_kind = "cpu"});
constexpr rt_implementation kAvx2 = sdk::implementation<Mlp<gate_up_avx2, linear_avx2>>(
    {.op = "mlp", .name = "avx2", .device_kind = "cpu", .isa = "avx2,fma,f16c", .tier = 200});
constexpr rt_implementation kAvx512 = sdk::implementation<Mlp<gate_up_avx512, linear_avx512>>(
    {.op = "mlp", .name = "avx512", .device_kind = "cpu", .isa = RT_ISA_AVX512, .tier = 250});
// Rounded are x and hidden.
constexpr rt_implementation kAvx512Bf16 = sdk::implementation<MlpBf16>(bf16_product("mlp", false));
constexpr rt_implementation kFastBf16 = sdk::implementation<MlpBf16>(bf16_product("mlp", true));
constexpr const rt_implementation* kTable[] = {&kPortable, &kAvx2, &kAvx512, &kAvx512Bf16,
                                               &kFastBf16};

}  // namespace
}  // namespace rt::cpu

RT_CPU_PLUGIN("mlp", rt::cpu::kTable,
              RT_CPU_PORTABLE("mlp") RT_CPU_AVX2("mlp") RT_CPU_AVX512("mlp")
                  RT_CPU_AVX512_BF16("mlp"));
