// norm_mlp_add and norm_mlp on CUDA devices, for decode, as two kernels: norm, gate, up and
// activation; down and, in norm_mlp_add, the residual. hidden [T, F] is workspace, in f32.
#include "kernels/cuda/mlp.h"

#include "plugins/cuda_norm.h"
#include "plugins/cuda_quantized.h"

namespace rt::cuda {
namespace {

template <bool kAdd>
struct NormMlp {
  explicit NormMlp(const sdk::Node& node)
      : norm(node, "h", 2),
        activation(node.attrs().string("f.activation") == "silu" ? Activation::kSilu
                                                                 : Activation::kGeluTanh),
        hidden_bytes(bytes_of_hidden(node)) {}

  static void supports(const sdk::Node& node) {
    expect_dense_weight(node, 1);
    expect_weights_alike(node, 2, 4);
    expect_unrounded_values(node);
  }
  static std::uint64_t bytes_of_hidden(const sdk::Node& node) {
    return aligned_bytes(std::uint64_t{4} * node.bounds().tokens *
                         static_cast<std::uint64_t>(node.input(2).shape[0]));
  }
  static void require(const sdk::Node& node, rt_requirements& need) {
    need.workspace_bytes = bytes_of_hidden(node) + NormPart::scratch_bytes(node, node.input(0), 2);
  }

  void execute(const sdk::Call& call) {
    char* const workspace = call.workspace<char>();
    const NormedRows rows =
        norm.rows(call.input(0), call.input(1), workspace + hidden_bytes, stream_of(call));
    const rt_tensor& gate = call.input(2);
    const rt_tensor& up = call.input(3);
    const Matrix hidden = {workspace, Element::kF32, rows.x.rows,
                           static_cast<std::uint64_t>(gate.shape[0])};
    if (dense(gate.dtype)) {
      normed_gate_up_vector(rows, matrix(gate), matrix(up), activation, hidden, stream_of(call));
    } else {
      quantized_normed_gate_up_vector(rows, quantized_matrix(gate), quantized_matrix(up),
                                      activation, hidden, stream_of(call));
    }
    multiply_add(hidden, call.input(4), kAdd ? matrix(call.input(0)) : kNoResidual,
                 matrix(call.output(0)), stream_of(call));
  }

  NormPart norm;
  Activation activation;
  std::uint64_t hidden_bytes;
};

constexpr rt_implementation kAddVector =
    sdk::implementation<Guarded<NormMlp<true>>>({.op = "norm_mlp_add",
                                                 .name = "vector",
                                                 .device_kind = "cuda",
                                                 .step_classes = RT_STEP_DECODE,
                                                 .tier = 200});
constexpr rt_implementation kVector =
    sdk::implementation<Guarded<NormMlp<false>>>({.op = "norm_mlp",
                                                  .name = "vector",
                                                  .device_kind = "cuda",
                                                  .step_classes = RT_STEP_DECODE,
                                                  .tier = 200});
constexpr const rt_implementation* kTable[] = {&kAddVector, &kVector};

}  // namespace
}  // namespace rt::cuda

RT_CUDA_PLUGIN("norm_mlp", rt::cuda::kTable,
               RT_CUDA_IMPLEMENTATION("norm_mlp_add", "vector")
                   RT_CUDA_IMPLEMENTATION("norm_mlp", "vector"));
