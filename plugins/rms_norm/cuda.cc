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

}  // namespace
}  // namespace rt::cuda

RT_LIBRARY("rms_norm_cuda", "0.1.0", rt::cuda::kRows)
