#include "kernels/cpu/softcap.h"

#include <cmath>

namespace rt::cpu {

void softcap_portable(const float* x, uint64_t count, float cap, float* out) {
  for (uint64_t i = 0; i < count; ++i) out[i] = cap * std::tanh(x[i] / cap);
}

}  // namespace rt::cpu
