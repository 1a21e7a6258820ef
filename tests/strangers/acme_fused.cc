// A third party's fused operator over operators of ours: a product and the residual behind it, on a
// CPU. Serves both step classes and dense weights. Built a second time as acme_crooked, whose
// pattern uses linear otherwise than its schema says.
#include "core/sdk/number.hpp"
#include "core/sdk/sdk.hpp"

namespace sdk = rt::sdk;

namespace {

#ifdef ACME_CROOKED
#define ACME_NAME "acme_crooked"
#define ACME_LINEAR_INPUTS "[x, weight, weight]"
#else
#define ACME_NAME "acme_fused"
#define ACME_LINEAR_INPUTS "[x, weight]"
#endif

constexpr rt_fusion kLinearAdd = sdk::fusion("acme.linear_add", 1, "y = residual + x weight^T", R"(
in: [x, weight, residual]
out: y
nodes:
  - {op: linear, in: )" ACME_LINEAR_INPUTS R"(, out: o}
  - {op: add, in: [residual, o], out: y}
)");

struct LinearAdd {
  explicit LinearAdd(const sdk::Node&) {}
  static void supports(const sdk::Node& node) {
    if ((sdk::kDenseTypes & RT_DTYPE_BIT(node.input(1).dtype)) != 0) return;
    throw sdk::Refusal(
        sdk::format("expected a dense weight, found %s", sdk::dtype_name(node.input(1).dtype)));
  }
  void execute(const sdk::Call& call) {
    const std::int64_t tokens = call.input(0).shape[0];
    const std::int64_t columns = call.input(0).shape[1];
    const std::int64_t rows = call.input(1).shape[0];
    for (std::int64_t i = 0; i < tokens * rows; ++i) {
      const float* x = call.in<float>(0) + i / rows * columns;
      double sum = 0;
      for (std::int64_t k = 0; k < columns; ++k) {
        const auto at = static_cast<std::uint64_t>(i % rows * columns + k);
        sum += static_cast<double>(x[k]) *
               static_cast<double>(sdk::load_number(call.in<void>(1), call.input(1).dtype, at));
      }
      call.out<float>(0)[i] = call.in<float>(2)[i] + static_cast<float>(sum);
    }
  }
};

constexpr rt_implementation kSerial = sdk::implementation<LinearAdd>(
    {.op = "acme.linear_add", .name = "serial", .device_kind = "cpu", .tier = 100});

}  // namespace

RT_LIBRARY(ACME_NAME, "1.0.0", kLinearAdd, kSerial)
