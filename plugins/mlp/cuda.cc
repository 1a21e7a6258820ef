// mlp on CUDA devices. hidden [T, F] is workspace: f32 where gate and up are joined inside a
// kernel, the values' type where tensor cores write gate and up apart and read hidden again.
#include "kernels/cuda/mlp.h"

#include "kernels/cuda/linear.h"

#include "plugins/cublaslt.h"
#include "plugins/cuda_operator.h"
#include "plugins/cuda_product.h"

namespace rt::cuda {
namespace {

Activation activation_of(const sdk::Node& node) {
  return node.attrs().string("activation") == "silu" ? Activation::kSilu : Activation::kGeluTanh;
}

void expect_dense_weights(const sdk::Node& node) {
  for (const std::uint32_t i : {1u, 2u, 3u}) expect_dense_weight(node, i);
  if (node.input(1).dtype != node.input(2).dtype) {
    throw sdk::Refusal(sdk::format("expected gate and up of one type, found %s and %s",
                                   sdk::dtype_name(node.input(1).dtype),
                                   sdk::dtype_name(node.input(2).dtype)));
  }
  expect_unrounded_values(node);
}

using GateUpKernel = void (*)(const Matrix&, const Matrix&, const Matrix&, Activation,
                              const Matrix&, void*);
using LinearKernel = void (*)(const Matrix&, const Matrix&, const Matrix&, void*);

template <GateUpKernel gate_up, LinearKernel linear>
struct Mlp {
  explicit Mlp(const sdk::Node& node) : activation(activation_of(node)) {}
  static void supports(const sdk::Node& node) { expect_dense_weights(node); }
  static void require(const sdk::Node& node, rt_requirements& need) {
    need.workspace_bytes = std::uint64_t{4} * node.bounds().tokens *
                           static_cast<std::uint64_t>(node.input(1).shape[0]);
  }

  void execute(const sdk::Call& call) {
    const Matrix x = matrix(call.input(0));
    const Matrix gate = matrix(call.input(1));
    const Matrix hidden = {call.workspace<void>(), Element::kF32, x.rows, gate.rows};
    gate_up(x, gate, matrix(call.input(2)), activation, hidden, stream_of(call));
    linear(hidden, matrix(call.input(3)), matrix(call.output(0)), stream_of(call));
  }

  Activation activation;
};

struct MmaMlp {
  explicit MmaMlp(const sdk::Node& node) : activation(activation_of(node)) {}
  static void supports(const sdk::Node& node) {
    expect_dense_weights(node);
    for (const std::uint32_t i : {1u, 2u, 3u}) expect_tensor_core_types(node, i);
  }
  static void require(const sdk::Node& node, rt_requirements& need) {
    need.workspace_bytes = 2 * hidden_bytes(node.bounds().tokens, node.input(1));
  }
  static std::uint64_t hidden_bytes(std::uint64_t tokens, const rt_tensor& gate) {
    const std::uint64_t bytes = 2 * tokens * static_cast<std::uint64_t>(gate.shape[0]);
    return (bytes + 255) / 256 * 256;
  }

  void execute(const sdk::Call& call) {
    const Matrix x = matrix(call.input(0));
    const Matrix gate = matrix(call.input(1));
    char* workspace = call.workspace<char>();
    const Matrix gates = {workspace, x.element, x.rows, gate.rows};
    const Matrix ups = {workspace + hidden_bytes(x.rows, call.input(1)), x.element, x.rows,
                        gate.rows};
    linear_mma(x, gate, gates, stream_of(call));
    linear_mma(x, matrix(call.input(2)), ups, stream_of(call));
    activate(gates, ups, activation, gates, stream_of(call));
    linear_mma(gates, matrix(call.input(3)), matrix(call.output(0)), stream_of(call));
  }

  Activation activation;
};

// As MmaMlp, and the library's workspace before.
struct LtMlp {
  explicit LtMlp(const sdk::Node& node)
      : activation(activation_of(node)),
        gate(product(node, 1)),
        up(product(node, 2)),
        down(product(node, 3)) {}
  static LtProduct product(const sdk::Node& node, std::uint32_t weight) {
    return {node, weight, linear_vector,
            takes_tensor_cores(node, weight) ? linear_mma : linear_tiled};
  }
  static void supports(const sdk::Node& node) {
    expect_dense_weights(node);
    for (const std::uint32_t i : {1u, 2u, 3u}) expect_one_type(node, i);
    expect_cublaslt(node);
  }
  // Of gate or up; all have the type of the weights.
  static std::uint64_t hidden_bytes(std::uint64_t tokens, const rt_tensor& gate) {
    return (gate.dtype == RT_F32 ? 2 : 1) * MmaMlp::hidden_bytes(tokens, gate);
  }
  static void require(const sdk::Node& node, rt_requirements& need) {
    need.workspace_bytes =
        2 * hidden_bytes(node.bounds().tokens, node.input(1)) + kCublasLtWorkspaceBytes;
  }

  void prepare(const rt_step& step, void*) {
    for (LtProduct* one : {&gate, &up, &down}) one->prepare(step);
  }
  void execute(const sdk::Call& call) {
    const Matrix x = matrix(call.input(0));
    const Matrix gate_weight = matrix(call.input(1));
    char* hidden = call.workspace<char>() + kCublasLtWorkspaceBytes;
    const Matrix gates = {hidden, x.element, x.rows, gate_weight.rows};
    const Matrix ups = {hidden + hidden_bytes(x.rows, call.input(1)), x.element, x.rows,
                        gate_weight.rows};
    gate.run(call, x, gate_weight, gates);
    up.run(call, x, matrix(call.input(2)), ups);
    activate(gates, ups, activation, gates, stream_of(call));
    down.run(call, gates, matrix(call.input(3)), matrix(call.output(0)));
  }

  Activation activation;
  LtProduct gate, up, down;
};

constexpr rt_implementation kVector =
    sdk::implementation<Guarded<Mlp<gate_up_vector, linear_vector>>>(
        {.op = "mlp",
         .name = "vector",
         .device_kind = "cuda",
         .step_classes = RT_STEP_DECODE,
         .tier = 200});
constexpr rt_implementation kTiled =
    sdk::implementation<Guarded<Mlp<gate_up_tiled, linear_tiled>>>({.op = "mlp",
                                                                    .name = "tiled",
                                                                    .device_kind = "cuda",
                                                                    .step_classes = RT_STEP_PREFILL,
                                                                    .tier = 100});
// hidden is rounded before it is multiplied, so this is not exact.
constexpr rt_implementation kMma =
    sdk::implementation<Guarded<MmaMlp>>({.op = "mlp",
                                          .name = "mma",
                                          .device_kind = "cuda",
                                          .step_classes = RT_STEP_PREFILL,
                                          .traits = RT_TRAIT_CAPTURE_SAFE,
                                          .tier = 200});
constexpr rt_implementation kCublasLt =
    sdk::implementation<Guarded<LtMlp>>({.op = "mlp",
                                         .name = "cublaslt",
                                         .device_kind = "cuda",
                                         .step_classes = RT_STEP_PREFILL,
                                         .traits = RT_TRAIT_CAPTURE_SAFE | RT_TRAIT_BITS_OF_BATCH,
                                         .tier = 250,
                                         .weight_dtypes = kDenseTypes});

}  // namespace
}  // namespace rt::cuda

RT_LIBRARY("mlp_cuda", "0.1.0", rt::cuda::kVector, rt::cuda::kTiled, rt::cuda::kMma,
           rt::cuda::kCublasLt)
