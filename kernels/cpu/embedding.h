// One row of an embedding table, widened and scaled. Bound by memory latency: one version.
#pragma once

#include <stdint.h>

#include "kernels/cpu/number.h"

namespace rt::cpu {

// out[d] = table[row, d] * scale; table [V, width], out f32[width].
void embedding_portable(const void* table, Element element, uint64_t row, uint64_t width,
                        float scale, float* out);

}  // namespace rt::cpu
