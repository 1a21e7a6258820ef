// quantized_linear_cuda: linear and mlp with weights of int8, nf4 and nf4-dq on CUDA devices.
// Weights are read where they lie (core/sdk/weight_format.hpp); nothing is packed.
#include <array>

#include "plugins/cuda_product.h"
#include "plugins/quantized_linear/cuda_weight.h"

namespace rt::cuda {
namespace {

// Weights of a node of which one at least is quantized; the plugins of dense ones take the others.
void expect_a_quantized_weight(const sdk::Node& node) {
  expect_unrounded_values(node);
  for (std::uint32_t i = 1; i < node.input_count(); ++i) {
    if (sdk::weight_is_quantized(node.input(i).dtype)) return;
  }
  throw sdk::Refusal(
      sdk::format("expected a quantized weight, found %s; dense ones are for %s_cuda",
                  sdk::dtype_name(node.input(1).dtype), node.c().op));
}

// A thread of quantized_linear_mma takes 32 codes of one block, and x flows in 16-byte pieces.
void expect_tensor_core_codes(const sdk::Node& node, std::uint32_t i) {
  const rt_dtype values = node.c().value_dtype;
  if (!sdk::weight_is_quantized(node.input(i).dtype)) return expect_tensor_core_types(node, i);
  if (values != RT_BF16 && values != RT_F16) {
    throw sdk::Refusal(sdk::format("tensor cores: expected values of bf16 or f16, found %s",
                                   sdk::dtype_name(values)));
  }
  if (node.input(i).shape[1] % 32 == 0) return;
  throw sdk::Refusal(sdk::format("tensor cores: expected K divisible by 32, found %lld",
                                 static_cast<long long>(node.input(i).shape[1])));
}

// The products of an implementation. `kRounds`: on tensor cores, from values of 16 bits to values
// of 16 bits; nf4's weights are rounded on the way.
struct Vector {
  static constexpr const char* kName = "vector";
  static constexpr std::uint32_t kSteps = RT_STEP_DECODE;
  static constexpr bool kRounds = false;
  static constexpr bool kFusesGateUp = true;
  static constexpr DenseKernel kMultiplyDense = linear_vector;
  static constexpr QuantizedKernel kMultiply = quantized_linear_vector;
};
struct Tiled {
  static constexpr const char* kName = "tiled";
  static constexpr std::uint32_t kSteps = RT_STEP_PREFILL;
  static constexpr bool kRounds = false;
  static constexpr bool kFusesGateUp = false;
  static constexpr DenseKernel kMultiplyDense = linear_tiled;
  static constexpr QuantizedKernel kMultiply = quantized_linear_tiled;
};
struct Mma {
  static constexpr const char* kName = "mma";
  static constexpr std::uint32_t kSteps = RT_STEP_PREFILL;
  static constexpr bool kRounds = true;
  static constexpr bool kFusesGateUp = false;
  static constexpr DenseKernel kMultiplyDense = linear_mma;
  static constexpr QuantizedKernel kMultiply = quantized_linear_mma;
};

template <class Way>
void expect_weights(const sdk::Node& node) {
  expect_a_quantized_weight(node);
  for (std::uint32_t i = 1; Way::kRounds && i < node.input_count(); ++i) {
    expect_tensor_core_codes(node, i);
  }
}

template <class Way>
struct Linear {
  explicit Linear(const sdk::Node&) {}
  static void supports(const sdk::Node& node) { expect_weights<Way>(node); }
  void execute(const sdk::Call& call) {
    multiply<Way::kMultiply, Way::kMultiplyDense>(matrix(call.input(0)), call.input(1),
                                                  matrix(call.output(0)), stream_of(call));
  }
};

// Each of the three weights has a type of its own: a checkpoint may leave some dense. Workspace:
// gate and up [T, F] each, of the values' type for tensor cores, else of f32; gate's becomes
// hidden.
template <class Way>
struct Mlp {
  explicit Mlp(const sdk::Node& node)
      : activation(node.attrs().string("activation") == "silu" ? Activation::kSilu
                                                               : Activation::kGeluTanh) {}
  static void supports(const sdk::Node& node) { expect_weights<Way>(node); }

  static bool fuses(const rt_tensor& gate, const rt_tensor& up) {
    return Way::kFusesGateUp && gate.dtype == up.dtype && sdk::weight_is_quantized(gate.dtype);
  }
  static std::uint64_t hidden_bytes(std::uint64_t tokens, const rt_tensor& gate) {
    const std::uint64_t element = Way::kRounds ? 2 : 4;
    const std::uint64_t bytes = element * tokens * static_cast<std::uint64_t>(gate.shape[0]);
    return (bytes + 255) / 256 * 256;
  }
  static void require(const sdk::Node& node, rt_requirements& need) {
    const std::uint64_t parts = fuses(node.input(1), node.input(2)) ? 1 : 2;
    need.workspace_bytes = parts * hidden_bytes(node.bounds().tokens, node.input(1));
  }

  void execute(const sdk::Call& call) {
    const Matrix x = matrix(call.input(0));
    const rt_tensor& gate = call.input(1);
    const rt_tensor& up = call.input(2);
    const Element element = Way::kRounds ? x.element : Element::kF32;
    char* workspace = call.workspace<char>();
    const auto width = static_cast<std::uint64_t>(gate.shape[0]);
    const Matrix hidden = {workspace, element, x.rows, width};
    if (fuses(gate, up)) {
      quantized_gate_up_vector(x, quantized_matrix(gate), quantized_matrix(up), activation, hidden,
                               stream_of(call));
    } else {
      const Matrix ups = {workspace + hidden_bytes(x.rows, gate), element, x.rows, width};
      multiply<Way::kMultiply, Way::kMultiplyDense>(x, gate, hidden, stream_of(call));
      multiply<Way::kMultiply, Way::kMultiplyDense>(x, up, ups, stream_of(call));
      activate(hidden, ups, activation, hidden, stream_of(call));
    }
    multiply<Way::kMultiply, Way::kMultiplyDense>(hidden, call.input(3), matrix(call.output(0)),
                                                  stream_of(call));
  }

  Activation activation;
};

template <template <class> class Op, class Way>
constexpr rt_implementation implement(const char* op) {
  return sdk::implementation<Guarded<Op<Way>>>(
      {.op = op,
       .name = Way::kName,
       .device_kind = "cuda",
       .step_classes = Way::kSteps,
       .traits = Way::kRounds ? std::uint32_t{RT_TRAIT_CAPTURE_SAFE}
                              : RT_TRAIT_CAPTURE_SAFE | RT_TRAIT_EXACT,
       .tier = Way::kSteps == RT_STEP_DECODE || Way::kRounds ? 200 : 100});
}

constexpr std::array kImplementations = {
    implement<Linear, Vector>("linear"), implement<Linear, Tiled>("linear"),
    implement<Linear, Mma>("linear"),    implement<Mlp, Vector>("mlp"),
    implement<Mlp, Tiled>("mlp"),        implement<Mlp, Mma>("mlp")};

}  // namespace
}  // namespace rt::cuda

RT_LIBRARY("quantized_linear_cuda", "0.1.0", rt::cuda::kImplementations)
