// out[i] = cap * tanh(x[i] / cap), elementwise.
#pragma once

#include <stdint.h>

namespace rt::cpu {

using SoftcapKernel = void (*)(const float* x, uint64_t count, float cap, float* out);

void softcap_portable(const float* x, uint64_t count, float cap, float* out);
void softcap_avx2(const float* x, uint64_t count, float cap, float* out);

}  // namespace rt::cpu
