// linear_add on CUDA devices: the product's kernel for decode, which adds before it writes.
#include "plugins/cuda_quantized.h"

namespace rt::cuda {
namespace {

struct LinearAdd {
  explicit LinearAdd(const sdk::Node&) {}
  static void supports(const sdk::Node& node) { expect_unrounded_values(node); }
  void execute(const sdk::Call& call) {
    multiply_add(matrix(call.input(0)), ValueOrder::kCounted, call.input(1), matrix(call.input(2)),
                 matrix(call.output(0)), stream_of(call));
  }
};

constexpr rt_implementation kVector =
    sdk::implementation<Guarded<LinearAdd>>({.op = "linear_add",
                                             .name = "vector",
                                             .device_kind = "cuda",
                                             .step_classes = RT_STEP_DECODE,
                                             .tier = 200});

}  // namespace
}  // namespace rt::cuda

RT_LIBRARY("linear_add_cuda", "0.1.0", rt::cuda::kVector)
