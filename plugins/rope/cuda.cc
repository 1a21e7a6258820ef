// rope on CUDA devices.
#include "kernels/cuda/rope.h"

#include "plugins/cuda_operator.h"

namespace rt::cuda {
namespace {

struct Rope {
  explicit Rope(const sdk::Node& node)
      : head_width(static_cast<std::uint64_t>(node.attrs().integer("head_width"))) {}

  void execute(const sdk::Call& call) {
    rope(matrix(call.input(0)), head_width, call.in<float>(1), call.in<float>(2),
         matrix(call.output(0)), stream_of(call));
  }

  std::uint64_t head_width;
};

constexpr rt_implementation kRows = sdk::implementation<Guarded<Rope>>(
    {.op = "rope", .name = "rows", .device_kind = "cuda", .tier = 200});

}  // namespace
}  // namespace rt::cuda

RT_LIBRARY("rope_cuda", "0.1.0", rt::cuda::kRows)
