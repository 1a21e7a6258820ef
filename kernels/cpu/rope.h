// Rotary position embedding of one token, half-split (NeoX): with i < E/2 the pair
// (x[i], x[i + E/2]) of every head turns by the angle whose cosine and sine are cos[i], sin[i].
// Bound by memory: one version.
#pragma once

#include <stdint.h>

namespace rt::cpu {

// x, out f32[heads, E]; cos, sin f32[E/2]. out may be x.
void rope_portable(const float* x, uint64_t heads, uint64_t head_width, const float* cos,
                   const float* sin, float* out);

}  // namespace rt::cpu
