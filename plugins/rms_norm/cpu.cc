// rms_norm on CPUs.
#include "kernels/cpu/rms_norm.h"

#include "plugins/cpu_operator.h"

namespace rt::cpu {
namespace {

template <RmsNormKernel kernel>
struct RmsNorm {
  explicit RmsNorm(const sdk::Node& node)
      : eps(static_cast<float>(node.attrs().real("eps"))),
        offset(node.attrs().boolean("plus_one") ? 1.0f : 0.0f) {}
  static void supports(const sdk::Node& node) { expect_f32_values(node); }

  void execute(const sdk::Call& call) {
    const std::uint64_t rows = call.input(0).shape[0];
    const std::uint64_t width = call.input(0).shape[1];
    const RmsNormWeight weight = {call.input(1).data, element_of(call.input(1).dtype), offset};
    loop(call, rows, 1, 2 * width, [&](std::uint64_t begin, std::uint64_t end, std::uint32_t) {
      kernel(call.in<float>(0) + begin * width, end - begin, width, weight, eps,
             call.out<float>(0) + begin * width);
    });
  }

  float eps;
  float offset;
};

constexpr rt_implementation kPortable = sdk::implementation<RmsNorm<rms_norm_portable>>(
    {.op = "rms_norm", .name = "portable", .device_kind = "cpu"});
constexpr rt_implementation kAvx2 = sdk::implementation<RmsNorm<rms_norm_avx2>>(
    {.op = "rms_norm", .name = "avx2", .device_kind = "cpu", .isa = "avx2,fma,f16c", .tier = 200});

}  // namespace
}  // namespace rt::cpu

RT_LIBRARY("rms_norm_cpu", "0.1.0", rt::cpu::kPortable, rt::cpu::kAvx2)
