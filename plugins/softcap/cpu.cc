// softcap on CPUs.
#include "kernels/cpu/softcap.h"

#include "plugins/cpu_operator.h"

namespace rt::cpu {
namespace {

template <SoftcapKernel kernel>
struct Softcap {
  explicit Softcap(const sdk::Node& node) : cap(static_cast<float>(node.attrs().real("cap"))) {}
  static void supports(const sdk::Node& node) { expect_f32_values(node); }

  void execute(const sdk::Call& call) {
    const std::uint64_t count = call.output(0).shape[0] * call.output(0).shape[1];
    const float* x = call.in<float>(0);
    float* out = call.out<float>(0);
    loop(call, count, 1024, 4, [&](std::uint64_t begin, std::uint64_t end, std::uint32_t) {
      kernel(x + begin, end - begin, cap, out + begin);
    });
  }

  float cap;
};

constexpr rt_implementation kPortable = sdk::implementation<Softcap<softcap_portable>>(
    {.op = "softcap", .name = "portable", .device_kind = "cpu"});
constexpr rt_implementation kAvx2 = sdk::implementation<Softcap<softcap_avx2>>(
    {.op = "softcap", .name = "avx2", .device_kind = "cpu", .isa = "avx2,fma,f16c", .tier = 200});

}  // namespace
}  // namespace rt::cpu

RT_LIBRARY("softcap_cpu", "0.1.0", rt::cpu::kPortable, rt::cpu::kAvx2)
