// embedding on CUDA devices. An id outside the table cannot be refused by a kernel: its row is NaN.
#include "kernels/cuda/embedding.h"

#include "plugins/cuda_operator.h"

namespace rt::cuda {
namespace {

struct Embedding {
  explicit Embedding(const sdk::Node& node)
      : scale(static_cast<float>(node.attrs().real("scale"))) {}
  static void supports(const sdk::Node& node) { expect_dense_weight(node, 0); }

  void execute(const sdk::Call& call) {
    embedding(call.step().token_ids, matrix(call.input(0)), scale, matrix(call.output(0)),
              stream_of(call));
  }

  float scale;
};

constexpr rt_implementation kRows = sdk::implementation<Guarded<Embedding>>(
    {.op = "embedding", .name = "rows", .device_kind = "cuda", .tier = 200});
constexpr const rt_implementation* kTable[] = {&kRows};

}  // namespace
}  // namespace rt::cuda

RT_CUDA_PLUGIN("embedding", rt::cuda::kTable, RT_CUDA_IMPLEMENTATION("embedding", "rows"));
