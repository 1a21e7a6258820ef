// softcap on CUDA devices.
#include "kernels/cuda/softcap.h"

#include "plugins/cuda_operator.h"

namespace rt::cuda {
namespace {

struct Softcap {
  explicit Softcap(const sdk::Node& node) : cap(static_cast<float>(node.attrs().real("cap"))) {}
  void execute(const sdk::Call& call) {
    softcap(matrix(call.input(0)), cap, matrix(call.output(0)), stream_of(call));
  }
  float cap;
};

constexpr rt_implementation kElements = sdk::implementation<Guarded<Softcap>>(
    {.op = "softcap", .name = "elements", .device_kind = "cuda", .tier = 200});

}  // namespace
}  // namespace rt::cuda

RT_LIBRARY("softcap_cuda", "0.1.0", rt::cuda::kElements)
