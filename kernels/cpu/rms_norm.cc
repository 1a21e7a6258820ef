// The portable rms_norm.
#include "kernels/cpu/rms_norm.h"

#include <algorithm>
#include <cmath>

namespace rt::cpu {
namespace {

constexpr uint64_t kRun = 256;  // weights widened at a time

float sum_of_squares(const float* x, uint64_t count) {
  float lanes[8] = {};
  uint64_t i = 0;
  for (; i + 8 <= count; i += 8) {
    for (uint64_t j = 0; j < 8; ++j) lanes[j] += x[i + j] * x[i + j];
  }
  for (uint64_t j = 0; i + j < count; ++j) lanes[j] += x[i + j] * x[i + j];
  return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) +
         ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
}

}  // namespace

void rms_norm_portable(const float* x, uint64_t rows, uint64_t width, const RmsNormWeight& weight,
                       float eps, float* out) {
  float run[kRun];
  for (uint64_t r = 0; r < rows; ++r, x += width, out += width) {
    const float mean = sum_of_squares(x, width) / static_cast<float>(width);
    const float scale = 1.0f / std::sqrt(mean + eps);
    for (uint64_t first = 0; first < width; first += kRun) {
      const uint64_t count = std::min(kRun, width - first);
      widen(weight.data, weight.element, first, count, run);
      for (uint64_t i = 0; i < count; ++i) {
        out[first + i] = x[first + i] * scale * (run[i] + weight.offset);
      }
    }
  }
}

}  // namespace rt::cpu
