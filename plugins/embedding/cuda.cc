// embedding on CUDA devices. An id outside the table cannot be refused by a kernel: its row is NaN.
#include "kernels/cuda/embedding.h"

#include "plugins/cuda_quantized.h"

namespace rt::cuda {
namespace {

struct Embedding {
  explicit Embedding(const sdk::Node& node)
      : scale(static_cast<float>(node.attrs().real("scale"))) {}

  void execute(const sdk::Call& call) {
    if (sdk::weight_is_quantized(call.input(0).dtype)) {
      embedding(call.step().token_ids, quantized_matrix(call.input(0)), scale,
                matrix(call.output(0)), stream_of(call));
      return;
    }
    embedding(call.step().token_ids, matrix(call.input(0)), scale, matrix(call.output(0)),
              stream_of(call));
  }

  float scale;
};

constexpr rt_implementation kRows = sdk::implementation<Guarded<Embedding>>(
    {.op = "embedding", .name = "rows", .device_kind = "cuda", .tier = 200});

}  // namespace
}  // namespace rt::cuda

RT_LIBRARY("embedding_cuda", "0.1.0", rt::cuda::kRows)
