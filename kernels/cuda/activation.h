// The two activations of the gated feed-forward layer, as the mlp schema has them.
#pragma once

#include <cuda_runtime.h>

#include "kernels/cuda/mlp.h"

namespace rt::cuda {

__device__ inline float activated(float g, float u, Activation activation) {
  if (activation == Activation::kSilu) return g / (1.0f + expf(-g)) * u;
  constexpr float kSqrt2OverPi = 0.79788456080286535588f;
  const float inner = kSqrt2OverPi * fmaf(0.044715f * g * g, g, g);
  return 0.5f * g * (1.0f + tanhf(inner)) * u;
}

}  // namespace rt::cuda
