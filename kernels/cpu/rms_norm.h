// out = x / sqrt(mean(x^2) + eps) * (weight + offset), one row at a time; offset is 1 for Gemma.
#pragma once

#include <stdint.h>

#include "kernels/cpu/number.h"

namespace rt::cpu {

struct RmsNormWeight {
  const void* data;  // [D]
  Element element;
  float offset;
};

// x, out f32[rows, width]. The order of the sum depends on width alone.
using RmsNormKernel = void (*)(const float* x, uint64_t rows, uint64_t width,
                               const RmsNormWeight& weight, float eps, float* out);

void rms_norm_portable(const float* x, uint64_t rows, uint64_t width, const RmsNormWeight& weight,
                       float eps, float* out);
void rms_norm_avx2(const float* x, uint64_t rows, uint64_t width, const RmsNormWeight& weight,
                   float eps, float* out);

}  // namespace rt::cpu
