// select_rows on CUDA devices.
#include "kernels/cuda/select_rows.h"

#include "plugins/cuda_operator.h"

namespace rt::cuda {
namespace {

struct SelectRows {
  explicit SelectRows(const sdk::Node&) {}
  void execute(const sdk::Call& call) {
    select_rows(call.step().row_tokens, matrix(call.input(0)), matrix(call.output(0)),
                stream_of(call));
  }
};

constexpr rt_implementation kRows = sdk::implementation<Guarded<SelectRows>>(
    {.op = "select_rows", .name = "rows", .device_kind = "cuda", .tier = 200});

}  // namespace
}  // namespace rt::cuda

RT_LIBRARY("select_rows_cuda", "0.1.0", rt::cuda::kRows)
