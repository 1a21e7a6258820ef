#include "kernels/cpu/rope.h"

namespace rt::cpu {

void rope_portable(const float* x, uint64_t heads, uint64_t head_width, const float* cos,
                   const float* sin, float* out) {
  const uint64_t half = head_width / 2;
  for (uint64_t h = 0; h < heads; ++h, x += head_width, out += head_width) {
    for (uint64_t i = 0; i < half; ++i) {
      const float a = x[i];
      const float b = x[i + half];
      out[i] = a * cos[i] - b * sin[i];
      out[i + half] = b * cos[i] + a * sin[i];
    }
  }
}

}  // namespace rt::cpu
