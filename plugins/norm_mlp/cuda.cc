// norm_mlp, norm_mlp_add and norm_mlp_norm_add on CUDA devices, for decode, as two kernels: norm,
// gate, up and activation; down and what stands behind it. hidden [T, F] is workspace, in f32.
#include "kernels/cuda/mlp.h"

#include <optional>

#include "plugins/cuda_norm.h"
#include "plugins/cuda_quantized.h"

namespace rt::cuda {
namespace {

enum class Behind { kNothing, kAdd, kNormAdd };

template <Behind kBehind>
struct NormMlp {
  explicit NormMlp(const sdk::Node& node)
      : norm(node, "h", 2),
        activation(node.attrs().string("f.activation") == "silu" ? Activation::kSilu
                                                                 : Activation::kGeluTanh),
        hidden_bytes(bytes_of_hidden(node)),
        scratch_bytes(NormPart::scratch_bytes(node, node.input(0), 2)) {
    if (kBehind == Behind::kNormAdd) norm_after.emplace(node, "o");
  }

  static void supports(const sdk::Node& node) {
    expect_dense_weight(node, 1);
    expect_weights_alike(node, 2, 4);
    expect_unrounded_values(node);
    if (kBehind == Behind::kNormAdd) expect_dense_weight(node, 5);
  }
  static std::uint64_t bytes_of_hidden(const sdk::Node& node) {
    return aligned_bytes(std::uint64_t{4} * node.bounds().tokens *
                         ordered_columns(static_cast<std::uint64_t>(node.input(2).shape[0])));
  }
  static void require(const sdk::Node& node, rt_requirements& need) {
    need.workspace_bytes = bytes_of_hidden(node) + NormPart::scratch_bytes(node, node.input(0), 2);
    if (kBehind == Behind::kNormAdd) {
      need.workspace_bytes += NormAfterPart::scratch_bytes(node, node.input(0));
    }
  }

  void execute(const sdk::Call& call) {
    void* const stream = stream_of(call);
    char* const workspace = call.workspace<char>();
    char* const scratch = workspace + hidden_bytes;
    char* const after_at = scratch + scratch_bytes;
    const NormedRows rows = norm.rows(call.input(0), call.input(1), scratch, stream);
    const rt_tensor& gate = call.input(2);
    const rt_tensor& up = call.input(3);
    const rt_tensor& down = call.input(4);
    const bool both_quantized = !dense(gate.dtype) && !dense(down.dtype);
    const ValueOrder order =
        both_quantized ? order_for(quantized_matrix(down)) : ValueOrder::kCounted;
    const Matrix hidden = {workspace, Element::kF32, rows.x.rows,
                           static_cast<std::uint64_t>(gate.shape[0])};
    const Arrivals arrivals = norm_after ? norm_after->arrivals(after_at) : Arrivals{};
    if (dense(gate.dtype)) {
      normed_gate_up_vector(rows, matrix(gate), matrix(up), activation, hidden, arrivals, stream);
    } else {
      quantized_normed_gate_up_vector(rows, quantized_matrix(gate), quantized_matrix(up),
                                      activation, {hidden, order}, arrivals, stream);
    }
    if (norm_after) {
      return multiply_norm_add(
          hidden, order, down,
          norm_after->after(call.input(5), call.input(0), call.output(0), after_at), stream);
    }
    multiply_add(hidden, order, down, kBehind == Behind::kAdd ? matrix(call.input(0)) : kNoResidual,
                 matrix(call.output(0)), stream);
  }

  NormPart norm;
  std::optional<NormAfterPart> norm_after;
  Activation activation;
  std::uint64_t hidden_bytes;
  std::uint64_t scratch_bytes;
};

constexpr rt_implementation kNormAddVector =
    sdk::implementation<Guarded<NormMlp<Behind::kNormAdd>>>({.op = "norm_mlp_norm_add",
                                                             .name = "vector",
                                                             .device_kind = "cuda",
                                                             .step_classes = RT_STEP_DECODE,
                                                             .tier = 200});
constexpr rt_implementation kAddVector =
    sdk::implementation<Guarded<NormMlp<Behind::kAdd>>>({.op = "norm_mlp_add",
                                                         .name = "vector",
                                                         .device_kind = "cuda",
                                                         .step_classes = RT_STEP_DECODE,
                                                         .tier = 200});
constexpr rt_implementation kVector =
    sdk::implementation<Guarded<NormMlp<Behind::kNothing>>>({.op = "norm_mlp",
                                                             .name = "vector",
                                                             .device_kind = "cuda",
                                                             .step_classes = RT_STEP_DECODE,
                                                             .tier = 200});

}  // namespace
}  // namespace rt::cuda

RT_LIBRARY("norm_mlp_cuda", "0.1.0", rt::cuda::kNormAddVector, rt::cuda::kAddVector,
           rt::cuda::kVector)
