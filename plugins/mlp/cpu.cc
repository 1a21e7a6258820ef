// mlp on CPUs: gate and up are joined block by block into hidden [T, F], the only workspace; then
// down is an ordinary product.
#include "kernels/cpu/mlp.h"

#include <algorithm>

#include "plugins/cpu_operator.h"

namespace rt::cpu {
namespace {

constexpr std::uint64_t kGrain = 16;  // weight rows, as in linear

Activation activation_of(const sdk::Node& node) {
  return node.attrs().string("activation") == "silu" ? Activation::kSilu : Activation::kGeluTanh;
}

Matrix matrix_of(const rt_tensor& w) {
  return {w.data, element_of(w.dtype), static_cast<std::uint64_t>(w.shape[1])};
}

template <GateUpKernel gate_up, LinearKernel linear>
struct Mlp {
  explicit Mlp(const sdk::Node& node) : activation(activation_of(node)) {}
  static void supports(const sdk::Node& node) { expect_f32_values(node); }
  static void require(const sdk::Node& node, rt_requirements& need) {
    need.workspace_bytes = std::uint64_t{4} * node.bounds().tokens * node.input(1).shape[0];
  }

  void execute(const sdk::Call& call) {
    const std::uint64_t tokens = call.input(0).shape[0];
    const std::uint64_t width = call.input(0).shape[1];   // D
    const std::uint64_t hidden = call.input(1).shape[0];  // F
    const Matrix gate = matrix_of(call.input(1));
    const Matrix up = matrix_of(call.input(2));
    const Matrix down = matrix_of(call.input(3));
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

// Workspace: hidden f32[part, F] of a part of the tokens, then x and after it hidden, packed.
template <class Weights, PackedGateUpKernel gate_up>
struct MlpPacked {
  explicit MlpPacked(const sdk::Node& node) : activation(activation_of(node)) {}
  static void supports(const sdk::Node& node) { Weights::expect(node); }
  static std::uint64_t hidden_bytes(std::uint64_t tokens, std::uint64_t hidden) {
    return (tokens * hidden * sizeof(float) + 63) / 64 * 64;
  }
  static void require(const sdk::Node& node, rt_requirements& need) {
    const std::uint64_t tokens = std::min<std::uint64_t>(node.bounds().tokens, kMostPacked);
    const std::uint64_t hidden = node.input(1).shape[0];
    const std::uint64_t width = node.input(1).shape[1];
    need.workspace_bytes =
        hidden_bytes(tokens, hidden) + Weights::kProduct.bytes(tokens, std::max(width, hidden));
  }

  void execute(const sdk::Call& call) {
    const std::uint64_t tokens = call.input(0).shape[0];
    const std::uint64_t width = call.input(0).shape[1];  // D
    for (std::uint64_t t = 0, part; t < tokens; t += part) {
      part = std::min(tokens - t, kMostPacked);
      run_part(call, call.in<float>(0) + t * width, part, call.out<float>(0) + t * width);
    }
  }

  // x, out f32[tokens, D]
  void run_part(const sdk::Call& call, const float* x, std::uint64_t tokens, float* out) const {
    const Matrix gate = matrix_of(call.input(1));
    const Matrix up = matrix_of(call.input(2));
    const Matrix down = matrix_of(call.input(3));
    const std::uint64_t hidden = down.columns;  // F
    const std::uint64_t width = gate.columns;   // D
    auto* h = call.workspace<float>();
    void* to = call.workspace<unsigned char>() + hidden_bytes(tokens, hidden);
    const void* packed_x = packed(call, Weights::kProduct, x, tokens, width, to);
    loop(call, hidden, kGrain, 2 * tokens * width,
         [&](std::uint64_t begin, std::uint64_t end, std::uint32_t) {
           gate_up(packed_x, tokens, gate, up, activation, begin, end, h + begin, hidden);
         });
    const void* packed_h = packed(call, Weights::kProduct, h, tokens, hidden, to);
    loop(call, width, kGrain, tokens * hidden,
         [&](std::uint64_t begin, std::uint64_t end, std::uint32_t) {
           Weights::kProduct.multiply(packed_h, tokens, down, begin, end, out + begin, width);
         });
  }

  Activation activation;
};

constexpr rt_implementation kPortable = sdk::implementation<Mlp<gate_up_portable, linear_portable>>(
    {.op = "mlp", .name = "portable", .device_kind = "cpu"});
constexpr rt_implementation kAvx2 = sdk::implementation<Mlp<gate_up_avx2, linear_avx2>>(
    {.op = "mlp", .name = "avx2", .device_kind = "cpu", .isa = "avx2,fma,f16c", .tier = 200});
constexpr rt_implementation kAvx512 = sdk::implementation<Mlp<gate_up_avx512, linear_avx512>>(
    {.op = "mlp", .name = "avx512", .device_kind = "cpu", .isa = RT_ISA_AVX512, .tier = 250});
// Rounded are x and hidden.
constexpr rt_implementation kInt16 =
    sdk::implementation<MlpPacked<Int16Weights, gate_up_packed_int16>>(int16_product("mlp"));
constexpr rt_implementation kAvx512Bf16 =
    sdk::implementation<MlpPacked<Bf16Weights, gate_up_packed_bf16>>(bf16_product("mlp", false));
constexpr rt_implementation kFastBf16 =
    sdk::implementation<MlpPacked<Bf16Weights, gate_up_packed_bf16>>(bf16_product("mlp", true));

}  // namespace
}  // namespace rt::cpu

RT_LIBRARY("mlp_cpu", "0.1.0", rt::cpu::kPortable, rt::cpu::kAvx2, rt::cpu::kInt16,
           rt::cpu::kAvx512, rt::cpu::kAvx512Bf16, rt::cpu::kFastBf16)
