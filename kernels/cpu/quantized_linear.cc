// The portable product with a quantized weight: a run of a row is widened and met by every token.
#include "kernels/cpu/quantized_linear.h"

#include <algorithm>

#include "kernels/cpu/linear.h"

namespace rt::cpu {

void quantized_linear_portable(const QuantizedMatrix& weight, const void* x, uint64_t tokens,
                               uint64_t begin, uint64_t end, float* out, uint64_t stride) {
  const uint64_t columns = weight.columns;
  const float* values = static_cast<const float*>(x);
  float run[kRun];
  for (uint64_t n = begin; n < end; ++n) {
    for (uint64_t first = 0; first < columns; first += kRun) {
      const uint64_t count = std::min(kRun, columns - first);
      widen_weight(weight, n, first, count, run);
      for (uint64_t t = 0; t < tokens; ++t) {
        const float sum = dot_run(values + t * columns + first, run, count);
        float& cell = out[t * stride + n - begin];
        cell = first == 0 ? sum : cell + sum;
      }
    }
  }
}

namespace {

uint64_t no_bytes(const QuantizedMatrix&, uint64_t) {
  return 0;
}

}  // namespace

const QuantizedKernels kQuantizedPortable = {no_bytes, nullptr, quantized_linear_portable,
                                             ~uint64_t{0}};

}  // namespace rt::cpu
