#include "kernels/cuda/rope_angles.h"

#include "kernels/cuda/launch.h"

namespace rt::cuda {
namespace {

// grid [T], block: the pairs of a head in whole warps, no shared memory. Moves T E floats; bound by
// the double unit, some hundred instructions for each of T E/2 angles: an angle of 131071 radians
// needs an exact reduction, and one error here is in all layers.
__global__ void rope_angles_rows(RopeFrequencies frequencies, const int32_t* positions,
                                 const int32_t* sequences, const int32_t* regimes, float* cos_out,
                                 float* sin_out) {
  after_previous();
  const uint64_t t = blockIdx.x;
  const unsigned j = threadIdx.x;
  if (j >= frequencies.half) return;
  const int regime = regimes[sequences[t]] != 0 ? 1 : 0;
  // f32 and rounded before it is widened: the schema's definition of the angle.
  const float angle = static_cast<float>(positions[t]) * frequencies.of_regime[regime][j];
  const uint64_t at = t * frequencies.half + j;
  cos_out[at] = static_cast<float>(cos(static_cast<double>(angle)) * frequencies.magnitude);
  sin_out[at] = static_cast<float>(sin(static_cast<double>(angle)) * frequencies.magnitude);
}

}  // namespace

void rope_angles(const RopeFrequencies& frequencies, uint64_t tokens, const int32_t* positions,
                 const int32_t* sequences, const int32_t* regimes, float* cos, float* sin,
                 void* stream) {
  if (tokens == 0) return;
  const unsigned threads = divide_up(frequencies.half, kWarp) * kWarp;
  launch(rope_angles_rows, dim3(static_cast<unsigned>(tokens)), threads, 0, stream, frequencies,
         positions, sequences, regimes, cos, sin);
}

}  // namespace rt::cuda
