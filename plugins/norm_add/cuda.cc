// norm_add on CUDA devices, for any number of rows.
#include "plugins/cuda_norm.h"

namespace rt::cuda {
namespace {

struct NormAdd {
  explicit NormAdd(const sdk::Node& node) : norm(node, "h", 1) {}
  static void supports(const sdk::Node& node) { expect_dense_weight(node, 1); }
  void execute(const sdk::Call& call) {
    rms_norm(normed_rows(matrix(call.input(0)), matrix(call.input(1)), norm.offset, norm.eps),
             matrix(call.input(2)), matrix(call.output(0)), stream_of(call));
  }
  NormPart norm;
};

constexpr rt_implementation kRows = sdk::implementation<Guarded<NormAdd>>(
    {.op = "norm_add", .name = "rows", .device_kind = "cuda", .tier = 200});

}  // namespace
}  // namespace rt::cuda

RT_LIBRARY("norm_add_cuda", "0.1.0", rt::cuda::kRows)
