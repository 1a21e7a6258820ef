// Rotary position embedding, half-split: element j of a head turns with element j + E/2.
#pragma once

#include "kernels/cuda/element.h"

namespace rt::cuda {

// x and out [T, heads * head_width]; cos and sin f32[T, head_width / 2].
void rope(const Matrix& x, uint64_t head_width, const float* cos, const float* sin,
          const Matrix& out, void* stream);

}  // namespace rt::cuda
