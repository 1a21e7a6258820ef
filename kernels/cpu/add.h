// out[i] = a[i] + b[i]. Bound by memory: the baseline's code reads as fast as any other.
#pragma once

#include <stdint.h>

namespace rt::cpu {

void add_portable(const float* a, const float* b, uint64_t count, float* out);

}  // namespace rt::cpu
