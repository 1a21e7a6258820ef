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
constexpr const rt_implementation* kTable[] = {&kElements};

}  // namespace
}  // namespace rt::cuda

RT_CUDA_PLUGIN("softcap", rt::cuda::kTable, RT_CUDA_IMPLEMENTATION("softcap", "elements"));
