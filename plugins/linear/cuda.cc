// linear on CUDA devices. `vector` is for decode; of the two for prefill `mma` takes what tensor
// cores take, and `tiled` everything else and exact mode. `cublaslt` serves who prefers it
// by name: its algorithms may depend on T, so a row's bits may.
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
  explicit LtLinear(const sdk::Node& node) : library(CublasLt::of_device(node.device().index)) {}
  static void supports(const sdk::Node& node) {
    expect_dense_weight(node, 1);
    expect_unrounded_values(node);
    expect_one_type(node, 1);
    expect_cublaslt();
  }
  static void require(const sdk::Node&, rt_requirements& need) {
    need.workspace_bytes = kCublasLtWorkspaceBytes;
  }
  void execute(const sdk::Call& call) {
    library->run(matrix(call.input(0)), matrix(call.input(1)), matrix(call.output(0)),
                 call.workspace<void>(), stream_of(call));
  }
  std::shared_ptr<CublasLt> library;
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
     .tier = 50});
constexpr const rt_implementation* kTable[] = {&kVector, &kTiled, &kMma, &kCublasLt};

}  // namespace
}  // namespace rt::cuda

RT_CUDA_PLUGIN("linear", rt::cuda::kTable,
               RT_CUDA_IMPLEMENTATION("linear", "vector") RT_CUDA_IMPLEMENTATION("linear", "tiled")
                   RT_CUDA_IMPLEMENTATION("linear", "mma")
                       RT_CUDA_IMPLEMENTATION("linear", "cublaslt"));
