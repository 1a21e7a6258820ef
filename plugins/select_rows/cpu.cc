// select_rows on CPUs: copies the rows that want logits.
#include <cstring>

#include "plugins/cpu_operator.h"

namespace rt::cpu {
namespace {

struct SelectRows {
  explicit SelectRows(const sdk::Node&) {}
  static void supports(const sdk::Node& node) { expect_f32_values(node); }

  void execute(const sdk::Call& call) {
    const std::uint64_t width = call.input(0).shape[1];
    for (std::uint32_t r = 0; r < call.step().rows; ++r) {
      const std::uint64_t t = static_cast<std::uint64_t>(call.step().row_tokens[r]);
      std::memcpy(call.out<float>(0) + r * width, call.in<float>(0) + t * width, width * 4);
    }
  }
};

constexpr rt_implementation kPortable = sdk::implementation<SelectRows>(
    {.op = "select_rows", .name = "portable", .device_kind = "cpu"});

}  // namespace
}  // namespace rt::cpu

RT_LIBRARY("select_rows_cpu", "0.1.0", rt::cpu::kPortable)
