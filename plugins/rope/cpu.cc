// rope on CPUs.
#include "kernels/cpu/rope.h"

#include "plugins/cpu_operator.h"

namespace rt::cpu {
namespace {

struct Rope {
  explicit Rope(const sdk::Node& node)
      : head_width(static_cast<std::uint64_t>(node.attrs().integer("head_width"))) {}
  static void supports(const sdk::Node& node) { expect_f32_values(node); }

  void execute(const sdk::Call& call) {
    const std::uint64_t width = call.input(0).shape[1];
    const std::uint64_t half = head_width / 2;
    loop(call, call.step().tokens, 1, width,
         [&](std::uint64_t begin, std::uint64_t end, std::uint32_t) {
           for (std::uint64_t t = begin; t < end; ++t) {
             rope_portable(call.in<float>(0) + t * width, width / head_width, head_width,
                           call.in<float>(1) + t * half, call.in<float>(2) + t * half,
                           call.out<float>(0) + t * width);
           }
         });
  }

  std::uint64_t head_width;
};

constexpr rt_implementation kPortable =
    sdk::implementation<Rope>({.op = "rope", .name = "portable", .device_kind = "cpu"});

}  // namespace
}  // namespace rt::cpu

RT_LIBRARY("rope_cpu", "0.1.0", rt::cpu::kPortable)
