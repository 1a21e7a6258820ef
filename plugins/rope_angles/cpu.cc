// rope_angles on CPUs: frequencies once at create, cosines and sines once per step.
#include <vector>

#include "kernels/cpu/rope_angles.h"

#include "plugins/cpu_operator.h"

namespace rt::cpu {
namespace {

RopeScaling scaling_of(std::string_view name) {
  return name == "linear"     ? RopeScaling::kLinear
         : name == "llama3"   ? RopeScaling::kLlama3
         : name == "longrope" ? RopeScaling::kLongRope
                              : RopeScaling::kNone;
}

struct RopeAngles {
  explicit RopeAngles(const sdk::Node& node)
      : magnitude(node.attrs().real("attention_factor")),
        longrope(node.attrs().string("scaling") == "longrope") {
    const auto real = [&](const char* name) { return static_cast<float>(node.attrs().real(name)); };
    const RopeFrequencies how = {scaling_of(node.attrs().string("scaling")),
                                 real("base"),
                                 real("factor"),
                                 real("low_freq_factor"),
                                 real("high_freq_factor"),
                                 real("original_context")};
    fill(short_frequencies, node, how, "short_factors");
    fill(long_frequencies, node, how, "long_factors");
  }
  static void supports(const sdk::Node& node) { expect_f32_values(node); }

  void fill(std::vector<float>& frequencies, const sdk::Node& node, const RopeFrequencies& how,
            const char* list) const {
    const auto width = static_cast<std::uint64_t>(node.attrs().integer("head_width"));
    for (std::uint64_t j = 0; j < width / 2; ++j) {
      const double divisor = longrope ? node.attrs().floats(list)[j] : 1.0;
      frequencies.push_back(rope_frequency(how, j, width, static_cast<float>(divisor)));
    }
  }

  void execute(const sdk::Call& call) {
    const rt_step& step = call.step();
    const std::uint64_t half = short_frequencies.size();
    constexpr std::uint64_t kWork = 64;  // a sine and a cosine in double, in multiply-adds
    loop(call, step.tokens, 1, kWork * half,
         [&](std::uint64_t begin, std::uint64_t end, std::uint32_t) {
           for (std::uint64_t t = begin; t < end; ++t) {
             const bool is_long = longrope && step.rope_regimes[step.token_sequence[t]] != 0;
             rope_angles_portable(
                 step.positions[t], (is_long ? long_frequencies : short_frequencies).data(), half,
                 magnitude, call.out<float>(0) + t * half, call.out<float>(1) + t * half);
           }
         });
  }

  double magnitude;
  bool longrope;
  std::vector<float> short_frequencies;  // [E/2]
  std::vector<float> long_frequencies;   // [E/2]; equal to the former but for LongRoPE
};

constexpr rt_implementation kPortable = sdk::implementation<RopeAngles>(
    {.op = "rope_angles", .name = "portable", .device_kind = "cpu"});

}  // namespace
}  // namespace rt::cpu

RT_LIBRARY("rope_angles_cpu", "0.1.0", rt::cpu::kPortable)
