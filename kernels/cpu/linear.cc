// The portable matrix product: one run of one weight row is widened to f32 and met by every token.
#include "kernels/cpu/linear.h"

#include <algorithm>

namespace rt::cpu {

float dot_run(const float* a, const float* b, uint64_t count) {
  float sum = 0;
  for (uint64_t c = 0; c < 4; ++c) {
    float lanes[8] = {};
    for (uint64_t k = c * kBlock; k < count; k += 4 * kBlock) {
      const uint64_t end = std::min(k + kBlock, count);
      uint64_t i = k;
      for (; i + 8 <= end; i += 8) {
        for (uint64_t j = 0; j < 8; ++j) lanes[j] += a[i + j] * b[i + j];
      }
      for (uint64_t j = 0; i + j < end; ++j) lanes[j] += a[i + j] * b[i + j];
    }
    sum += ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) +
           ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
  }
  return sum;
}

void linear_portable(const float* x, uint64_t tokens, const Matrix& weight, uint64_t begin,
                     uint64_t end, float* out, uint64_t stride) {
  const uint64_t columns = weight.columns;
  float run[kRun];
  for (uint64_t n = begin; n < end; ++n) {
    for (uint64_t first = 0; first < columns; first += kRun) {
      const uint64_t count = std::min(kRun, columns - first);
      widen(weight.data, weight.element, n * columns + first, count, run);
      for (uint64_t t = 0; t < tokens; ++t) {
        const float sum = dot_run(x + t * columns + first, run, count);
        float& cell = out[t * stride + n - begin];
        cell = first == 0 ? sum : cell + sum;
      }
    }
  }
}

}  // namespace rt::cpu
