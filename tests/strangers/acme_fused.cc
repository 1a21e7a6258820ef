// A third party's fused operator over operators of ours: a product and the residual behind it, on a
// CPU. Serves both step classes and dense weights. Built a second time as acme_crooked, whose
// pattern uses linear otherwise than its schema says.
#include <iterator>

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

constexpr const rt_fusion* kFusions[] = {&kLinearAdd};
constexpr const rt_implementation* kImplementations[] = {&kSerial};

constexpr rt_plugin kPlugin = {
    .struct_size = sizeof(rt_plugin),
    .abi_major = RT_ABI_MAJOR,
    .abi_minor = RT_ABI_MINOR,
    .min_host_minor = 1,
    .name = ACME_NAME,
    .version = "1.0.0",
    .schema_count = 0,
    .implementation_count = std::size(kImplementations),
    .planner_count = 0,
    .device_count = 0,
    .schemas = nullptr,
    .implementations = kImplementations,
    .planners = nullptr,
    .devices = nullptr,
    .fusion_count = std::size(kFusions),
    .reserved = 0,
    .fusions = kFusions,
};

}  // namespace

RT_MANIFEST("plugin: " ACME_NAME
            "\n"
            "version: 1.0.0\n"
            "abi: 0.1\n"
            "min_host: 0.1\n"
            "fusion: acme.linear_add@1 linear@1 add@1\n"
            "implementation: acme.linear_add@1 cpu serial -\n");

extern "C" RT_EXPORT const rt_plugin* rt_plugin_entry_v1(const rt_host*, const char*) {
  return &kPlugin;
}
