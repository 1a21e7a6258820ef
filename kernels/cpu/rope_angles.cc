#include "kernels/cpu/rope_angles.h"

#include <cmath>

namespace rt::cpu {
namespace {

constexpr float kTwoPi = 6.28318530717958647692f;

// Long waves turn slower by `factor`, short ones as before, those between are blended.
float llama3(const RopeFrequencies& how, float frequency) {
  const float wavelength = kTwoPi / frequency;
  if (wavelength > how.original_context / how.low_freq_factor) return frequency / how.factor;
  if (wavelength < how.original_context / how.high_freq_factor) return frequency;
  const float blend = (how.original_context / wavelength - how.low_freq_factor) /
                      (how.high_freq_factor - how.low_freq_factor);
  return (1.0f - blend) * frequency / how.factor + blend * frequency;
}

}  // namespace

float rope_frequency(const RopeFrequencies& how, uint64_t j, uint64_t head_width, float divisor) {
  const float exponent = static_cast<float>(2 * j) / static_cast<float>(head_width);
  // pow in double, rounded once: the f32 nearest to the true power.
  const double power = std::pow(static_cast<double>(how.base), static_cast<double>(exponent));
  const float frequency = 1.0f / (divisor * static_cast<float>(power));
  if (how.scaling == RopeScaling::kLinear) return frequency / how.factor;
  if (how.scaling == RopeScaling::kLlama3) return llama3(how, frequency);
  return frequency;
}

void rope_angles_portable(int32_t position, const float* frequencies, uint64_t half,
                          double magnitude, float* cos, float* sin) {
  for (uint64_t j = 0; j < half; ++j) {
    const float angle = static_cast<float>(position) * frequencies[j];
    cos[j] = static_cast<float>(std::cos(static_cast<double>(angle)) * magnitude);
    sin[j] = static_cast<float>(std::sin(static_cast<double>(angle)) * magnitude);
  }
}

}  // namespace rt::cpu
