// add on CPUs.
#include "kernels/cpu/add.h"

#include "plugins/cpu_operator.h"

namespace rt::cpu {
namespace {

struct Add {
  explicit Add(const sdk::Node&) {}
  static void supports(const sdk::Node& node) { expect_f32_values(node); }

  void execute(const sdk::Call& call) {
    const float* a = call.in<float>(0);
    const float* b = call.in<float>(1);
    float* out = call.out<float>(0);
    const std::uint64_t count = call.output(0).shape[0] * call.output(0).shape[1];
    loop(call, count, 1024, 1, [&](std::uint64_t begin, std::uint64_t end, std::uint32_t) {
      add_portable(a + begin, b + begin, end - begin, out + begin);
    });
  }
};

constexpr rt_implementation kPortable =
    sdk::implementation<Add>({.op = "add", .name = "portable", .device_kind = "cpu"});

}  // namespace
}  // namespace rt::cpu

RT_LIBRARY("add_cpu", "0.1.0", rt::cpu::kPortable)
