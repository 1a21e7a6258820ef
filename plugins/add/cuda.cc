// add on CUDA devices.
#include "kernels/cuda/add.h"

#include "plugins/cuda_operator.h"

namespace rt::cuda {
namespace {

struct Add {
  explicit Add(const sdk::Node&) {}
  void execute(const sdk::Call& call) {
    add(matrix(call.input(0)), matrix(call.input(1)), matrix(call.output(0)), stream_of(call));
  }
};

constexpr rt_implementation kElements = sdk::implementation<Guarded<Add>>(
    {.op = "add", .name = "elements", .device_kind = "cuda", .tier = 200});

}  // namespace
}  // namespace rt::cuda

RT_LIBRARY("add_cuda", "0.1.0", rt::cuda::kElements)
