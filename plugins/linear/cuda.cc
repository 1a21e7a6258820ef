// linear on CUDA devices. `vector` is for decode. In prefill `cublaslt` goes first where the
// library is: the full rate of sm_90 needs wgmma, which it has and `mma` has not. Its algorithms
// may depend on T, and so a row's bits, which exact mode does without; whoever minds elsewhere
// prefers `mma`, which takes what tensor cores take. `tiled` is for everything else and exact mode.
#include "kernels/cuda/linear.h"

#include "plugins/cublaslt.h"
#include "plugins/cuda_operator.h"
#include "plugins/cuda_product.h"

namespace rt::cuda {
namespace {

using Kernel = void (*)(const Matrix&, const Matrix&, const Matrix&, void*);

template <Kernel kernel, bool kTensorCores>
struct Linear {
  explicit Linear(const sdk::Node&) {}
  static void supports(const sdk::Node& node) {
    expect_dense_weight(node, 1);
    expect_unrounded_values(node);
    if (kTensorCores) expect_tensor_core_types(node, 1);
  }
  void execute(const sdk::Call& call) {
    kernel(matrix(call.input(0)), matrix(call.input(1)), matrix(call.output(0)), stream_of(call));
  }
};

struct LtLinear {
  explicit LtLinear(const sdk::Node& node)
      : product(node, 1, linear_vector, takes_tensor_cores(node, 1) ? linear_mma : linear_tiled) {}
  static void supports(const sdk::Node& node) {
    expect_dense_weight(node, 1);
    expect_unrounded_values(node);
    expect_one_type(node, 1);
    expect_cublaslt(node);
  }
  static void require(const sdk::Node&, rt_requirements& need) {
    need.workspace_bytes = kCublasLtWorkspaceBytes;
  }
  void prepare(const rt_step& step, void*) { product.prepare(step); }
  void execute(const sdk::Call& call) {
    product.run(call, matrix(call.input(0)), matrix(call.input(1)), matrix(call.output(0)));
  }
  LtProduct product;
};

constexpr rt_implementation kVector =
    sdk::implementation<Guarded<Linear<linear_vector, false>>>({.op = "linear",
                                                                .name = "vector",
                                                                .device_kind = "cuda",
                                                                .step_classes = RT_STEP_DECODE,
                                                                .tier = 200});
constexpr rt_implementation kTiled =
    sdk::implementation<Guarded<Linear<linear_tiled, false>>>({.op = "linear",
                                                               .name = "tiled",
                                                               .device_kind = "cuda",
                                                               .step_classes = RT_STEP_PREFILL,
                                                               .tier = 100});
constexpr rt_implementation kMma =
    sdk::implementation<Guarded<Linear<linear_mma, true>>>({.op = "linear",
                                                            .name = "mma",
                                                            .device_kind = "cuda",
                                                            .step_classes = RT_STEP_PREFILL,
                                                            .tier = 200});
constexpr rt_implementation kCublasLt = sdk::implementation<Guarded<LtLinear>>(
    {.op = "linear",
     .name = "cublaslt",
     .device_kind = "cuda",
     .step_classes = RT_STEP_PREFILL,
     .traits = RT_TRAIT_EXACT | RT_TRAIT_CAPTURE_SAFE | RT_TRAIT_BITS_OF_BATCH,
     .tier = 250,
     .weight_dtypes = kDenseTypes});

}  // namespace
}  // namespace rt::cuda

RT_LIBRARY("linear_cuda", "0.1.0", rt::cuda::kVector, rt::cuda::kTiled, rt::cuda::kMma,
           rt::cuda::kCublasLt)
