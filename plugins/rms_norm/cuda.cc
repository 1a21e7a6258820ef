// rms_norm on CUDA devices.
#include "kernels/cuda/rms_norm.h"

#include "plugins/cuda_operator.h"

namespace rt::cuda {
namespace {

struct RmsNorm {
  explicit RmsNorm(const sdk::Node& node)
      : eps(static_cast<float>(node.attrs().real("eps"))),
        offset(node.attrs().boolean("plus_one") ? 1.0f : 0.0f) {}
  static void supports(const sdk::Node& node) { expect_dense_weight(node, 1); }

  void execute(const sdk::Call& call) {
    rms_norm(normed_rows(matrix(call.input(0)), matrix(call.input(1)), offset, eps), kNoResidual,
             matrix(call.output(0)), stream_of(call));
  }

  float eps;
  float offset;
};

constexpr rt_implementation kRows = sdk::implementation<Guarded<RmsNorm>>(
    {.op = "rms_norm", .name = "rows", .device_kind = "cuda", .tier = 200});
constexpr const rt_implementation* kTable[] = {&kRows};

}  // namespace
}  // namespace rt::cuda

RT_CUDA_PLUGIN("rms_norm", rt::cuda::kTable, RT_CUDA_IMPLEMENTATION("rms_norm", "rows"));
