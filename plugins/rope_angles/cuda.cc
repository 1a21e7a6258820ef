// rope_angles on CUDA devices: frequencies once at create, on the host, by the function that the
// CPU uses (their last bit moves angles by 0.008); cosines and sines once per step.
#include "kernels/cuda/rope_angles.h"

#include "kernels/cpu/rope_angles.h"

#include "plugins/cuda_operator.h"

namespace rt::cuda {
namespace {

cpu::RopeScaling scaling_of(std::string_view name) {
  return name == "linear"     ? cpu::RopeScaling::kLinear
         : name == "llama3"   ? cpu::RopeScaling::kLlama3
         : name == "longrope" ? cpu::RopeScaling::kLongRope
                              : cpu::RopeScaling::kNone;
}

struct RopeAngles {
  explicit RopeAngles(const sdk::Node& node) {
    const auto real = [&](const char* name) { return static_cast<float>(node.attrs().real(name)); };
    const std::string_view scaling = node.attrs().string("scaling");
    const cpu::RopeFrequencies how = {scaling_of(scaling),      real("base"),
                                      real("factor"),           real("low_freq_factor"),
                                      real("high_freq_factor"), real("original_context")};
    const auto width = static_cast<std::uint64_t>(node.attrs().integer("head_width"));
    frequencies.half = static_cast<std::uint32_t>(width / 2);
    frequencies.magnitude = node.attrs().real("attention_factor");
    for (int regime = 0; regime < 2; ++regime) {
      const auto divisors = node.attrs().floats(regime == 0 ? "short_factors" : "long_factors");
      for (std::uint64_t j = 0; j < width / 2; ++j) {
        const double divisor = scaling == "longrope" ? divisors[j] : 1.0;
        frequencies.of_regime[regime][j] =
            cpu::rope_frequency(how, j, width, static_cast<float>(divisor));
      }
    }
  }
  static void supports(const sdk::Node& node) {
    const std::int64_t width = node.attrs().integer("head_width");
    if (width <= 2 * std::int64_t{kMostRopePairs}) return;
    throw sdk::Refusal(sdk::format("expected head_width <= %u, found %lld", 2 * kMostRopePairs,
                                   static_cast<long long>(width)));
  }

  void execute(const sdk::Call& call) {
    const rt_step& step = call.step();
    rope_angles(frequencies, step.tokens, step.positions, step.token_sequence, step.rope_regimes,
                call.out<float>(0), call.out<float>(1), stream_of(call));
  }

  RopeFrequencies frequencies{};
};

constexpr rt_implementation kRows = sdk::implementation<Guarded<RopeAngles>>(
    {.op = "rope_angles", .name = "rows", .device_kind = "cuda", .tier = 200});

}  // namespace
}  // namespace rt::cuda

RT_LIBRARY("rope_angles_cuda", "0.1.0", rt::cuda::kRows)
