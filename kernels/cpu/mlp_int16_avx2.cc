// The gated feed-forward block on linear_packed_int16.
#include "kernels/cpu/mlp.h"

namespace rt::cpu {

void gate_up_packed_int16(const void* packed, uint64_t tokens, const Matrix& gate, const Matrix& up,
                          Activation activation, uint64_t begin, uint64_t end, float* hidden,
                          uint64_t stride) {
  constexpr uint64_t kColumns = 64;  // as many as the product takes at once
  alignas(64) float u[kMostPacked * kColumns];
  for (uint64_t f = begin; f < end; f += kColumns) {
    const uint64_t columns = end - f < kColumns ? end - f : kColumns;
    float* g = hidden + (f - begin);
    linear_packed_int16(packed, tokens, gate, f, f + columns, g, stride);
    linear_packed_int16(packed, tokens, up, f, f + columns, u, kColumns);
    join_avx2(activation, tokens, columns, u, kColumns, g, stride);
  }
}

}  // namespace rt::cpu
