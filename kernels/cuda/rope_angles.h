// Cosines and sines of position * frequency, once per step for all layers.
#pragma once

#include <stdint.h>

namespace rt::cuda {

constexpr unsigned kMostRopePairs = 256;  // E/2; the frequencies travel as kernel parameters

// By regime of the sequence; [half] of each are used.
struct RopeFrequencies {
  float of_regime[2][kMostRopePairs];
  uint32_t half;
  float reserved;
  double magnitude;  // multiplies both
};

// positions, sequences i32[T], regimes i32[B] in device memory; cos, sin f32[T, half].
void rope_angles(const RopeFrequencies& frequencies, uint64_t tokens, const int32_t* positions,
                 const int32_t* sequences, const int32_t* regimes, float* cos, float* sin,
                 void* stream);

}  // namespace rt::cuda
