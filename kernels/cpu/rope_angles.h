// Frequencies of rotary position embeddings and the angles' cosines and sines.
//
// Frequencies are f32 with every operation rounded, as transformers computes them: an angle is a
// position (up to 131071) times a frequency, so their last bit is worth 0.008 of an angle.
#pragma once

#include <stdint.h>

namespace rt::cpu {

enum class RopeScaling : uint32_t { kNone, kLinear, kLlama3, kLongRope };

struct RopeFrequencies {
  RopeScaling scaling;
  float base;
  float factor;           // linear, llama3
  float low_freq_factor;  // llama3
  float high_freq_factor;
  float original_context;
};

// Frequency j of E/2; divisor is the LongRoPE factor, else 1.
float rope_frequency(const RopeFrequencies& how, uint64_t j, uint64_t head_width, float divisor);

// cos, sin f32[half] of f32(position) * frequencies[half], each times `magnitude`.
void rope_angles_portable(int32_t position, const float* frequencies, uint64_t half,
                          double magnitude, float* cos, float* sin);

}  // namespace rt::cpu
