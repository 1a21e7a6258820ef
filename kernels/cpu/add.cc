#include "kernels/cpu/add.h"

namespace rt::cpu {

void add_portable(const float* a, const float* b, uint64_t count, float* out) {
  for (uint64_t i = 0; i < count; ++i) out[i] = a[i] + b[i];
}

}  // namespace rt::cpu
